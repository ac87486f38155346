"""Changed records in the cache folder: no run fails of them, and the next one is planned all the same."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import skipstone
from skipstone.pipelines.run.stats import RunLog
from support.bending import bending
from support.mutations import changed_bytes, changed_values, fuzzed
from support.toy import ToyModel, ToyPipeline

INPUTS = bending(6)

DEAR = 0.4
"""From this cost of a skipped step on, 6 steps cannot be taken twice as fast."""


def run(pipe: ToyPipeline) -> str:
    """Two runs; the second one's steps."""
    with torch.no_grad(), skipstone.attach(pipe, speedup=2.0) as cache:
        pipe(INPUTS)
        outputs = pipe(INPUTS)
    assert torch.isfinite(torch.stack(outputs)).all()
    return cache.last_run.strip


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, bytes]]:
    """The record of the toy in a cache folder of the test's own, and what it holds."""
    records = tmp_path_factory.mktemp("cache") / "records"
    with pytest.MonkeyPatch.context() as patch:
        # Times of tiny models vary: say that a skipped step costs nothing.
        patch.setattr(RunLog, "skip_cost", lambda log: 0.0)
        patch.setattr("skipstone.pipelines.planning.autoplan.records_folder", lambda: records)
        assert "." in run(ToyPipeline(ToyModel()))
        (path,) = records.iterdir()
        yield path, path.read_bytes()


@fuzzed
@given(data=st.data())
def test_changed_records_in_the_cache_folder(kept: tuple[Path, bytes], data: st.DataObject) -> None:
    path, whole = kept
    by_value = changed_values(json.loads(whole)).map(lambda value: json.dumps(value).encode())
    path.write_bytes(data.draw(st.one_of(by_value, changed_bytes(whole))))
    strip = run(ToyPipeline(ToyModel()))
    # A cost of skipping that was changed for another one is believed: such steps may not pay.
    assert "." in strip or skipstone.load_record(path).skip_cost > DEAR
