"""Write what settling gains for methods that reuse the last residual into docs/planned.md, from the rows.

python docs/make/settling_table.py
"""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
ROWS, PAGE = ROOT / "benchmarks/rows/proving.jsonl", ROOT / "docs/planned.md"
BEGIN, END = "<!-- settling: python docs/make/settling_table.py -->\n", "<!-- end of settling -->"
SETTLING, FULLY = "+settling", "+settling 1.0"
"""What the names of ways end with."""

HIGHEST = 60.0
"""PSNR in dB above which no difference counts."""

SHARES = ((0.45, 1.0, "45% of the steps and more"), (0.3, 0.45, "30 to 45%"), (0.0, 0.3, "fewer"))


class Pair(NamedTuple):
    """A method's rows without and with settling in one situation."""

    situation: str
    method: str
    bare: dict[str, Any]
    settled: dict[str, Any]

    @property
    def gain(self) -> float:
        return mean(self.settled) - mean(self.bare)

    @property
    def gain_of_worst(self) -> float:
        return float(min(self.settled["psnr"]) - min(self.bare["psnr"]))

    @property
    def share(self) -> float:
        """Of the steps that are computed."""
        return float(self.bare["computed"]) / int(self.situation.split()[-3])


def mean(row: dict[str, Any]) -> float:
    return fmean(min(value, HIGHEST) for value in row["psnr"])


def pairs(ending: str = SETTLING) -> Iterator[Pair]:
    """Those that skip something."""
    rows = {(row["situation"], row["way"]): row for row in map(json.loads, ROWS.read_text().splitlines())}
    for (situation, way), row in rows.items():
        bare = rows.get((situation, way.removesuffix(ending)))
        if way.endswith(ending) and bare is not None:
            pair = Pair(situation, way.removesuffix(ending), bare, row)
            if pair.share < 1:
                yield pair


def table() -> Iterator[str]:
    """A row for each method and situation in which it leaves something out."""
    yield "| model, steps | method | computed | PSNR without, worst | with, worst |"
    yield "|---|---|---|---|---|"
    for pair in pairs():
        model, steps = pair.situation.split()[0], pair.situation.split()[-3]
        both = pair.bare, pair.settled
        computed = ", ".join(f"{row['computed']:.0f}" for row in both)
        psnr = " | ".join(f"{mean(row):.1f}, {min(row['psnr']):.1f}" for row in both)
        yield f"| `{model}`, {steps} | `{pair.method}` | {computed} | {psnr} |"


def figures() -> Iterator[str]:
    """What it gains by how many steps are computed."""
    found = list(pairs())
    for least, most, words in SHARES:
        some = [pair for pair in found if least <= pair.share < most]
        gains = [pair.gain for pair in some]
        yield (
            f"- Where {words} are computed: {fmean(gains):+.1f} dB on average and "
            f"{fmean(pair.gain_of_worst for pair in some):+.1f} for the worst prompt, in {len(some)} cells; "
            f"from {min(gains):+.1f} to {max(gains):+.1f}."
        )
    fully = list(pairs(FULLY))
    yield (
        f"- With `share=1`: {fmean(pair.gain for pair in fully):+.1f} dB in all, against "
        f"{fmean(pair.gain for pair in found):+.1f} with the usual 0.7; at most "
        f"{-min(pair.gain for pair in fully):.1f} are lost, against {-min(pair.gain for pair in found):.1f}."
    )


def written() -> str:
    return (
        "\n".join((*figures(), "", "<details><summary>All cells</summary>", "", *table(), "</details>"))
        + "\n"
    )


def main() -> None:
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    PAGE.write_text(before + BEGIN + written() + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
