"""Write the table of planned runs on the proving models into docs/planned.md, from the rows."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).parents[2]
ROWS, PAGE = ROOT / "benchmarks/rows/proving.jsonl", ROOT / "docs/planned.md"
BEGIN, END = "<!-- proving: python docs/make/proving_table.py -->\n", "<!-- end of proving -->"

PLANS = (
    "planned",
    "earlier planner",
    "earlier rule, one candidate",
    "errors carried as of Gaussian data",
    "sensitivity from the solver",
    "sensitivity from one perturbed run",
    "sensitivity from 13 probes",
    "13 probes, guided weights",
    "13 probes, three anchors",
    "13 probes, settled",
)
HIGHEST = 60.0
"""PSNR in dB above which no difference counts."""

Cells = dict[tuple[str, int], dict[str, list[float]]]


def cells() -> Cells:
    """The PSNR of each prompt by situation and budget, then by way."""
    found: Cells = defaultdict(dict)
    for row in map(json.loads, ROWS.read_text().splitlines()):
        values = [min(value, HIGHEST) for value in row["psnr"]]
        found[row["situation"], row["asked"]][row["way"]] = values
    return found


def regret(ways: dict[str, list[float]], way: str) -> float:
    """How far a way is below the best plan of its cell, in dB of the mean."""
    return max(fmean(ways[one]) for one in ways if one in PLANS) - fmean(ways[way])


def table(found: Cells) -> Iterator[str]:
    """A row for each kind of model."""
    yield "| model | cells | regret, mean and most | regret before | against before: mean, worst prompt |"
    yield "|---|---|---|---|---|"
    for kind in sorted({situation.split()[0] for situation, _ in found}):
        own = [ways for (name, _), ways in found.items() if name.split()[0] == kind and "planned" in ways]
        if own:
            yield f"| `{kind}` | {len(own)} | {_regrets(own, 'planned')} | {_compared(own)} |"


def _regrets(own: list[dict[str, list[float]]], way: str) -> str:
    values = [regret(ways, way) for ways in own]
    return f"{fmean(values):.1f}, {max(values):.1f}"


def _compared(own: list[dict[str, list[float]]]) -> str:
    both = [ways for ways in own if "earlier planner" in ways]
    if not both:
        return " | "
    mean, worst = (fmean(_gain(ways, of) for ways in both) for of in (fmean, min))
    return f"{_regrets(both, 'earlier planner')} | {mean:+.1f}, {worst:+.1f} in {len(both)} cells"


def _gain(ways: dict[str, list[float]], of: Callable[[list[float]], float]) -> float:
    return of(ways["planned"]) - of(ways["earlier planner"])


def main() -> None:
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(before + BEGIN + "\n".join(table(cells())) + "\n" + END + after)


if __name__ == "__main__":
    main()
