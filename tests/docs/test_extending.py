"""What docs/extending.md writes from nothing works as printed: the files, their use, tests and commands."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import skipstone
from skipstone import cli
from skipstone.cachers.registry import Registry
from skipstone.disk import weights
from skipstone.pipelines import bundled
from skipstone.testing import check
from support import saved, tiny
from support.packages import with_entry_points

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "extending.md").read_text()

PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
FILES = {found[1]: block for block in PYTHON if (found := re.match(r"# (\w+)\.py\n", block))}
(USE,) = (block for block in PYTHON if block not in FILES.values())
(TOML,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
(COMMANDS,) = re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)
TESTS = FILES.pop("test_parts")


def entry_points() -> dict[str, dict[str, str]]:
    """Those of the printed pyproject.toml; Python 3.10 has no reader of TOML."""
    groups = re.findall(r'entry-points\."([\w.]+)"\]\n((?:.+\n)+)', TOML)
    return {group: dict(re.findall(r'([\w-]+) = "([\w:]+)"', lines)) for group, lines in groups}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The printed files, installed, and a tiny model in place of the bundled one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "installed"
    folder.mkdir()
    for name, code in FILES.items():
        (folder / f"{name}.py").write_text(code)
    registries = (skipstone.METHODS, skipstone.PREDICTORS, skipstone.SAVERS)
    # Before the folder is on the path: what is there now comes back after the test.
    for known in registries:
        monkeypatch.setattr(known, "_installed", known._installed)
        monkeypatch.setattr(known, "_known", dict(known._known))
    monkeypatch.syspath_prepend(with_entry_points(folder, "my_caches", entry_points()))
    for known in registries:
        known._installed = Registry(known._kind, known._word, known._group, ())._installed
    model = saved.save_flux(tmp_path / "pebble-image")
    shutil.copy(bundled.folder("pebble-image") / "objects.txt", model)
    size = {"height": 32, "width": 32, "num_inference_steps": 8, "max_sequence_length": 32}
    guidance = {"true_cfg_scale": 4.0, "negative_prompt": ""}
    monkeypatch.setattr(weights, "CHECKOUT", tmp_path)
    monkeypatch.setattr(bundled, "DEFAULTS", {"pebble-image": {**size, **guidance}})
    yield
    for name in FILES:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", FILES)
def test_each_part_is_short(name: str) -> None:
    assert len(FILES[name].splitlines()) < 40


@pytest.mark.usefixtures("package")
def test_the_parts_are_used_as_printed() -> None:
    names: dict[str, Any] = {}
    exec(compile(USE, "extending.md", "exec"), names)
    log = names["cache"].last_run
    assert log.method == "heading threshold 0.05; damped share 0.3; fading every 2, share 0.9"
    assert log.parts or log.skipped


@pytest.mark.usefixtures("package")
def test_the_parts_pass_their_tests_as_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "bundled", tiny.sd3)
    names: dict[str, Any] = {}
    exec(compile(TESTS, "extending.md", "exec"), names)
    (parametrize,) = names["test_parts"].pytestmark
    assert len(parametrize.args[1]) > 30
    for one in parametrize.args[1]:
        names["test_parts"](one)


@pytest.mark.usefixtures("package")
def test_the_commands_run_as_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in COMMANDS.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "skipstone"
        assert cli.run(arguments) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    assert "Skip while the first block's residual points the same way" in shown
    assert "+damped" in shown
    assert (tmp_path / "rocket.png").is_file()
    page = (tmp_path / "report.html").read_text()
    assert "heading" in page
    assert "fora+fading" in page


def test_every_word_of_the_contract_is_explained() -> None:
    written = (ROOT / "cachers" / "__init__.py").read_text()
    words = re.findall(r"cachers\.contract\.\w+ import (\w+) as", written)
    assert len(words) > 20
    assert [word for word in words if not re.search(rf"\b{word}\b", TEXT)] == []
