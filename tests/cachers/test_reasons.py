"""A method says in its own words why it computes a step."""

import json
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import skipstone
from skipstone import Reason, Step
from skipstone.cachers.contract.by_step import ByStep
from support.toy import ToyModel, ToyPipeline, constant


@dataclass(frozen=True)
class Says(ByStep):
    """Gives the same reason on every second step."""

    name: ClassVar[str] = "says"

    reason: Any

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: None) -> str | None:
        return self.reason if step.index % 2 == 0 else None


def last_run(reason: Any) -> skipstone.RunStats:
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad(), skipstone.attach(pipe, Says(reason)) as cache:
        pipe(constant(4))
    return cache.last_run


def test_own_words_are_counted_and_printed() -> None:
    run = last_run("the moon is full")
    assert run.strip == "#.#."
    assert run.reasons == {"the moon is full": 2}
    assert "the moon is full" in str(run)
    assert json.loads(json.dumps(asdict(run)))["reasons"] == {"the moon is full": 2}


def test_a_reason_reads_the_same_as_a_word() -> None:
    assert last_run(Reason.INTERVAL).reasons == last_run(str(Reason.INTERVAL)).reasons


@pytest.mark.parametrize("reason", [True, False, "", 0])
def test_what_is_no_reason_is_refused(reason: Any) -> None:
    with pytest.raises(TypeError, match=r"says gave .* give words, or None to skip it"):
        last_run(reason)
