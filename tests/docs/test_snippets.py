"""What the documents print can be run: Python on a small model, commands as far as their options."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from diffusers import WanPipeline

import skipstone
from skipstone.cli import app
from skipstone.pipelines import bundled
from skipstone.pipelines.run.stats import RunLog
from support.hub import hub
from support.saved import save_wan

ROOT = Path(__file__).parents[2]

ELSEWHERE = {"docs/extending.md"}
"""Documents whose snippets have a test of their own."""

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(path: Path, language: str) -> list[str]:
    """The code of a document in one language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)


WITH_PYTHON = [
    str(path.relative_to(ROOT))
    for path in DOCUMENTS
    if blocks(path, "python") and str(path.relative_to(ROOT)) not in ELSEWHERE
]
COMMANDS = [
    line.partition(" #")[0]
    for path in DOCUMENTS
    for block in blocks(path, "bash")
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("skipstone ")
]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny text-to-video pipeline that knows the words of pebble-video."""
    words = bundled.folder("pebble-video") / "objects.txt"
    made = save_wan(tmp_path_factory.mktemp("wan"))
    shutil.copy(words, made)
    return made


@pytest.fixture
def pipe(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Stands for every model that a document loads: in place of pebble-video, and small enough for a test.

    A stand-in of the hub is there, too.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # A tiny model's skipped steps take a share of the computed ones that depends on the machine.
    monkeypatch.setattr(RunLog, "skip_cost", lambda log: 0.0)
    size = {"height": 32, "width": 32, "num_frames": 5, "num_inference_steps": 8}
    small: dict[str, Any] = {**bundled.DEFAULTS["pebble-video"], **size}
    monkeypatch.setattr(bundled, "DEFAULTS", {"pebble-video": small})
    monkeypatch.setattr(bundled, "folder", lambda name: folder)
    made = skipstone.load("pebble-video")
    made.set_progress_bar_config(disable=True)
    monkeypatch.setattr(WanPipeline, "from_pretrained", lambda *args, **kwargs: made)
    monkeypatch.setattr(WanPipeline, "to", lambda self, *args: self)
    with hub(monkeypatch, tmp_path / "hub"):
        yield made


@pytest.mark.parametrize("document", WITH_PYTHON)
def test_python_runs_as_it_is_printed(document: str, pipe: Any) -> None:
    names: dict[str, Any] = {"pipe": pipe}
    for block in blocks(ROOT / document, "python"):
        exec(compile(block, document, "exec"), names)


@pytest.mark.parametrize("line", dict.fromkeys(COMMANDS))
def test_a_command_has_the_options_that_are_printed(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("prompts.txt", "plan.json", "rows.jsonl"):
        Path(file).touch()
    _, name, *arguments = shlex.split(line)
    group = typer.main.get_command(app)
    command = group.get_command(typer.Context(group), name)  # type: ignore[attr-defined]
    assert command is not None, f"no command {name}"
    command.make_context(name, arguments)
