"""Write how often a promised quality is kept on the proving models into docs/planned.md, from the rows.

    python docs/make/kept_table.py

Calibrations are drawn from the rows of `benchmarks/proving/kept.py`: disjoint sets of 19 prompts, each of
which takes the sparsest plan that none of them misses, as `Record.plan(quality=...)` does; all other prompts
tell how often that plan keeps the quality.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from skipstone.schedules.promise import USUAL_SHARE, failures_allowed, prompts_needed

ROOT = Path(__file__).parents[2]
ROWS, PAGE = ROOT / "benchmarks/rows/kept.jsonl", ROOT / "docs/planned.md"
BEGIN, END = "<!-- kept: python docs/make/kept_table.py -->\n", "<!-- end of kept -->"

QUALITIES = (30.0, 35.0, 45.0)
PROMPTS = prompts_needed(USUAL_SHARE)
CALIBRATIONS = 20
AIM = 0.93
"""What other prompts should keep on average over calibrations, at least."""

FEW = 0.9
"""A single calibration that fewer prompts keep was a lucky one."""

HARD = 0.9
"""A prompt is called hard that deviates more than this share of the calibrated ones."""

Floats = npt.NDArray[np.float64]
Plans = dict[int, Floats]
"""By computed steps, ``(prompts, 2)``: PSNR in dB, and deviation."""


@dataclass(frozen=True)
class Calibrated:
    """One calibration.

    Args:
        computed: the steps of the plan that it takes; None if it takes none.
        kept: the share of the other prompts that keep the quality.
        ranked: the rank correlation of these prompts' deviations with how far they are off.
        hard: the share of these prompts that are called hard.
        below: by how many dB hard prompts are below the others.
    """

    computed: int | None
    kept: float = np.nan
    ranked: float = np.nan
    hard: float = np.nan
    below: float = np.nan


def plans(path: Path) -> dict[tuple[str, int], dict[str, Plans]]:
    """What was measured, by model and steps, then by way."""
    parts: dict[tuple[str, int], dict[tuple[str, int], dict[int, Floats]]] = {}
    for row in map(json.loads, path.read_text().splitlines()):
        of_model = parts.setdefault((row["model"], row["steps"]), {})
        deviations = row["deviations"] or [np.nan] * len(row["psnr"])
        of_plan = of_model.setdefault((row["way"], row["computed"]), {})
        of_plan[row["batch"]] = np.array([row["psnr"], deviations]).T
    found: dict[tuple[str, int], dict[str, Plans]] = {}
    for key, of_model in parts.items():
        batches = set.intersection(*(set(one) for (way, _), one in of_model.items() if way == "one"))
        for (way, computed), of_plan in sorted(of_model.items()):
            known = [of_plan[batch] for batch in sorted(batches & of_plan.keys())]
            found.setdefault(key, {}).setdefault(way, {})[computed] = np.concatenate(known)
    return found


def calibrated(found: Plans, quality: float, number: int) -> Calibrated:
    """The calibration on one of the disjoint sets of prompts."""
    (count,) = {len(values) for values in found.values()}
    inside = np.isin(np.arange(count), np.arange(PROMPTS * number, PROMPTS * (number + 1)))
    for computed, values in sorted(found.items()):
        if (values[inside, 0] < quality).sum() <= failures_allowed(PROMPTS, USUAL_SHARE):
            return _judged(computed, values[inside], values[~inside], quality)
    return Calibrated(None)


def _judged(computed: int, known: Floats, others: Floats, quality: float) -> Calibrated:
    kept = float((others[:, 0] >= quality).mean())
    if np.isnan(others[:, 1]).any():
        return Calibrated(computed, kept)
    hard = (known[:, 1] < others[:, 1, None]).mean(1) >= HARD
    below = others[~hard, 0].mean() - others[hard, 0].mean() if 0 < hard.sum() < len(hard) else np.nan
    return Calibrated(computed, kept, correlation(others[:, 1], -others[:, 0]), float(hard.mean()), below)


def correlation(first: Floats, second: Floats) -> float:
    """The rank correlation of two series."""
    ranks = [series.argsort().argsort() for series in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])


def table(found: Mapping[tuple[str, int], dict[str, Plans]]) -> Iterator[str]:
    """A row for each model."""
    titles = " | ".join(f"{quality:g} dB" for quality in QUALITIES)
    yield f"| model, steps | {titles} | rank correlation | called hard |"
    yield "|---|---|---|---|---|---|"
    for (model, steps), ways in sorted(found.items()):
        runs = {quality: _all(ways["one"], quality) for quality in QUALITIES}
        every = [one for of_quality in runs.values() for one in of_quality if not np.isnan(one.ranked)]
        ranked = f"{np.mean([one.ranked for one in every]):.2f}"
        below = np.nanmean([one.below for one in every])
        hard = f"{np.mean([one.hard for one in every]):.0%}, {below:.1f} dB"
        yield f"| {' | '.join([f'`{model}`, {steps}', *map(_cell, runs.values()), ranked, hard])} |"


def _all(found: Plans, quality: float) -> list[Calibrated]:
    """As many calibrations as the prompts allow."""
    count = len(next(iter(found.values())))
    return [calibrated(found, quality, number) for number in range(min(CALIBRATIONS, count // PROMPTS))]


def _cell(runs: list[Calibrated]) -> str:
    taken = [one for one in runs if one.computed is not None]
    if not taken:
        return "none promised"
    kept, computed = [one.kept for one in taken], [one.computed or 0 for one in taken]
    refused = "" if len(taken) == len(runs) else f"; {len(runs) - len(taken)} of {len(runs)} refused"
    return f"{np.mean(computed):.1f}, {np.mean(kept):.1%} ({min(kept):.0%}){refused}"


def own_prompts(found: Mapping[tuple[str, int], dict[str, Plans]]) -> str:
    """How much better plans are on the prompts that they were made from, with other noise."""
    gains = [
        float(np.mean(ways["own"][computed][:, 0] - ways["other"][computed][:, 0]))
        for ways in found.values()
        for computed in ways.get("own", {}).keys() & ways.get("other", {}).keys()
    ]
    mean = f"{np.mean(gains):+.2f} dB on average"
    return f"{mean}, {min(gains):+.2f} to {max(gains):+.2f}, in {len(gains)} cells"


def turned(found: Mapping[tuple[str, int], dict[str, Plans]]) -> float:
    """The share of prompts that keep a quality with a plan and miss it with the next denser one."""
    lost = []
    for ways in found.values():
        by_density = [values[:, 0] for _, values in sorted(ways["one"].items())]
        for quality in QUALITIES:
            lost += [
                float(((before >= quality) & (after < quality)).sum() / max(1, (before >= quality).sum()))
                for before, after in pairwise(by_density)
                if (before >= quality).mean() > 0.5
            ]
    return float(np.mean(lost))


def summary(found: Mapping[tuple[str, int], dict[str, Plans]]) -> Iterator[str]:
    """What all models show together."""
    cells = [_all(ways["one"], quality) for ways in found.values() for quality in QUALITIES]
    means = [np.nanmean([one.kept for one in runs]) for runs in cells]
    every = [one for runs in cells for one in runs]
    kept = [one.kept for one in every if one.computed is not None]
    below = np.mean([share < FEW for share in kept])
    refused = len(every) - len(kept)
    yield f"Of {len(every)} calibrations {refused} were refused. What the others promised was kept by"
    yield f"{np.mean(kept):.1%} of the other prompts, and by less than {FEW:.0%} after {below:.0%} of them."
    reached = sum(mean >= AIM for mean in means)
    yield f"The aim, at least {AIM:.0%} on average, was reached in {reached} of {len(means)} cells."
    yield "Plans made from a batch of prompts gain, on these with other noise, so much over plans made from"
    yield f"another batch: {own_prompts(found)}. That a prompt was"
    yield "recorded is no advantage. Of the prompts that keep a quality with a plan,"
    yield f"{turned(found):.1%} miss it with the next denser one."


def page() -> str:
    """The page with the table between its marks."""
    found = plans(ROWS)
    before, rest = PAGE.read_text().split(BEGIN)
    return before + BEGIN + "\n".join([*table(found), "", *summary(found)]) + "\n" + END + rest.split(END)[1]


def main() -> None:
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
