"""Inline SVG: quality against speed, and the strip of a run."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from skipstone.metrics.comparison import Metric
from skipstone.pictures import strip as strip
from skipstone.report.rows import CACHED, PLAIN, REPEAT
from skipstone.report.summary import Line

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 28, 46
"""Of the plot, around its area."""

COLOURS = 7
"""Series with a colour of their own; more share them, and differ by the marker."""

MARKERS = (
    "M-4,-4h8v8h-8z", "M0,-5.5l5.2,9.5h-10.4z", "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0z",
    "M0,-6l5,6l-5,6l-5,-6z", "M-5,-2h3v-3h4v3h3v4h-3v3h-4v-3h-3z", "M0,5.5l-5.2,-9.5h10.4z",
)  # fmt: skip
"""Square, triangle, circle, diamond, cross, triangle on its tip: told apart without colour."""


@dataclass(frozen=True)
class Axis:
    """Values along one side, from ``low`` to ``high``, drawn from ``begin`` to ``end``."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.begin + share * (self.end - self.begin), 1)

    def ticks(self) -> list[float]:
        """About six round values."""
        rough = (self.high - self.low) / 6
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * n for n in (1, 2, 5, 10) if power * n >= rough)
        first = math.ceil(self.low / step - 1e-9)
        return [round(n * step, 10) for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


SPEED = "speedup of the denoising loop"


def curves(
    lines: Sequence[Line], metric: Metric, speed: str = SPEED, methods: Sequence[str] | None = None
) -> str:
    """Quality against speed: a curve for each method, whiskers from the worst prompt to the best.

    Args:
        lines: the settings.
        metric: what quality is.
        speed: what the lines' speedup is of.
        methods: what is drawn beside fewer steps; None for all. Markers and colours are those of all.
    """
    drawn = [
        line
        for line in lines
        if metric.name in line.scores
        and (line.kind == PLAIN or (line.kind == CACHED and (methods is None or line.method in methods)))
    ]
    if not drawn:
        return ""
    x, y = _axes(drawn, metric)
    parts = [*_grid(x, y, metric, speed), *_floor(lines, metric, x, y)]
    for number, method in enumerate(series(lines)):
        parts += _curve([line for line in drawn if line.method == method], number, metric, x, y)
    label = f"{metric.title} against speedup"
    opening = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
    return f"{opening}{''.join(parts)}</svg>"


def series(lines: Sequence[Line]) -> list[str]:
    """The curves, by method; the one of fewer steps, without a method, comes first."""
    return list(dict.fromkeys(["", *(line.method for line in lines if line.kind == CACHED)]))


def key(number: int) -> str:
    """The marker of a curve, for the legend."""
    return (
        f'<svg class="key" viewBox="-8 -8 16 16" aria-hidden="true">'
        f'<path class="{_style(number)}" d="{_marker(number)}"/></svg>'
    )


def expected_errors(values: Sequence[float | None]) -> str:
    """A bar for each step, as high as the error that the method expects of its estimate."""
    highest = max((value for value in values if value is not None), default=0.0)
    if not highest:
        return ""
    bars = "".join(
        f"M{6 * n},{12 * (1 - value / highest):.1f}h5V12h-5z" for n, value in enumerate(values) if value
    )
    label = f"expected error of skipped steps, at most {highest:.3f} of what the blocks add"
    width = 6 * len(values)
    return (
        f'<svg class="strip" width="{width}" viewBox="0 0 {width} 12" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}"><title>{label}</title><path class="error" d="{bars}"/></svg>'
    )


def _axes(lines: Sequence[Line], metric: Metric) -> tuple[Axis, Axis]:
    speeds = [1.0, *(line.speedup for line in lines)]
    values = [v for line in lines for v in (line.scores[metric.name].worst, line.scores[metric.name].best)]
    return (
        Axis(*_range(speeds), LEFT, WIDTH - RIGHT),
        Axis(*_range(values), HEIGHT - BOTTOM, TOP),
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or max(0.05 * abs(high), 0.01)
    return low - margin, high + margin


def _grid(x: Axis, y: Axis, metric: Metric, speed: str) -> Iterator[str]:
    for value in x.ticks():
        yield f'<path class="grid" d="M{x(value)},{TOP}V{HEIGHT - BOTTOM}"/>'
        yield _text("tick", x(value), HEIGHT - BOTTOM + 18, "middle", f"{value:g}x")
    for value in y.ticks():
        yield f'<path class="grid" d="M{LEFT},{y(value)}H{WIDTH - RIGHT}"/>'
        yield _text("tick", LEFT - 6, y(value) + 4, "end", f"{value:g}")
    yield _text("name", WIDTH - RIGHT, HEIGHT - 6, "end", speed)
    unit = f", {metric.unit}" if metric.unit else ""
    better = "higher is better" if metric.higher_is_better else "lower is better"
    yield _text("name", LEFT, 18, "start", f"{metric.title}{unit} ({better})")


def _floor(lines: Sequence[Line], metric: Metric, x: Axis, y: Axis) -> Iterator[str]:
    """The noise floor, where it lies within the plot."""
    floor = next((line for line in lines if line.kind == REPEAT and metric.name in line.scores), None)
    if floor is None or not y.low <= floor.scores[metric.name].mean <= y.high:
        return
    level = y(floor.scores[metric.name].mean)
    yield f'<path class="floor" d="M{LEFT},{level}H{WIDTH - RIGHT}"/>'
    yield _text("tick", WIDTH - RIGHT, level - 5, "end", "noise floor")


def _curve(lines: Sequence[Line], number: int, metric: Metric, x: Axis, y: Axis) -> Iterator[str]:
    style, lines = _style(number), sorted(lines, key=lambda line: line.speedup)
    places = [f"{x(line.speedup)},{y(line.scores[metric.name].mean)}" for line in lines]
    yield f'<polyline class="curve {style}" points="{" ".join(places)}"/>'
    for line, place in zip(lines, places, strict=True):
        spread = line.scores[metric.name]
        yield f'<path class="whisker {style}" d="M{x(line.speedup)},{y(spread.worst)}V{y(spread.best)}"/>'
        yield f'<path class="marker {style}" transform="translate({place})" d="{_marker(number)}">'
        yield f"<title>{escape(_hint(line, metric))}</title></path>"


def _hint(line: Line, metric: Metric) -> str:
    spread, digits = line.scores[metric.name], metric.digits
    span = f"{spread.worst:.{digits}f} to {spread.best:.{digits}f}"
    return f"{line.title}: {line.speedup:.2f}x, {metric.title} {spread.mean:.{digits}f} ({span})"


def _text(style: str, x: float, y: float, anchor: str, words: str) -> str:
    return f'<text class="{style}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'


def _marker(number: int) -> str:
    return MARKERS[number % len(MARKERS)]


def _style(number: int) -> str:
    return "plain" if number == 0 else f"series-{(number - 1) % COLOURS}"
