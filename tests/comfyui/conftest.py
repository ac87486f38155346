"""What every test of the nodes runs with."""

from pathlib import Path

import pytest
from comfyui.bench import Bench, tiny_model

from skipstone.pipelines.run.stats import RunLog


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    records = tmp_path / "records"
    # Times of tiny models vary: say that a skipped call costs nothing.
    monkeypatch.setattr(RunLog, "skip_cost", lambda log: 0.0)
    monkeypatch.setattr("skipstone.pipelines.planning.autoplan.records_folder", lambda: records)
    return records


@pytest.fixture
def bench() -> Bench:
    """A tiny model, sampled with guidance."""
    return Bench(tiny_model())
