"""Drawings as SVG that follow the reader's light or dark mode, in the colours of the report's page."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

COLOURS = Path(__file__).parents[2] / "src" / "skipstone" / "report" / "page" / "drawing.css"

EXTRA = """
.paper { fill: var(--paper); } text { font-family: system-ui, sans-serif; }
.target { stroke: var(--faint); stroke-dasharray: 1 3; } .curve.few { stroke-dasharray: 4 3; opacity: .7; }
.low { stroke-dasharray: 4 4; } .thin { stroke-width: 1; opacity: .55; }
.other { fill: var(--faint); stroke: var(--faint); }
.title { fill: var(--ink); font-size: 12px; font-weight: 600; }
.label { fill: var(--ink); font-size: 12px; } .right { text-anchor: end; } .middle { text-anchor: middle; }
.small { fill: var(--faint); font-size: 10px; }
"""


def svg(width: int, height: int, label: str, parts: Sequence[str]) -> str:
    """A drawing on paper.

    Args:
        width: in pixels.
        height: in pixels.
        label: what it shows, for those who cannot see it.
        parts: elements, with the classes of the style.
    """
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(label)}"><style>{COLOURS.read_text()}{EXTRA}</style>'
        f'<rect class="paper" width="{width}" height="{height}"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def text(style: str, x: float, y: float, words: str) -> str:
    """Words that begin, end or have their middle at a place, as their style says."""
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'
