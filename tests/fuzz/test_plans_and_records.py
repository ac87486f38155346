"""Changed files of plans and records: refused in one line, or read as what they say and fit for use."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import skipstone
from skipstone.disk.errors import FileError
from skipstone.schedules.files import SCHEMAS
from skipstone.schedules.moments import moments_of
from skipstone.schedules.plan import Plan, Validation
from skipstone.schedules.profile import Quantity
from skipstone.schedules.record import Record
from support.mutations import changed_json, check_refusal, fuzzed

STEPS = 8


def record() -> Record:
    """Of a model with two branches and their guided combination, on smooth values."""
    names = [(branch, name) for branch in ("cond", "uncond", "guided") for name in ("residual", "output")]
    times = np.linspace(0, 1, STEPS)[:, None, None]
    moments = {
        Quantity("transformer", *key): moments_of(range(STEPS), np.cos((n + 1) * times * np.arange(1, 9)))
        for n, key in enumerate(names)
    }
    model = {"class": "WanTransformer3DModel", "weights": "ab12", "adapters": ["style 0.5"]}
    made_for = {
        "pipeline": "Wan", "models": {"transformer": model}, "steps": STEPS, "guidance": {"g": 4.0},
        "dtype": "bfloat16",
    }  # fmt: skip
    return Record(made_for, tuple(np.linspace(1, 0.1, STEPS).tolist()), moments, 2, 0.05)


def content(made: Plan | Record) -> Any:
    kind = "plan" if isinstance(made, Plan) else "record"
    return {"format": f"skipstone {kind}", "schema": SCHEMAS[kind], **made.as_dict()}


def plan() -> Plan:
    made = record().plan(computed=3)
    measured = (Validation(made.recipe, 3, (31.5, math.inf), (0.1, 0.2)),)
    return Plan(made.record, made.recipe, made.strip, measured)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@fuzzed
@given(text=changed_json(content(plan())))
def test_changed_plans(folder: Path, text: bytes) -> None:
    path = folder / "plan.json"
    path.write_bytes(text)
    try:
        read = skipstone.load_plan(path)
    except FileError as error:
        check_refusal(error, "plan.json")
        return
    check_same(content(read), json.loads(text))
    check_use(read)


@fuzzed
@given(text=changed_json(content(record())))
def test_changed_records(folder: Path, text: bytes) -> None:
    path = folder / "record.json"
    path.write_bytes(text)
    try:
        read = skipstone.load_record(path)
    except FileError as error:
        check_refusal(error, "record.json")
        return
    check_same(content(read), json.loads(text))
    for computed in (1, read.steps):
        check_use(read.plan(computed=computed))


def check_same(read: Any, given: Any) -> None:
    """What was read is what the file says, to the digits that are kept."""
    if isinstance(given, dict):
        assert read.keys() == given.keys()
        for key in given:
            check_same(read[key], given[key])
    elif isinstance(given, list):
        for ours, theirs in zip(read, given, strict=True):
            check_same(ours, theirs)
    else:
        assert read == (pytest.approx(given, rel=1e-8, abs=1e-8) if isinstance(given, float) else given)


def check_use(made: Plan) -> None:
    """It can be shown, followed, used for other runs, and written again."""
    assert made.explain()
    json.dumps(made.summary(), allow_nan=False)
    check_strip(made)
    check_strip(made.for_levels(np.linspace(1, 0.05, made.record.steps + 1).tolist()))
    json.dumps(made.as_dict(), allow_nan=False)


def check_strip(made: Plan) -> None:
    assert made.strip[0] == "#"
    assert 0 < made.speedup < math.inf
    for mark, error in zip(made.strip, made.expected_errors(), strict=True):
        assert (error is None) == (mark == "#")
        assert error is None or 0 <= error < math.inf
