"""The notebook runs, and is kept with its pictures."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.programs import small_image

NOTEBOOK = json.loads((Path(__file__).parents[2] / "examples" / "notebook.ipynb").read_text())
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_its_cells_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    small_image(monkeypatch, side=32)
    names: dict[str, Any] = {}
    for cell in CODE:
        exec("".join(cell["source"]).replace("STEPS = 50", "STEPS = 6"), names)
    assert names["plan"].computed == 3
    assert names["cache"].last_run.skipped_steps == 3


def test_it_is_kept_as_it_ran() -> None:
    """Made anew by ``jupyter nbconvert --execute --inplace examples/notebook.ipynb``."""
    shown = [set(output.get("data", {})) for cell in CODE for output in cell["outputs"]]
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    assert sum("image/png" in kinds for kinds in shown) == 3
    assert sum("text/html" in kinds for kinds in shown) >= 2
