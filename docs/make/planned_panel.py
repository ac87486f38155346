"""The figure of planned.md: quality by computed steps, planned, with other methods and with fewer steps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drawn import svg, text

Row = dict[str, Any]
WIDTH, HEIGHT, TOP, PITCH = 310, 220, 30, 380
MEAN, LOW = "psnr_mean", "psnr_p5"


@dataclass(frozen=True)
class Scale:
    """Where values lie on a panel: computed steps from nought, decibels from the lowest shown.

    Args:
        left: the panel's left edge in pixels.
        most: computed steps at its right edge.
        low: decibels at its bottom.
        high: decibels at its top.
    """

    left: float
    most: float
    low: float
    high: float

    def x(self, computed: float) -> float:
        return self.left + WIDTH * computed / self.most

    def y(self, decibels: float) -> float:
        return TOP + HEIGHT * (1 - (decibels - self.low) / ((self.high - self.low) or 1))

    def curve(self, style: str, rows: Sequence[Row], value: str) -> str:
        """A line through one value of some rows, by computed steps."""
        ordered = sorted(rows, key=lambda row: float(row["computed_mean"]))
        points = " ".join(f"{self.x(row['computed_mean']):.1f},{self.y(row[value]):.1f}" for row in ordered)
        return f'<polyline class="curve {style}" points="{points}"/>'


def figure(rows: Sequence[Row]) -> str:
    """For each model the mean and the 5th percentile by computed steps."""
    models = list(dict.fromkeys(row["model"] for row in rows if MEAN in row))
    panels = [panel(model, [r for r in rows if r["model"] == model], n) for n, model in enumerate(models)]
    return svg(PITCH * max(1, len(models)), 316, "PSNR in dB by computed steps", panels)


def panel(model: str, rows: Sequence[Row], place: int) -> str:
    """One model's curves."""
    planned, fewer = plans_of(rows), [row for row in rows if row["what"] == "fewer steps"]
    others = by_method(rows)
    points = [*planned, *fewer, *(row for found in others.values() for row in found)]
    if not points:
        return ""
    scale = Scale(
        PITCH * place + 44.0,
        max(row["computed_mean"] for row in points),
        min(row[LOW] for row in [*planned, *fewer]),
        max(row[MEAN] for row in points),
    )
    parts = [text("title", scale.left, 18, f"{model}: PSNR in dB by computed steps"), *_axes(scale, planned)]
    parts += [scale.curve("series-1 thin", found, MEAN) for found in others.values()]
    for style, found in (("series-2", planned), ("other", fewer)):
        parts += [scale.curve(style, found, MEAN), scale.curve(f"{style} low", found, LOW)]
    return "".join([*parts, *_legend(scale, bool(others))])


def plans_of(rows: Sequence[Row]) -> list[Row]:
    """The plans as they are, without hill climbing."""
    return [row for row in rows if row["what"] == "planned" and not row["refine"]]


def by_method(rows: Sequence[Row]) -> Mapping[str, list[Row]]:
    """The rows of each other method."""
    found = [row for row in rows if row["what"] == "method"]
    return {name: [r for r in found if r["method"] == name] for name in {row["method"]: 0 for row in found}}


def _axes(scale: Scale, planned: Sequence[Row]) -> Iterator[str]:
    for level in range(int(scale.low // 5 + 1) * 5, int(scale.high) + 1, 5):
        yield f'<path class="grid" d="M{scale.left} {scale.y(level):.1f}h{WIDTH}"/>'
        yield text("label right", scale.left - 6, scale.y(level) + 4, str(level))
    for row in planned:
        yield text("label middle", scale.x(row["computed_mean"]), TOP + HEIGHT + 18, str(row["asked"]))


def _legend(scale: Scale, has_others: bool) -> Iterator[str]:
    names = [("series-2", "planned"), ("other", "fewer steps"), ("series-1", "other methods")]
    for n, (style, name) in enumerate(names[: 2 + has_others]):
        x = scale.left + (0, 84, 188)[n]
        yield f'<rect class="{style}" x="{x}" y="{TOP + HEIGHT + 32}" width="8" height="8"/>'
        yield text("label", x + 12, TOP + HEIGHT + 40, name)
    yield text("small", scale.left, TOP + HEIGHT + 56, "solid: mean over the prompts, dashed: 5th percentile")
