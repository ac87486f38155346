"""Write into several_gpus.md how much GPUs send each other, by arithmetic; ``--check`` only says if stale."""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from written import written

PAGE = Path(__file__).parents[1] / "several_gpus.md"
BEGIN, END = "<!-- communication: python docs/make/communication.py -->\n", "<!-- end of communication -->"

BYTES = 2
"""Of a number in bfloat16."""


@dataclass(frozen=True)
class Model:
    """What the amount follows from.

    Args:
        makes: what it makes.
        tokens: tokens that its attentions take.
        dim: their width.
        attentions: attentions over all tokens, one for each block.
        first: those of blocks that run on every step.
        output: numbers that the model returns.
    """

    makes: str
    tokens: int
    dim: int
    attentions: int
    first: int
    output: int


MODELS = (
    Model("FLUX.1-dev, 1024 x 1024", 512 + 4096, 3072, 57, 0, 4096 * 64),
    Model("Wan 2.1 14B, 1280 x 720, 81 frames", 21 * 45 * 80, 5120, 40, 1, 21 * 45 * 80 * 64),
)


def attention(model: Model, ring: int, ulysses: int) -> tuple[float, float]:
    """Bytes that one GPU receives in one attention, in its Ulysses group and in its ring.

    Queries, keys, values and outputs change hands in a Ulysses group; then the ring gathers keys and values
    of the heads that the GPU has.
    """
    whole = model.tokens * model.dim * BYTES
    exchanged = 4 * whole / (ring * ulysses) * (ulysses - 1) / ulysses
    gathered = 2 * whole / ulysses * (ring - 1) / ring
    return exchanged, gathered


def lines(model: Model) -> Iterator[str]:
    """A row for each number of GPUs."""
    for ring, ulysses in ((1, 2), (2, 1), (1, 8), (2, 8), (8, 8)):
        count, each = ring * ulysses, attention(model, ring, ulysses)
        last = model.output * BYTES * (count - 1) / count
        inside, across = (model.attentions * part / 1e6 for part in each)
        skipped = (model.first * sum(each) + last) / 1e6
        share = skipped / (inside + across + last / 1e6)
        amounts = f"{inside:,.0f} | {across:,.0f} | {skipped:,.1f} | {share:.2%}"
        yield f"| {model.makes} | {count} | {ulysses}, {ring} | {amounts} |"


def table() -> str:
    """The table of all models."""
    head = (
        "| model | GPUs | Ulysses, ring | computed step: in the Ulysses group, MB | in the ring, MB | "
        "skipped step, MB | share |"
    )
    found = [head, "|---|---|---|---|---|---|---|", *(line for model in MODELS for line in lines(model))]
    return "".join(f"{line}\n" for line in found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    before, rest = PAGE.read_text().split(BEGIN)
    _, after = rest.split(END)
    return written({PAGE: before + BEGIN + table() + END + after}, parser.parse_args().check)


if __name__ == "__main__":
    sys.exit(main())
