"""The figures of the measured rows."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from drawn import svg, text

from skipstone.metrics.comparison import METRICS
from skipstone.report.drawing import Axis, curves, key, series
from skipstone.report.rows import PLAIN
from skipstone.report.summary import Line

SHOWN = ("planned", "seacache", "magcache:fitted", "teacache", "easycache", "first-block", "fora+taylor")
"""The methods of the overview: the best ones, and one for each idea."""

MOST = 6.0
"""The highest speed that is shown."""

COLUMNS, WIDTH, HEIGHT = 4, 190, 150
"""Panels in a row, and the size of each."""

LEFT, RIGHT, TOP, BOTTOM = 26, 8, 20, 20
"""Margins of a panel."""

STYLES = ("series-0", "series-1")
MARKERS = ("M-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0z", "M-2.6,-2.6h5.2v5.2h-5.2z")
"""Of the first and the second model: a circle and a square."""


def overview(sweeps: Mapping[str, Sequence[Line]]) -> str:
    """Quality against speed of some methods, a plot for each model."""
    parts, top = [], 0
    for model, lines in sweeps.items():
        shown = [line for line in lines if line.method in ("", *SHOWN) and line.speedup <= MOST]
        plot = curves(shown, METRICS["psnr"], "times fewer operations")
        place = f'<svg y="{top + 24}" width="720" height="420" '
        parts += [text("title", 8, top + 18, model), plot.replace("<svg ", place, 1)]
        legend = [
            f'<g transform="translate({70 + 160 * (n % 4)},{top + 456 + 18 * (n // 4)})">{_key(n)}'
            f"{text('small', 12, 4, method or 'fewer steps')}</g>"
            for n, method in enumerate(series(shown))
        ]
        parts, top = parts + legend, top + 496
    return svg(720, top, "Quality against speed of caches on the bundled models", parts)


def panels(sweeps: Mapping[str, Sequence[Line]]) -> str:
    """A small plot for each method with a curve for each model, and dashed what fewer plain steps give."""
    methods = list(dict.fromkeys(line.method for lines in sweeps.values() for line in lines if line.method))
    drawn = [line for lines in sweeps.values() for line in _judged(lines)]
    x = Axis(0, math.log(max(line.speedup for line in drawn)), LEFT, WIDTH - RIGHT)
    qualities = [line.scores["psnr"].mean for line in drawn]
    y = Axis(min(qualities), min(60.0, max(qualities)), HEIGHT - BOTTOM, TOP)
    parts = [
        f'<g transform="translate({WIDTH * (n % COLUMNS)},{HEIGHT * (n // COLUMNS) + 24})">'
        f"{''.join(_panel(method, sweeps, x, y))}</g>"
        for n, method in enumerate(methods)
    ]
    names = " and ".join(f"{model} ({('circles', 'squares')[n]})" for n, model in enumerate(sweeps))
    head = text(
        "small",
        LEFT,
        14,
        f"PSNR in dB by how many times fewer operations: {names}; dashed: fewer plain steps",
    )
    rows = math.ceil(len(methods) / COLUMNS)
    return svg(WIDTH * COLUMNS, HEIGHT * rows + 30, "Every method against fewer plain steps", [head, *parts])


def _panel(method: str, sweeps: Mapping[str, Sequence[Line]], x: Axis, y: Axis) -> Iterator[str]:
    yield text("title", LEFT, 13, method)
    for speed in (1, 1.5, 2, 3, 5):
        if math.log(speed) <= x.high:
            yield text("small", x(math.log(speed)) - 3, HEIGHT - 6, f"{speed:g}")
    for value in y.ticks():
        yield f'<path class="grid" d="M{LEFT},{y(value)}H{WIDTH - RIGHT}"/>'
        yield text("small", 4, y(value) + 3, f"{value:g}")
    for number, lines in enumerate(sweeps.values()):
        judged = _judged(lines)
        yield _curve([line for line in judged if line.kind == PLAIN], f"few {STYLES[number]}", x, y)
        its = [line for line in judged if line.method == method]
        yield _curve(its, STYLES[number], x, y)
        for line in its:
            place = f"{x(_log(line))},{_height(line, y)}"
            hint = f"{line.title}: {line.speedup:.2f}x, {line.scores['psnr'].mean:.1f} dB"
            yield f'<path class="{STYLES[number]}" transform="translate({place})" d="{MARKERS[number]}">'
            yield f"<title>{escape(hint)}</title></path>"


def _judged(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if (line.method or line.kind == PLAIN) and "psnr" in line.scores]


def _curve(lines: Sequence[Line], style: str, x: Axis, y: Axis) -> str:
    points = sorted((x(_log(line)), _height(line, y)) for line in lines)
    return f'<polyline class="curve {style}" points="{" ".join(f"{a},{b}" for a, b in points)}"/>'


def _log(line: Line) -> float:
    """Settings that are slower than computing everything stand at its speed."""
    return math.log(max(1.0, line.speedup))


def _height(line: Line, y: Axis) -> float:
    return y(min(y.high, line.scores["psnr"].mean))


def _key(number: int) -> str:
    return key(number).replace("<svg ", '<svg x="-8" y="-8" width="16" height="16" ', 1)
