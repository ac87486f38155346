"""A plan beside compilers, 8-bit weights, offloading and adapters: speed and quality, in JSON rows.

``speed``: models of full size with random weights. In each stack, `attach(speedup=...)` is asked for a speed,
and its third run is compared with uncached runs of that stack, before and after it. ``quality``: trained
small models. A plan of the same speed is compared with the uncached pictures of the same stack.
"""

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from full_size import MODELS, SHORT
from machine import about
from promise import rows as promised
from stack_ways import WAYS, Way
from step_cost import Loop, Run

import skipstone
from skipstone.pipelines.planning import autoplan

PROVING = Path(__file__).parent / "proving"
TESTED = 8
"""Pictures of each model."""

WARM_UP = 3
"""Short runs before the first measured one: compilers go on with the second one."""

Row = dict[str, Any]


class StackedLoop(Loop):
    """A denoising loop with something put on its model.

    Args:
        name: the model's, as in `MODELS`.
        way: what is put on it.
        device: where it runs.
        tiny: a tiny model, to try the program out.
    """

    def __init__(self, name: str, way: Way, device: str, tiny: bool) -> None:
        spec = SHORT.get(name, MODELS[name])
        super().__init__(spec.shrunk() if tiny else spec, device)
        self.makes = spec.makes
        self._after: Callable[[], object] | None = way.put(self.transformer, device)

    def _watched(self) -> AbstractContextManager[list[bool]]:
        # A hook would be part of a graph of the whole model, which is then made again for each run.
        return nullcontext([])

    def __call__(self, steps: int, waits: bool = False) -> Run:
        run = super().__call__(steps, waits)
        if self._after:
            self._after()
        return run


def speed(name: str, way: Way, asked: argparse.Namespace) -> Row:
    """The speed that is asked for and the one that is got, in one stack."""
    begin = time.perf_counter()
    loop = StackedLoop(name, way, asked.device, asked.tiny)
    for _ in range(WARM_UP):
        loop(2)
    ready = time.perf_counter() - begin
    with own_records():
        row = next(promised(loop, [asked.speedup], asked.steps, **way.attach))
    return {"makes": loop.makes, "ready_seconds": round(ready, 1), **row}


@contextmanager
def own_records() -> Iterator[None]:
    """Records of runs that are known to nobody else, and are not kept."""
    with tempfile.TemporaryDirectory() as folder:
        autoplan.records_folder = lambda: Path(folder)
        yield


def quality(name: str, way: Way, asked: argparse.Namespace) -> Row:
    """How near planned pictures come to uncached ones of their stack, and these to the bare model, in dB."""
    from prove import TESTED_SEED, Bench, decibels
    from situations import Situation

    dtype = "bfloat16" if asked.device == "cuda" else "float32"  # Most CPUs have no fast bfloat16.
    situation = Situation(name, steps=asked.steps, dtype=dtype)
    alone, bench = (Bench(situation, asked.device, TESTED) for _ in range(2))
    way.put(bench.pipe.transformer, asked.device)
    plan = bench.record.plan(speedup=asked.speedup)
    with skipstone.attach(bench.pipe, plan, **way.attach):
        made = bench.pipe(**bench.arguments(TESTED, TESTED_SEED))[0]
    return {
        "computed": plan.computed,
        "steps": asked.steps,
        "dtype": dtype,
        "psnr": round(mean(decibels(made, bench.reference)), 2),
        "psnr_of_stack": round(mean(decibels(bench.reference, alone.reference)), 2),
    }


PARTS = {"speed": speed, "quality": quality}


def rows(part: str, names: Sequence[str], asked: argparse.Namespace) -> Iterator[Row]:
    """A row for each model and way; what a library refuses is told in its words."""
    for name in names:
        for label in asked.ways:
            torch._dynamo.reset()
            try:
                found = PARTS[part](name, WAYS[label], asked)
            except Exception as problem:  # A library may not know a model or a device.
                found = {"problem": f"{type(problem).__name__}: {problem}"[:300]}
            yield {"part": part, "model": name, "way": label, **found, **about(asked.device)}
            gc.collect()
            if asked.device == "cuda":
                torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=tuple(PARTS))
    parser.add_argument("models", nargs="+", help="of full_size.py, or of proving/kinds.py")
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=tuple(WAYS))
    parser.add_argument("--speedup", type=float, default=2.5)
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to try the program out")
    parser.add_argument("--rows", type=Path, required=True, help="a file to add the rows to")
    asked = parser.parse_args()
    with asked.rows.open("a") as file:
        for row in rows(asked.part, asked.models, asked):
            print(json.dumps(row), file=file, flush=True)
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    import sys

    sys.path.append(str(PROVING))
    main()
