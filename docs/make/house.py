"""Draw the package as a house: python docs/make/house.py

Folders are rooms, imports are arrows, and a room stands on the floor above all that it uses. Every import
counts, also those inside functions and for type checkers.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "skipstone"
ROOT = Path(__file__).parents[2]

PARTS = {
    "schedules": ROOT,
    "cachers": ROOT,
    "pipelines": ROOT,
    "metrics": ROOT,
    "disk": PACKAGE,
    "hosts": PACKAGE,
    "testing": PACKAGE,
    "report": PACKAGE,
    "commands": PACKAGE,
    "comfyui": PACKAGE,
}
"""The folders of the package, and where they are."""

Graph = Mapping[str, set[str]]
"""For each room those that it uses."""


def files() -> dict[str, Path]:
    """Every module by its dotted name without ``skipstone``; a folder's own file by that of the folder."""
    found = {"": PACKAGE / "__init__.py"}
    found |= {path.stem: path for path in PACKAGE.glob("[!_]*.py")}
    for part, home in PARTS.items():
        for path in sorted((home / part).rglob("*.py")):
            names = path.relative_to(home).with_suffix("").parts
            found[".".join(names[:-1] if names[-1] == "__init__" else names)] = path
    return found


def modules() -> Graph:
    """The modules that each module imports."""
    known = files()
    return {name: set(imports(path, known)) - {name} for name, path in known.items()}


def imports(path: Path, known: Iterable[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            home = node.module or ""
            names = [f"{home}.{alias.name}" for alias in node.names]
            yield from (_inside(name if _inside(name) in known else home) for name in names if _is_own(name))
        elif isinstance(node, ast.Import):
            yield from (_inside(alias.name) for alias in node.names if _is_own(alias.name))


def _is_own(name: str) -> bool:
    return name.partition(".")[0] == PACKAGE.name


def _inside(name: str) -> str:
    return name.partition(".")[2]


def rooms(graph: Graph, part: str = "") -> Graph:
    """The rooms of a part of the package, each with those that it uses; without one, those of the whole."""
    depth = part.count(".") + 2 if part else 1

    def room(module: str) -> str:
        return ".".join(module.split(".")[:depth])

    inside = _of(part, graph)
    found: dict[str, set[str]] = {room(module): set() for module in inside}
    for module in inside:
        found[room(module)] |= {room(used) for used in graph[module] if used in inside} - {room(module)}
    return found


def _of(part: str, graph: Graph) -> list[str]:
    """The modules of a part but its ``__init__``, which opens them to the outside."""
    return [module for module in graph if module and (not part or module.startswith(f"{part}."))]


def circle(graph: Graph) -> list[str]:
    """One circle of rooms that use each other; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def floors(graph: Graph) -> dict[str, int]:
    """The floor of each room, from 1; of rooms without a circle."""
    found: dict[str, int] = {}
    for room in TopologicalSorter(graph).static_order():
        found[room] = 1 + max((found[used] for used in graph[room]), default=0)
    return found


def main() -> None:
    graph = modules()
    print("| part | files | rooms | floors | arrows | circles |\n|---|---|---|---|---|---|")
    for part in ("", *PARTS):
        drawn = rooms(graph, part)
        loop = circle(drawn)
        height = "" if loop else max(floors(drawn).values())
        arrows = sum(len(used) for used in drawn.values())
        row = part or "the whole", len(_of(part, graph)), len(drawn), height, arrows, " - ".join(loop) or 0
        print("|", " | ".join(map(str, row)), "|")
    print("\nA circle of modules:", " - ".join(circle(graph)) or "none")


if __name__ == "__main__":
    main()
