"""Who has the turn among stacks that are made ready beside each other."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from stack_beside import Worker, give_turn, missing, named, next_turn


class Process:
    """A process that is never started."""


@contextmanager
def workers(*stages: str) -> Iterator[list[Worker]]:
    pipes = [Pipe() for _ in stages]
    process: Any = Process()
    yield [
        Worker("flux", str(number), process, here, stage)
        for number, ((here, _), stage) in enumerate(zip(pipes, stages, strict=True))
    ]
    for pipe in pipes:
        for end in pipe:
            end.close()


@pytest.mark.parametrize(
    ("stages", "patient", "turn"),
    [
        (("importing", "imported", "imported"), True, "1"),
        (("ready", "imported"), True, "1"),
        (("making", "imported"), True, None),
        (("measuring", "ready"), False, None),
        (("ready", "compiling"), True, None),
        (("ready", "importing"), True, None),
        (("compiling", "ready", "ready"), False, "1"),
        (("ready", "ready"), True, "0"),
        (("compiling",), False, None),
    ],
)
def test_models_are_made_first_and_what_is_ready_waits_for_the_others(
    stages: tuple[str, ...], patient: bool, turn: str | None
) -> None:
    with workers(*stages) as those:
        found = next_turn(those, patient)
        assert (found.way if found else None) == turn


def test_who_has_the_turn_hears_how_many_are_still_compiled() -> None:
    here, there = Pipe()
    process: Any = Process()
    with workers("compiling", "importing", "ready") as others:
        give_turn([Worker("flux", "first", process, here, "ready"), *others], patient=False)
        assert there.recv() == 2
        assert others[-1].stage == "ready"
    here.close()
    there.close()


@pytest.mark.parametrize("stage", ["importing", "making", "compiling", "measuring"])
def test_only_work_can_take_too_long(stage: str) -> None:
    with workers(stage, "imported", "ready") as those:
        assert [worker.overdue(limit=-1.0) for worker in those] == [True, False, False]
        assert not those[0].overdue(limit=1e9)


def test_what_has_a_row_of_speed_is_left_out(tmp_path: Path) -> None:
    rows = [
        {"part": "speed", "model": "flux", "way": "plan alone"},
        {"part": "quality", "model": "flux", "way": "int8 weights"},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    stacks = [("flux", "int8 weights"), ("flux", "plan alone"), ("wan-1.3b", "plan alone")]
    asked = argparse.Namespace(rows=file, stacks=stacks)
    assert missing(asked) == [("flux", "int8 weights"), ("wan-1.3b", "plan alone")]


def test_a_stack_is_a_model_and_a_way() -> None:
    assert named("flux: fp8, blocks compiled") == ("flux", "fp8, blocks compiled")
    with pytest.raises(argparse.ArgumentTypeError, match="'flux: glue' is no stack"):
        named("flux: glue")
