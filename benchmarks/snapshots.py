"""What 8-bit snapshots cost in quality: a bundled model's plan with each kind of snapshot, in JSON rows.

A run is compared with the uncached run in the same precision.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from pebble_runs import PebbleRuns, spread
from planned import Case, Row, measure_and_print, parser_of

from skipstone.pipelines import bundled
from skipstone.schedules.plan import Plan

FORMS = (None, "int8", "fp8")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def cases(runs: PebbleRuns, dtype: str, computed: Sequence[int]) -> Iterator[Case]:
    """A row for each budget and kind of snapshot."""
    record = runs.record()
    for count in computed:
        plan = record.plan(computed=count)
        for form in FORMS:
            key = {"what": "snapshots", "asked": count, "dtype": dtype, "snapshots": form}
            yield Case(key, partial(_row, runs, plan, form))


def _row(runs: PebbleRuns, plan: Plan, form: str | None) -> Row:
    outcomes = runs.follow(plan, form)
    return {"strip": plan.strip, "held": outcomes[0].held, **spread(outcomes)}


def main() -> None:
    parser = parser_of(__doc__, (17, 10))
    parser.add_argument("--dtypes", nargs="+", choices=tuple(DTYPES), default=tuple(DTYPES))
    asked = parser.parse_args()
    for name in asked.dtypes:
        folder = bundled.folder(asked.model)
        runs = PebbleRuns(folder, asked.model, asked.device, asked.steps, asked.count, DTYPES[name])
        measure_and_print(cases(runs, name, asked.computed), asked)


if __name__ == "__main__":
    main()
