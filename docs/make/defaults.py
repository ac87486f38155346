"""Show from the measured rows, for each method, the settings that keep 30 dB on all models.

    python docs/make/defaults.py [TARGET]

For each model the fastest setting whose PSNR reaches the target on average, and the one whose worst prompt
does. Of the models' settings the stricter one is safe on all; beside it are the defaults.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from kept_rows import kept_rows
from rich.console import Console
from rich.table import Table
from work import by_work

from skipstone.cachers.make import kinds_of
from skipstone.report.candidates import FITTED, candidate
from skipstone.report.standing import Standing, standings
from skipstone.report.summary import Line, summarise


def rows(found: Mapping[str, Sequence[Standing]], target: float) -> Iterator[list[str]]:
    """A line for each method: its settings on each model, the stricter one, and the default."""
    for method in dict.fromkeys(standing.method for its in found.values() for standing in its):
        its = [next((s for s in standing if s.method == method), None) for standing in found.values()]
        cells = [_both(standing, target) for standing in its]
        yield [method, *cells, _stricter(method, its, target), defaults(method)]


def _both(standing: Standing | None, target: float) -> str:
    if standing is None:
        return "not measured"
    return "\n".join(
        f"{words}: {_line(standing.fastest(target, worst))}"
        for words, worst in (("mean", False), ("worst", True))
    )


def _line(line: Line | None) -> str:
    return "none" if line is None else f"{line.setting} ({line.speedup:.2f}x)"


def _stricter(method: str, its: Sequence[Standing | None], target: float) -> str:
    """The stricter of the models' settings by the method's ladder, on average and for the worst prompt."""
    return "\n".join(_strictest(method, its, target, worst) for worst in (False, True))


def _strictest(method: str, its: Sequence[Standing | None], target: float, worst: bool) -> str:
    found = [None if standing is None else standing.fastest(target, worst) for standing in its]
    settings = [line.setting for line in found if line is not None]
    if len(settings) < len(its):
        return "none"
    return min(settings, key=lambda setting: rung(method, setting))


def rung(method: str, setting: str) -> float:
    """How permissive a setting is: its place on the ladder, or its last number where there is none."""
    ladder = candidate(method).rungs
    words = tuple(word for word in setting.split() if word != FITTED)
    fitting = [n for n, step in enumerate(ladder) if set(step) <= set(words)]
    return fitting[0] if fitting and ladder != ((),) else float(setting.split("*")[-1].split("=")[-1])


def defaults(method: str) -> str:
    """The method's numbers as they are without any setting."""
    known = (field for kind in kinds_of(method.partition(":")[0]) for field in fields(kind))
    return ", ".join(f"{f.name}={f.default}" for f in known if isinstance(f.default, int | float))


def main() -> None:
    target = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    found = {model: standings(by_work(summarise(its), model)) for model, its in kept_rows().items()}
    table = Table(show_lines=True)
    for title in ("method", *found, "safe on all", "default"):
        table.add_column(title, overflow="fold")
    for row in rows(found, target):
        table.add_row(*row)
    Console(width=180).print(f"The fastest settings that keep {target:g} dB", table)


if __name__ == "__main__":
    main()
