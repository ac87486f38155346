"""The rows of the bundled models' reports, which figures and tables are made of."""

from pathlib import Path
from typing import Any

from skipstone.report import read_rows

FOLDER = Path(__file__).parents[1] / "report"
MODELS = ("pebble-image", "pebble-video")


def kept_rows() -> dict[str, list[dict[str, Any]]]:
    """The rows of each bundled model that has some."""
    paths = {model: FOLDER / model / "rows.jsonl" for model in MODELS}
    return {model: read_rows(path) for model, path in paths.items() if path.exists()}
