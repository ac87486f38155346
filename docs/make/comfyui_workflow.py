"""Draw the workflow of comfyui.md from its file; ``--check`` only says if the figure is stale."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from drawn import svg, text
from written import written

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "examples" / "comfyui" / "example_workflows" / "plan_for_a_speed.json"
FIGURE = ROOT / "docs" / "comfyui.svg"

SCALE = 0.6
"""Pixels of the figure for one of ComfyUI's canvas."""

EDGE, TITLE, ROW = 14, 22, 15
"""Pixels around the drawing, of a node's title, and between its lines."""

LETTER = 5.4
"""About the width of a small letter."""

OURS = "Skipstone"
COLOURS = {"MODEL": 0, "CLIP": 1, "VAE": 3, "CONDITIONING": 5, "LATENT": 4, "IMAGE": 2, "STRING": 6}
"""The series of the house's colours for each kind of value."""

STYLE = """
.node { fill: var(--panel); stroke: var(--line); } .ours { stroke: var(--series-0); stroke-width: 2; }
path.link { fill: none; stroke-width: 1.5; opacity: .8; }
"""

Node = Mapping[str, Any]


def figure(workflow: Mapping[str, Any]) -> str:
    """The nodes where they stand in ComfyUI, and what they hand on."""
    nodes = {node["id"]: node for node in workflow["nodes"]}
    boxes = [box(node) for node in nodes.values()]
    width = max(left + width for left, _, width, _ in boxes) + EDGE
    height = max(top + height for _, top, _, height in boxes) + EDGE
    links = [link(nodes[a], out, nodes[b], into, kind) for _, a, out, b, into, kind in workflow["links"]]
    drawn = [part for node in nodes.values() for part in shapes(node)]
    label = "A workflow: " + ", ".join(name(node) for node in nodes.values())
    return svg(round(width), round(height), label, [f"<style>{STYLE}</style>", *links, *drawn])


def name(node: Node) -> str:
    return str(node.get("title", node["type"]))


def box(node: Node) -> tuple[float, float, float, float]:
    """Left, top, width and height; a node is as high as its lines need."""
    left, top = (SCALE * place + EDGE for place in node["pos"])
    rows = max(len(node["inputs"]), len(node["outputs"])) + len(widgets(node))
    return left, top, SCALE * node["size"][0], TITLE + ROW * rows + 6


def widgets(node: Node) -> list[str]:
    """What is typed into a node, cut to its width."""
    most = int((SCALE * node["size"][0] - 20) / LETTER)
    lines = [str(value) for value in node["widgets_values"] if value != ""]
    return [line if len(line) <= most else line[: most - 3] + "..." for line in lines]


def place(node: Node, slot: int, is_output: bool) -> tuple[float, float]:
    """Where a slot's dot is."""
    left, top, width, _ = box(node)
    return left + width * is_output, top + TITLE + ROW * (slot + 0.5)


def link(giver: Node, out: int, taker: Node, into: int, kind: str) -> str:
    """A curve from an output to an input."""
    (x, y), (to_x, to_y) = place(giver, out, True), place(taker, into, False)
    bend = max(20.0, abs(to_x - x) / 2)
    path = f"M {x:.1f} {y:.1f} C {x + bend:.1f} {y:.1f} {to_x - bend:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
    return f'<path class="link series-{COLOURS.get(kind, 6)}" d="{path}"/>'


def shapes(node: Node) -> Iterator[str]:
    """A node: its box and title, its slots, and what is typed into it."""
    left, top, width, height = box(node)
    style = "node ours" if node["type"].startswith(OURS) else "node"
    size = f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
    yield f'<rect class="{style}" {size} rx="4"/>'
    yield text("title", left + 8, top + 15, name(node))
    for is_output, slots in ((False, node["inputs"]), (True, node["outputs"])):
        for number, slot in enumerate(slots):
            x, y = place(node, number, is_output)
            yield f'<circle class="series-{COLOURS.get(slot["type"], 6)}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
            side = "small right" if is_output else "small"
            yield text(side, x + (-8 if is_output else 8), y + 3.5, slot["name"])
    below = top + TITLE + ROW * max(len(node["inputs"]), len(node["outputs"]))
    for number, line in enumerate(widgets(node)):
        yield text("label", left + 8, below + ROW * (number + 0.75), line)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the figure is stale")
    drawing = figure(json.loads(WORKFLOW.read_text()))
    return written({FIGURE: drawing}, parser.parse_args().check)


if __name__ == "__main__":
    sys.exit(main())
