"""Small drawings as inline SVG and HTML, for notebooks and reports."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 360, 160
LEFT, BOTTOM, MARGIN = 44, 30, 10
"""Of a curve in pixels; around its area."""

Point = tuple[float, float]


def strip(text: str) -> str:
    """Computed steps filled, skipped ones empty, those computed in part half filled."""
    width, computed = 6 * len(text), text.count("#")
    label = escape(f"{computed} of {len(text)} steps computed: {text}")
    full = "".join(f"M{6 * n},0h5v12h-5z" for n, mark in enumerate(text) if mark == "#")
    half = "".join(f"M{6 * n},6h5v6h-5z" for n, mark in enumerate(text) if mark == "+")
    empty = "".join(f"M{6 * n},10.5h5v1.5h-5z" for n, mark in enumerate(text) if mark == ".")
    return (
        f'<svg class="strip" width="{width}" height="12" viewBox="0 0 {width} 12" preserveAspectRatio="none" '
        f'role="img" aria-label="{label}"><title>{label}</title>'
        f'<path class="full" fill="currentColor" d="{full}{half}"/>'
        f'<path class="empty" fill="currentColor" opacity=".6" d="{empty}"/></svg>'
    )


def curve(points: Sequence[Point], mark: Point, across: str, up: str) -> str:
    """Points joined by a line, one of them marked; empty for fewer than two.

    Args:
        points: across and up, in the order of the line.
        mark: the one to mark.
        across: what is across.
        up: what is up.
    """
    if len(points) < 2:
        return ""
    lows, highs = ([find(axis) for axis in zip(*points, strict=True)] for find in (min, max))

    def at(point: Point) -> str:
        x, y = ((v - low) / (high - low or 1) for v, low, high in zip(point, lows, highs, strict=True))
        return (
            f"{LEFT + x * (WIDTH - LEFT - MARGIN):.1f},{HEIGHT - BOTTOM - y * (HEIGHT - BOTTOM - MARGIN):.1f}"
        )

    x, y = at(mark).split(",")
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(up)} by {escape(across)}" font-size="11" fill="currentColor">'
        f'<polyline fill="none" stroke="currentColor" points="{" ".join(map(at, points))}"/>'
        f'<circle cx="{x}" cy="{y}" r="4"/>'
        f"{_text(LEFT, HEIGHT - 14, 'start', f'{lows[0]:.3g}')}"
        f"{_text(WIDTH - MARGIN, HEIGHT - 14, 'end', f'{highs[0]:.3g} {across}')}"
        f"{_text(LEFT - 4, HEIGHT - BOTTOM, 'end', f'{lows[1]:.3g}')}"
        f"{_text(LEFT - 4, MARGIN + 8, 'end', f'{highs[1]:.3g}')}"
        f"{_text(WIDTH - MARGIN, MARGIN + 8, 'end', up)}</svg>"
    )


def card(title: str, drawings: Iterable[str], facts: Mapping[str, str], notes: Iterable[str] = ()) -> str:
    """A title, drawings, a table of facts and a list of notes."""
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(fact)}</td></tr>" for name, fact in facts.items())
    said = "".join(f"<li>{escape(note)}</li>" for note in notes)
    parts = [f"<div><b>{escape(title)}</b></div>", *(f"<div>{one}</div>" for one in drawings if one)]
    parts += [f"<table>{rows}</table>"] * bool(rows) + [f"<ul>{said}</ul>"] * bool(said)
    return f"<div>{''.join(parts)}</div>"


def _text(x: float, y: float, anchor: str, words: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'
