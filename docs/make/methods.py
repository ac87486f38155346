"""Write methods.md, its figures and the README's table from docstrings and rows; ``--check`` says if stale.

The rows are those of `skipstone report`, in `report/NAME/rows.jsonl` for each bundled model; without them the
page describes the methods and shows no measurement.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from figures import overview, panels
from kept_rows import kept_rows
from methods_table import with_table
from work import by_work
from written import written

from skipstone.cachers import METHODS, PREDICTORS
from skipstone.cachers.contract.per_layer import PerLayer
from skipstone.cachers.wrappers.with_settling import WithSettling
from skipstone.commands.methods import Method, catalogue
from skipstone.report.rows import CACHED, PLAIN, SWEEP
from skipstone.report.standing import Standing, standings
from skipstone.report.summary import Line, left_out, skip_cost, summarise
from skipstone.schedules.recipe import ANCHORS

FOLDER = Path(__file__).parents[1]

README = FOLDER.parent / "README.md"

WHY_WORSE = json.loads(Path(__file__).with_name("why_worse.json").read_text())
"""Why methods are worse than fewer steps, where they are: what we found out."""

KINDS = {
    "Methods that decide": "method",
    "Predictors": "predictor",
    "Guidance savers": "guidance saver",
    "Wrappers": "wrapper",
}
"""What the page has sections of."""

TARGETS = (35, 30)
"""PSNR in dB that a setting keeps on average over the prompts."""

HEAD = """# Methods
Written by `python docs/make/methods.py` from the docstrings of the code and from rows of `skipstone report`.
Do not edit it by hand. `skipstone methods` shows the same in a terminal. [report.md](report.md) says how to
measure your own model.
"""
MEASURED = """
*Speed* is how many times fewer operations a setting computes. Models of full size become that much faster:
their skipped steps take about a hundredth of a computed one ([performance.md](performance.md)). On these
small models and this GPU a skipped step took {costs}
of a computed one (medians of all settings), nearly all of it kernel launches. The last table has the measured
speeds, medians over the prompts. PSNR is against the uncached run of the same prompt and seed, the mean over
the prompts. `fitted` methods use constants that were measured on one run of the first prompt, not published
ones. `fora+taylor` and the like are predictors at even intervals. [planned.md](planned.md) has planned
caching beside other methods on 64 prompts of each model.

![Every method against fewer plain steps](methods.svg)

"""
UNMEASURED = "\nNothing was measured for this page yet.\n"


def page(sweeps: Mapping[str, list[dict[str, Any]]]) -> str:
    """The page in Markdown.

    Args:
        sweeps: the rows of each model.
    """
    lines = {model: summarise(rows) for model, rows in sweeps.items()}
    found = {model: standings(by_work(its, model)) for model, its in lines.items()}
    parts = [HEAD, *(_measured(sweeps, lines, found) if lines else [UNMEASURED])]
    for title, kind in KINDS.items():
        parts.append(f"\n## {title}\n")
        parts += [_section(method, found) for method in catalogue() if method.is_own and method.kind == kind]
    if lines:
        parts += ["\n## All settings\n", *_settings(lines, found)]
    return "".join(parts)


# What was measured


def _measured(
    sweeps: Mapping[str, list[dict[str, Any]]],
    lines: Mapping[str, list[Line]],
    found: Mapping[str, list[Standing]],
) -> Iterator[str]:
    yield "\n## What was measured\n"
    for model, rows in sweeps.items():
        yield f"- {_conditions(model, rows, lines[model])}\n"
    costs = " and ".join(f"{skip_cost(its) or 0.0:.0%} on {model}" for model, its in lines.items())
    yield MEASURED.format(costs=costs)
    yield from _summary(found)
    yield from _never_better(found)
    for model, rows in sweeps.items():
        for method, reason in left_out(rows).items():
            yield f"- `{method}` was left out on {model}: {reason.rstrip('.')}.\n"


def _conditions(model: str, rows: Sequence[Mapping[str, Any]], lines: Sequence[Line]) -> str:
    header = _header(rows)
    runs = min(len(line.rows) for line in lines if line.kind in (CACHED, PLAIN))
    versions = header["versions"]
    return (
        f"**{model}**: {header['arguments']['num_inference_steps']} steps, {runs} prompts, "
        f"{header['dtype']}, {header['device']}, torch {versions.get('torch')}, "
        f"diffusers {versions.get('diffusers')}; "
        f"[report](report/{model}/report.html), [rows](report/{model}/rows.jsonl)"
    )


def _header(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next(row for row in reversed(rows) if row["kind"] == SWEEP)


def _summary(found: Mapping[str, list[Standing]]) -> Iterator[str]:
    """For each method and model the fastest setting of each quality, how it stands, and what it holds."""
    titles = (*(f"{target} dB" for target in TARGETS), "better", "MB")
    cells = [f"{model}: {title}" for model in found for title in titles]
    yield f"| method | {' | '.join(cells)} |\n|---|{'---|' * len(cells)}\n"
    for method in dict.fromkeys(standing.method for its in found.values() for standing in its):
        row = [cell for its in found.values() for cell in _standing_cells(_of(its, method))]
        yield f"| `{method}` | {' | '.join(row)} |\n"
    yield (
        "\nThe columns: the fastest setting that keeps 35 or 30 dB, how many settings are better than "
        "fewer plain steps at the same speed, and the most that the method holds between steps.\n\n"
    )


def _standing_cells(standing: Standing | None) -> list[str]:
    if standing is None:
        return [""] * (len(TARGETS) + 2)
    best = [standing.fastest(target) for target in TARGETS]
    held = max(line.bytes_held for line in standing.lines)
    return [
        *(f"{line.speedup:.2f}x" if line else "-" for line in best),
        f"{len(standing.better)} of {len(standing.lines)}",
        f"{held / 1e6:.1f}",
    ]


def _never_better(found: Mapping[str, list[Standing]]) -> Iterator[str]:
    worse = {model: [s.method for s in its if not s.better] for model, its in found.items()}
    for model, methods in worse.items():
        named = ", ".join(f"`{method}`" for method in methods)
        yield f"- Worse than fewer plain steps everywhere on {model}: {named or 'none'}.\n"
    for method, reason in WHY_WORSE.items():
        if any(method in map(_catalogued, methods) for methods in worse.values()):
            yield f"  - `{method}`: {reason}\n"


def _of(its: Sequence[Standing], method: str) -> Standing | None:
    return next((standing for standing in its if standing.method == method), None)


# Each method


def _section(method: Method, found: Mapping[str, list[Standing]]) -> str:
    parts = [
        f"\n### `{method.typed}`\n{_code(method.claim)} {_code(method.details)}".rstrip() + "\n\n",
        f"**Use it** {_code(method.use)} **Memory**: {memory(method)} **Source**: {method.source}.",
        f" **Difference**: {_code(method.difference)}\n" if method.difference else "\n",
        *(["\n"] if method.parameters else []),
        *(f"- `{p.name}` ({p.default}): {_code(p.meaning)}\n" for p in method.parameters),
        *_standings(method, found),
    ]
    return "".join(parts)


def memory(method: Method) -> str:
    """What a method holds between steps, as a phrase."""
    if method.kind == "predictor":
        return f"{_residuals(PREDICTORS[method.name]().history)} for each branch."
    if method.kind == "guidance saver":
        return "the branches' difference in float32, for each call."
    if method.kind == "wrapper":
        settles = method.name == WithSettling.name
        return "1 output of each model, of the size of the latents." if settles else "none of its own."
    kind = METHODS[method.name]
    if issubclass(kind, PerLayer):
        return "the last output of each layer that it may skip, for each branch: much more than the others."
    if method.name == "planned":
        return f"{_residuals(ANCHORS)} for each branch, and up to 2 outputs of each model to settle gaps."
    history = kind().history
    return f"{_residuals(history)} for each branch{', more with a predictor' if history == 1 else ''}."


def _residuals(count: int) -> str:
    most = "up to " if count > 1 else ""
    return f"{most}{count} residual{'s' * (count > 1)} of the stack"


def _standings(method: Method, found: Mapping[str, list[Standing]]) -> Iterator[str]:
    of_this = [
        (model, standing)
        for model, its in found.items()
        for standing in its
        if _catalogued(standing.method) == method.name
    ]
    yield "\n" if of_this else ""
    for model, standing in of_this:
        yield f"- Measured, `{standing.method}` on {model}: {standing.words()}{_best(standing)}\n"


def _catalogued(label: str) -> str:
    """The entry of the catalogue that a label of the rows belongs to: a predictor's, where it has one."""
    return label.partition(":")[0].rpartition("+")[2]


def _best(standing: Standing) -> str:
    line = standing.fastest(30)
    if line is None:
        return " None keeps 30 dB."
    score = line.scores["psnr"]
    quality = f"{score.mean:.1f} dB, {score.worst:.1f} for the worst prompt"
    return f" `{line.setting}` keeps {quality}, at {line.speedup:.2f}x."


def _code(text: str) -> str:
    return text.replace("``", "`")


# The whole table


def _settings(lines: Mapping[str, list[Line]], found: Mapping[str, list[Standing]]) -> Iterator[str]:
    yield "<details><summary>Every setting on every model</summary>\n\n"
    titles = "model, method, setting, computed steps, computed parts, loop, call, PSNR, worst, SSIM, MB held"
    yield f"| {titles.replace(', ', ' | ')} | against fewer steps |\n{'|---' * 12}|\n"
    for model, its in lines.items():
        margins = {
            (standing.method, line.setting): margin
            for standing in found[model]
            for line, margin in zip(standing.lines, standing.margins, strict=True)
        }
        for line in its:
            if line.kind in (CACHED, PLAIN):
                yield _setting(model, line, margins.get((line.method, line.setting)))
    yield "\n</details>\n"


def _setting(model: str, line: Line, margin: float | None) -> str:
    score, ssim = line.scores["psnr"], line.scores.get("ssim")
    cells = [
        model,
        f"`{line.method}`" if line.method else "fewer steps",
        line.setting or f"{line.steps} steps",
        f"{mean(row['computed_steps'] for row in line.rows):.1f}",
        _parts(line),
        f"{line.speedup:.2f}x",
        f"{line.call_speedup:.2f}x",
        f"{score.mean:.1f}",
        f"{score.worst:.1f}",
        "" if ssim is None else f"{ssim.mean:.3f}",
        f"{line.bytes_held / 1e6:.2f}",
        "" if margin is None else ("no faster" if margin == float("-inf") else f"{margin:+.1f} dB"),
    ]
    return f"| {' | '.join(cells)} |\n"


def _parts(line: Line) -> str:
    counts = line.rows[0]["parts"]
    shares = {kind: calls["computed"] / sum(calls.values()) for kind, calls in counts.items()}
    return ", ".join(f"{share:.0%} of {kind}" for kind, share in shares.items())


def files() -> dict[Path, str]:
    """What is to be written where."""
    sweeps = kept_rows()
    found = {FOLDER / "methods.md": page(sweeps), README: with_table(README.read_text())}
    if sweeps:
        lines = {model: by_work(summarise(rows), model) for model, rows in sweeps.items()}
        found[FOLDER / "methods.svg"] = panels(lines)
        found[FOLDER / "speed.svg"] = overview(lines)
    return found


def main() -> int:
    return written(files(), "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
