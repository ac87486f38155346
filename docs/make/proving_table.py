"""Write the table of planned runs on the proving models into docs/planned.md, from the rows."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np

from skipstone.schedules.search import REUSED_BELOW

ROOT = Path(__file__).parents[2]
ROWS, PAGE = ROOT / "benchmarks/rows/proving.jsonl", ROOT / "docs/planned.md"
BEGIN, END = "<!-- proving: python docs/make/proving_table.py -->\n", "<!-- end of proving -->"

WEIGHED, UNSETTLED, REUSED, BEFORE = "weighed", "not settled", "reused", "earlier planner"
NOT_REUSED_SO = "reused, not settled"
OTHERWISE_SETTLED = (
    "settled in full",
    "settled by half, whatever the innovation",
    "settled in full, whatever the innovation",
)

TRIED = (
    WEIGHED,
    UNSETTLED,
    REUSED,
    BEFORE,
    "earlier rule, one candidate",
    "errors carried as of Gaussian data",
    "sensitivity from the solver",
    "sensitivity from one perturbed run",
    "sensitivity from 13 probes",
    "13 probes, guided weights",
    "13 probes, three anchors",
    "13 probes, settled",
    "drawn to a line",
    "drawn to a line, early errors by the root",
    "ridge of 0.01",
    "evenly spaced, drawn to a line",
    "evenly spaced, reused",
    *OTHERWISE_SETTLED,
    NOT_REUSED_SO,
    "noise not bounded",
    "noise not bounded, reused",
    "noise not bounded, reused plainly",
)
"""All ways to plan that were run; the best of them in a cell is its oracle."""

HIGHEST = 60.0
"""PSNR in dB above which no difference counts."""

STEPS = (20, 28, 50)
"""How many steps the situations have."""

THRESHOLDS = range(24, 46)
"""Those that `REUSED_BELOW` is chosen from, in dB."""

QUALITIES = {"below 40 dB": (0, 40), "from 40 to 45": (40, 45), "above": (45, HIGHEST + 1)}
"""Of plans that do not settle, the PSNR by which the worth of settling is told."""

Cell = dict[str, dict[str, Any]]
"""The rows of one situation and budget by way."""


def rows() -> Iterator[dict[str, Any]]:
    for row in map(json.loads, ROWS.read_text().splitlines()):
        yield row | {"psnr": [min(value, HIGHEST) for value in row["psnr"]]}


def cells() -> dict[str, list[Cell]]:
    """By model, those that have plans of both recipes."""
    found: dict[tuple[str, int], Cell] = defaultdict(dict)
    for row in rows():
        found[row["situation"], row["asked"]][row["way"]] = row
    by_model: dict[str, list[Cell]] = defaultdict(list)
    for (situation, _), cell in sorted(found.items()):
        if WEIGHED in cell and REUSED in cell:
            by_model[situation.split()[0]].append(cell)
    return by_model


class Told(NamedTuple):
    """What the label of a situation says, in its words."""

    model: str
    own: bool
    steps: str
    guidance: str
    dtype: str


def situation(cell: Cell) -> Told:
    model, *solver, steps, guidance, dtype = cell[WEIGHED]["situation"].split()
    return Told(model, solver == ["own"], steps, guidance, dtype)


def usual(cell: Cell, below: float = REUSED_BELOW) -> dict[str, Any]:
    """The plan that is taken without runs, as `usual_plans` takes it."""
    return cell[REUSED if cell[WEIGHED]["estimate"] < below else WEIGHED]


def mean(row: dict[str, Any]) -> float:
    return fmean(row["psnr"])


def regret(cell: Cell, row: dict[str, Any]) -> float:
    """How far a way is below the best plan of its cell, in dB of the mean."""
    return max(mean(cell[way]) for way in cell if way in TRIED) - mean(row)


def unseen_regret(cell: Cell) -> float:
    """How far the usual plan is below the way that is best on half of the prompts, judged on the other half.

    The best of many ways on some prompts is partly the luckiest there.
    """
    tried = [cell[way]["psnr"] for way in cell if way in TRIED]
    halves = (slice(0, None, 2), slice(1, None, 2))
    found = (max(tried, key=lambda psnr: fmean(psnr[half])) for half in halves)
    taken = usual(cell)["psnr"]
    return fmean(
        fmean(best[other]) - fmean(taken[other]) for best, other in zip(found, reversed(halves), strict=True)
    )


def best_threshold(found: Sequence[Cell]) -> int:
    """That with the best mean PSNR over some cells."""
    return max(THRESHOLDS, key=lambda below: fmean(mean(usual(cell, below)) for cell in found))


def table(found: dict[str, list[Cell]]) -> Iterator[str]:
    """A row for each model."""
    against = compared(found)
    yield (
        "| model | cells | regret, mean and most | to the best way by other prompts "
        "| always weighing | always reusing | before "
        "| threshold of the other models: it, regret | other methods: comparisons, not worse, mean gain |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for model, own in found.items():
        others = [cell for other, its in found.items() if other != model for cell in its]
        below = best_threshold(others)
        columns = [
            f"`{model}`",
            str(len(own)),
            _regrets(own, usual),
            _mean_and_most([unseen_regret(cell) for cell in own]),
            _regrets(own, lambda cell: cell[WEIGHED]),
            _regrets(own, lambda cell: cell[REUSED]),
            _regrets([cell for cell in own if BEFORE in cell], lambda cell: cell[BEFORE]),
            f"{below}; {_regrets(own, lambda cell, below=below: usual(cell, below))}",  # type: ignore[misc]
            _shares(against[model]),
        ]
        yield f"| {' | '.join(columns)} |"
    everything = [cell for its in found.values() for cell in its]
    gains = [gain for its in against.values() for gain in its]
    yield (
        f"| all | {len(everything)} | {_regrets(everything, usual)} "
        f"| {_mean_and_most([unseen_regret(cell) for cell in everything])} "
        f"| {_regrets(everything, lambda cell: cell[WEIGHED])} "
        f"| {_regrets(everything, lambda cell: cell[REUSED])} |  |  | {_shares(gains)} |"
    )


def figures(found: dict[str, list[Cell]]) -> Iterator[str]:
    """What reuse is worth, and how far the worst prompt is from the mean, in sentences."""
    everything = [cell for its in found.values() for cell in its]
    worth = {steps: fmean(_worth(everything, steps)) for steps in STEPS}
    yield (
        "Against always weighing, reuse is worth "
        + ", ".join(f"{gain:+.1f} dB on average at {steps} steps" for steps, gain in worth.items())
        + "."
    )
    gains = {model: _worth_of_settling(its) for model, its in found.items()}
    settled = _worth_of_settling(everything)
    yield (
        "Where the solver allows it and plans weigh, settling gaps is worth "
        + ", ".join(f"{fmean(own):+.1f} (`{model}`)" for model, own in gains.items() if own)
        + f" dB on average, and {fmean(settled):+.1f} in all {len(settled)} cells; "
        f"at most {-min(settled):.1f} are lost."
    )
    yield f"By what plans have without it: {', '.join(_worth_of_settling_by_quality(everything))}."
    otherwise = {way: _worth_of_settling(everything, way) for way in OTHERWISE_SETTLED}
    yield (
        "Otherwise: "
        + ", ".join(
            f"{way} {fmean(of_way):+.1f}, {min(of_way):.1f} at worst" for way, of_way in otherwise.items()
        )
        + "."
    )
    reused = [cell for cell in everything if usual(cell) is cell[REUSED]]
    apart = [mean(cell[REUSED]) - cell[WEIGHED]["estimate"] for cell in reused]
    yield (
        f"In the {len(reused)} cells where it is chosen, plans end {fmean(apart):+.1f} dB from where the "
        f"weighing ones were expected to (standard deviation {stdev(apart):.1f})."
    )
    third = [usual(cell) for cell in everything if cell[WEIGHED]["asked"] == 17]
    below = fmean(mean(row) - min(row["psnr"]) for row in third)
    yield f"At 17 of 50 steps the worst of 16 prompts is {below:.0f} dB below the mean."
    yield _lost(compared(found))
    yield from _by_threshold(found)
    yield _in_half_precision(everything)


def _by_threshold(found: dict[str, list[Cell]]) -> Iterator[str]:
    """Whom another threshold would serve."""
    everything = [cell for its in found.values() for cell in its]
    own = [cell for cell in everything if situation(cell).own and situation(cell).guidance == "1.0"]
    kinds = {
        "with its own solver and guidance": own,
        "with double guidance": [cell for cell in everything if situation(cell).guidance == "2.0"],
        "with other solvers": [cell for cell in everything if not situation(cell).own],
    }
    for below in (REUSED_BELOW, best_threshold(everything)):
        regrets = ", ".join(
            f"{fmean(regret(cell, usual(cell, below)) for cell in its):.2f} {kind} ({len(its)} cells)"
            for kind, its in kinds.items()
        )
        gains = [gain for its in compared(found, below).values() for gain in its]
        not_worse = fmean(gain > -0.5 for gain in gains)
        yield f"Regret with {below:g} dB: {regrets}; {not_worse:.1%} not worse than other methods."


def _in_half_precision(everything: Sequence[Cell]) -> str:
    """How far the quality to expect is off in bfloat16, by model beside the same in float32."""
    off: dict[tuple[str, str], list[float]] = defaultdict(list)
    for cell in everything:
        told, weighed = situation(cell), cell[WEIGHED]
        if told.own and told.guidance == "1.0" and told.steps != "28":
            off[told.dtype, told.model].append(weighed["estimate"] - mean(weighed))
    half = {model: its for (dtype, model), its in off.items() if dtype == "bfloat16"}
    models = ", ".join(
        f"{fmean(its):+.1f} (`{model}`; {fmean(off['float32', model]):+.1f})" for model, its in half.items()
    )
    every = [one for its in half.values() for one in its]
    return (
        f"What is expected of weighing plans in bfloat16 (in float32) is off by {models} dB, and by "
        f"{fmean(every):+.1f} in all {len(every)} cells (standard deviation {stdev(every):.1f})."
    )


def _lost(against: dict[str, list[float]]) -> str:
    """Which comparisons with other methods are lost, and by how much."""
    lost = {model: [gain for gain in gains if gain <= -0.5] for model, gains in against.items()}
    lost = {model: gains for model, gains in lost.items() if gains}
    counts = ", ".join(f"{len(gains)} (`{model}`)" for model, gains in lost.items())
    return f"Worse than another method are {counts}, by {-min(map(min, lost.values())):.1f} dB at most."


def _worth(found: Sequence[Cell], steps: int) -> list[float]:
    """What the threshold gains over weighing, in the cells of so many steps."""
    return [
        mean(usual(cell)) - mean(cell[WEIGHED])
        for cell in found
        if int(cell[WEIGHED]["situation"].split()[-3]) == steps
    ]


def _worth_of_settling(found: Sequence[Cell], way: str = WEIGHED) -> list[float]:
    """What a way of it gains in each cell where it is done."""
    settled = (cell for cell in found if UNSETTLED in cell and usual(cell) is cell[WEIGHED])
    return [mean(cell[way]) - mean(cell[UNSETTLED]) for cell in settled if way in cell]


def _worth_of_settling_by_quality(found: Sequence[Cell]) -> Iterator[str]:
    for words, (least, most) in QUALITIES.items():
        alike = [cell for cell in found if UNSETTLED in cell and least <= mean(cell[UNSETTLED]) < most]
        gains = _worth_of_settling(alike)
        yield f"{fmean(gains):+.1f} dB {words} ({len(gains)} cells)"


def written() -> str:
    """The table and the sentences after it."""
    found = cells()
    return "\n".join((*table(found), "", *figures(found))) + "\n"


def _regrets(own: Sequence[Cell], way: Callable[[Cell], dict[str, Any]]) -> str:
    if not own:
        return ""
    return _mean_and_most([regret(cell, way(cell)) for cell in own])


def _mean_and_most(values: Sequence[float]) -> str:
    return f"{fmean(values):.1f}, {max(values):.1f}"


def _shares(gains: Sequence[float]) -> str:
    if not gains:
        return ""
    kept = fmean(gain > -0.5 for gain in gains)
    return f"{len(gains)}, {100 * kept:.1f}%, {fmean(gains):+.1f}"


def compared(found: dict[str, list[Cell]], below: float = REUSED_BELOW) -> dict[str, list[float]]:
    """By model, how much better plans are than each setting of another method, at as many computed steps.

    Between the budgets that were planned, their mean PSNR is interpolated; outside there is no comparison.
    """
    plans: dict[str, dict[float, float]] = defaultdict(dict)
    for cell in (cell for its in found.values() for cell in its):
        taken = usual(cell, below)
        plans[taken["situation"]][taken["computed"]] = mean(taken)
    gains: dict[str, list[float]] = defaultdict(list)
    for row in rows():
        points = sorted(plans[row["situation"]].items())
        if (
            row["asked"]
            or "+settling" in row["way"]
            or not points
            or not points[0][0] <= row["computed"] <= points[-1][0]
        ):
            continue
        ours = float(np.interp(row["computed"], *zip(*points, strict=True)))
        gains[row["situation"].split()[0]].append(ours - mean(row))
    return gains


def main() -> None:
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(before + BEGIN + written() + END + after)


if __name__ == "__main__":
    main()
