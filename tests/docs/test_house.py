"""The house that the package is: who may import whom, no circle, and packages that the build knows of."""

import re
from pathlib import Path
from typing import Any

import house
import pytest

ORDER = (
    *("disk", "declared", "ending", "notice", "pictures", "plotting", "printable", "quiet"),
    *("schedules", "cachers", "settings", "pipelines", "names", ""),
    *("testing", "hosts", "report", "commands", "cli", "comfyui"),
)
"""Each may import what stands before it; the package itself is the empty name."""

APART = "metrics"
"""What only measuring needs: of the others it imports only files' reading and writing."""

MEASURING = (APART, "pipelines", "report", "commands")

ROOT = Path(__file__).parents[2]


def outer(module: str) -> str:
    return module.partition(".")[0]


@pytest.fixture(scope="module")
def graph() -> house.Graph:
    return house.modules()


def test_imports_point_downward(graph: house.Graph) -> None:
    for module, used in graph.items():
        if outer(module) == APART:
            assert {outer(name) for name in used} <= {APART, ORDER[0]}, module
            continue
        below = ORDER[: ORDER.index(outer(module)) + 1]
        for name in used:
            assert outer(name) in below or (outer(name) == APART and outer(module) in MEASURING), (
                module,
                name,
            )


def test_no_modules_import_each_other(graph: house.Graph) -> None:
    assert not house.circle(graph)


@pytest.mark.parametrize("part", ["", *house.PARTS])
def test_no_rooms_import_each_other(graph: house.Graph, part: str) -> None:
    assert not house.circle(house.rooms(graph, part))


def test_the_largest_folder_has_few_rooms(graph: house.Graph) -> None:
    assert len(house.rooms(graph, "pipelines")) <= 15


def test_a_circle_is_found() -> None:
    assert set(house.circle({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == {"b", "c"}


def test_imports_for_type_checkers_and_inside_functions_count(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(
        "if TYPE_CHECKING:\n    from skipstone.b import B\n"
        "def f():\n    import skipstone.c\n    from skipstone import d\n    import os\n"
    )
    assert set(house.imports(path, {"", "b", "c", "d"})) == {"b", "c", "d"}


def test_the_build_knows_every_package() -> None:
    written = pyproject()
    folders = {outer_path.parent for outer_path in house.files().values()}
    expected = {".".join((house.PACKAGE.name, *dotted(folder))) for folder in folders}
    assert set(re.findall(r'"(skipstone[\w.]*)",', written["packages"])) == expected


def test_the_build_knows_every_file_that_is_no_code() -> None:
    patterns = re.findall(r'"?(skipstone[\w.]*)"? = (\[.*\])', pyproject()["data"])
    found = {path for package, globs in patterns for glob in re.findall(r'"(.*?)"', globs)
             for path in folder_of(package).glob(glob) if path.is_file()}  # fmt: skip
    folders = [house.PACKAGE, *(home / part for part, home in house.PARTS.items())]
    there = {path for folder in folders for path in folder.rglob("*") if path.is_file() and is_data(path)}
    assert found == there


def is_data(path: Path) -> bool:
    """No code, and no link to a folder, which is a small file in a checkout without links."""
    return path.suffix not in (".py", ".pyc") and path.name not in house.PARTS


def dotted(folder: Path) -> tuple[str, ...]:
    homes = (house.PACKAGE, house.ROOT)
    return next(folder.relative_to(home).parts for home in homes if folder.is_relative_to(home))


def folder_of(package: str) -> Path:
    _, *names = package.split(".")
    return house.PARTS.get(names[0], house.ROOT).joinpath(*names) if names else house.PACKAGE


def pyproject() -> dict[str, Any]:
    """The lists of packages and of data files; Python 3.10 has no reader of TOML."""
    text = (ROOT / "pyproject.toml").read_text()
    packages = text.partition("\npackages = [")[2].partition("]")[0]
    data = text.partition("[tool.setuptools.package-data]\n")[2].partition("\n\n")[0]
    return {"packages": packages, "data": data}
