"""What a skipped step does in Python and in torch: bounds on counts, which are the same on every machine."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from types import FrameType
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import skipstone
from skipstone import FORA, Cacher, Taylor, WithPredictor
from support.toy import ToyModel, ToyPipeline, constant


class Operations(TorchDispatchMode):
    """Notes the torch operations that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


class Calls:
    """Counts the calls of this package's functions."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> "Calls":
        sys.setprofile(self._note)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        self.count += event == "call" and frame.f_globals.get("__name__", "").startswith("skipstone.")


def on_a_skipped_step(watch: Any, method: Cacher[Any], blocks: int = 3) -> Any:
    """Watch the last step of a run, which is skipped, and no other one."""
    pipe = ToyPipeline(ToyModel(blocks))
    with torch.no_grad(), skipstone.attach(pipe, method) as cache:
        pipe.scheduler.set_timesteps(6)
        for t, given in zip(pipe.scheduler.timesteps, constant(6), strict=True):
            with watch if t == pipe.scheduler.timesteps[-1] else nullcontext():
                pipe.transformer(**given)
            pipe.scheduler.step(torch.zeros(1), t, torch.zeros(1))
        assert cache.last_run.strip.endswith(".")
    return watch


def test_reuse_is_one_operation() -> None:
    assert on_a_skipped_step(Operations(), FORA(1000)).names == ["clone", "add"]


def test_a_prediction_is_one_operation_for_each_snapshot() -> None:
    method = WithPredictor(FORA(2), Taylor(order=2))
    assert on_a_skipped_step(Operations(), method).names == ["clone", "add", "add", "add"]


@pytest.mark.parametrize("make", [lambda: FORA(1000), lambda: WithPredictor(FORA(2), Taylor(order=2))])
def test_python_calls_are_few_and_next_to_none_of_them_a_block(make: Callable[[], Cacher[Any]]) -> None:
    few, many = (on_a_skipped_step(Calls(), make(), blocks).count for blocks in (5, 55))
    assert few < 220
    # Making a block's stand-in, calling it, and finding out that it passes its streams on.
    assert many - few <= 9 * 50
