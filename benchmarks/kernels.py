"""How fast each fused kernel is, in JSON rows, beside a copy of as many bytes in the same run.

Each operation is timed as a kernel, as its plain-torch reference, as that reference compiled, and against a
device-to-device copy that reads and writes as many bytes. The cache is emptied before every call.
"""

import argparse
import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from machine import about
from torch import Tensor

from skipstone.cachers.kernels import dispatch, operations
from skipstone.cachers.kernels import reference as plain
from skipstone.cachers.kernels.grouping import grouping_of

SHAPES = {
    "pebble-video": (2, 512, 384),
    "flux 1024": (1, 4608, 3072),
    "wan-1.3b 480p": (1, 32760, 1536),
    "wan-14b 720p": (1, 75600, 5120),
}
"""Hidden states, ``(batch, tokens, dim)``; in bfloat16 the last three are of 27, 96 and 738 MiB."""

TINY = {"tiny": (2, 5, 48)}


SLEEP = 1_000_000
"""Clock cycles of the device, half a millisecond."""


@dataclass(frozen=True)
class Case:
    """One operation on given tensors.

    Args:
        name: the operation.
        fused: runs it, by its kernel.
        plain: the reference.
        arguments: what both take.
        nbytes: the fewest bytes that must be read and written.
        error: the relative error of a result against float64.
    """

    name: str
    fused: Callable[..., Any]
    plain: Callable[..., Any]
    arguments: tuple[Any, ...]
    nbytes: int
    error: Callable[[Any], float]


def cases(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Iterator[Case]:
    """Every operation on fresh random tensors."""
    generator = torch.Generator(device).manual_seed(0)
    drawn = functools.partial(torch.randn, generator=generator, device=device)
    base, *snapshots = (drawn(shape, dtype=dtype) for _ in range(7))
    for count in (2, 3, 6):
        yield reuse(base, snapshots[:count])
    yield reuse_in_place(base.clone(), snapshots[:3])
    yield adjust(base, snapshots[0], *(drawn(shape[-1:], dtype=dtype) for _ in range(2)))
    for order in (1, 2):
        yield distance(base, snapshots[0], order)
    for eight in plain.LARGEST:
        yield quantise(base, eight)
        for count in (1, 3):
            yield restore(base, [plain.quantise(one, eight) for one in snapshots[:count]])
    yield bands(base, [drawn(shape) for _ in range(2)])


def reuse(base: Tensor, snapshots: list[Tensor], name: str = "reuse") -> Case:
    weights = WEIGHTS[: len(snapshots)]
    nbytes = 2 * base.nbytes + sum(one.nbytes for one in snapshots)
    name = f"{name} of {len(snapshots)}"
    return Case(
        name, operations.reuse, plain.reuse, (base, snapshots, weights), nbytes,
        lambda got: relative(got, plain.reuse(base.double(), snapshots, weights)),
    )  # fmt: skip


def bands(base: Tensor, parts: list[Tensor]) -> Case:
    return reuse(base, parts, "reuse float32 bands")


def reuse_in_place(base: Tensor, snapshots: list[Tensor]) -> Case:
    weights, nbytes = WEIGHTS[: len(snapshots)], 2 * base.nbytes + sum(one.nbytes for one in snapshots)
    before = base.clone()

    def error(got: Tensor) -> float:
        return relative(got, plain.reuse(before.double(), snapshots, weights))

    arguments = (base, snapshots, weights, base)
    return Case(
        f"reuse of {len(snapshots)} in place", operations.reuse, plain.reuse, arguments, nbytes, error
    )


def adjust(*arguments: Tensor) -> Case:
    nbytes = sum(one.nbytes for one in (arguments[0], *arguments))
    return Case(
        "adjust", operations.adjust, plain.adjust, arguments, nbytes,
        lambda got: relative(got, plain.adjust(*(one.double() for one in arguments))),
    )  # fmt: skip


def distance(current: Tensor, before: Tensor, order: int) -> Case:
    return Case(
        f"distance, L{order}", operations.distance, plain.distance, (current, before, order),
        current.nbytes + before.nbytes,
        lambda got: relative(
            got,
            (current.double() - before.double()).flatten(1).norm(order, dim=1)
            / before.double().flatten(1).norm(order, dim=1),
        ),
    )  # fmt: skip


def quantise(tensor: Tensor, dtype: torch.dtype) -> Case:
    nbytes = tensor.nbytes + tensor.numel() + 4 * prod(grouping_of(tensor, dtype).shape)
    name = f"quantise to {str(dtype).removeprefix('torch.')}"
    return Case(
        name, operations.quantise, plain.quantise, (tensor, dtype), nbytes,
        lambda got: relative(plain.dequantise(got, torch.float32), tensor.double()),
    )  # fmt: skip


def restore(base: Tensor, snapshots: list[plain.Quantised]) -> Case:
    weights = WEIGHTS[: len(snapshots)]
    nbytes = 2 * base.nbytes + sum(one.nbytes for one in snapshots)

    def error(got: Tensor) -> float:
        parts = [plain.dequantise(one, torch.float32) for one in snapshots]
        return relative(got, plain.reuse(base.double(), parts, weights))

    arguments = (base, snapshots, weights)
    kind = str(snapshots[0].values.dtype).removeprefix("torch.")
    name = f"restore of {len(snapshots)} in {kind}"
    return Case(name, operations.restore, plain.restore, arguments, nbytes, error)


WEIGHTS = (1.75, -1.25, 0.5, 0.25, -0.5, 0.25)


def relative(got: Tensor, exact: Tensor) -> float:
    return float((got.double() - exact).norm() / exact.norm())


def rows(case: Case, device: str, compiles: bool) -> Iterator[dict[str, Any]]:
    """What one operation takes in each way, the copy first."""
    half = torch.rand(max(case.nbytes // 2 // 4, 1), device=device)
    into = torch.empty_like(half)
    ways: dict[str, Callable[[], Any]] = {
        "copy": lambda: into.copy_(half),
        "kernel": lambda: case.fused(*case.arguments),
        "plain": lambda: case.plain(*case.arguments),
    }
    error = {"kernel": case.error(ways["kernel"]())}
    if compiles:
        torch._dynamo.reset()
        compiled = torch.compile(case.plain, dynamic=False)
        ways["compiled"] = lambda: compiled(*case.arguments)
    copy = None
    for way, call in ways.items():
        low, middle, high = timed(call, device)
        copy = copy or middle
        yield {
            "operation": case.name,
            "way": way,
            "bytes": case.nbytes,
            "median_us": round(1e3 * middle, 2),
            "p20_us": round(1e3 * low, 2),
            "p80_us": round(1e3 * high, 2),
            "gb_per_s": round(case.nbytes / middle / 1e6, 1),
            "of_copy": round(copy / middle, 3),
            "host_us": round(1e6 * host_seconds(call, device), 1),
            "error": error.get(way),
        }


def timed(call: Callable[[], Any], device: str) -> tuple[float, float, float]:
    """The 20th, 50th and 80th percentile of the milliseconds that a call takes the device."""
    if device == "cuda":
        times = device_times(call)
    else:
        times = [1e3 * host_seconds(call, device) for _ in range(5)]
    low, _, _, high = quantiles(times, n=5, method="inclusive")
    return low, median(times), high


def device_times(call: Callable[[], Any], count: int = 40) -> list[float]:
    """The milliseconds of single calls with an empty cache, without those that Python takes.

    Each call is launched while the device sleeps. Otherwise a small operation would take as long as its
    launch.
    """
    cache = torch.empty(2**28, dtype=torch.int8, device="cuda")
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(count)]
    call()
    for begin, end in events:
        cache.zero_()
        torch.cuda._sleep(SLEEP)
        begin.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) for begin, end in events]


def host_seconds(call: Callable[[], Any], device: str, count: int = 10) -> float:
    """The seconds that a call keeps Python, while the device is free to go on behind."""
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(count):
        call()
    seconds = (time.perf_counter() - begin) / count
    if device == "cuda":
        torch.cuda.synchronize()
    return seconds


def measure(
    shapes: dict[str, tuple[int, ...]],
    dtypes: Sequence[str],
    device: str,
    wanted: Sequence[str],
    compiles: bool,
) -> Iterator[dict[str, Any]]:
    """All rows; types other than the first one are measured on one shape only."""
    for dtype in dtypes:
        for name, shape in shapes.items():
            if dtype != dtypes[0] and name not in ("wan-1.3b 480p", "tiny"):
                continue
            for case in cases(shape, getattr(torch, dtype), device):
                if wanted and case.name.partition(" ")[0].rstrip(",") not in wanted:
                    continue
                mib = round(shape[0] * shape[1] * shape[2] * getattr(torch, dtype).itemsize / 2**20, 1)
                for row in rows(case, device, compiles and dtype == dtypes[0]):
                    yield {"shape": name, "mib": mib, "dtype": dtype, **row}


def line(row: dict[str, Any]) -> str:
    """A row for people."""
    error = "" if row["error"] is None else f"  error {row['error']:.1e}"
    return (
        f"{row['mib']:6.1f} {row['dtype']:8} {row['operation']:23} {row['way']:8} {row['median_us']:8.1f} us"
        f"  {row['of_copy']:5.2f} of copy  host {row['host_us']:6.1f} us{error}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="tiny tensors, to try the program out")
    parser.add_argument("--shapes", nargs="+", choices=tuple(SHAPES), default=tuple(SHAPES))
    parser.add_argument("--dtypes", nargs="+", default=("bfloat16", "float16", "float32"))
    parser.add_argument("--operations", nargs="+", default=(), help="such as reuse; all by default")
    parser.add_argument("--no-compile", action="store_true", help="leave out the compiled references")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rows", type=Path, help="a file for the rows; a line for each is printed then")
    asked = parser.parse_args()
    shapes = TINY if asked.tiny else {name: SHAPES[name] for name in asked.shapes}
    with torch.no_grad():
        found = measure(shapes, asked.dtypes, asked.device, asked.operations, not asked.no_compile)
        lines = []
        for row in found:
            lines.append(json.dumps({**row, **about(asked.device)}))
            print(line(row) if asked.rows else lines[-1], flush=True)
    if asked.rows:
        asked.rows.write_text("\n".join(lines) + "\n")
    if dispatch.broken:
        raise SystemExit(f"these kernels do not work here: {', '.join(sorted(dispatch.broken))}")


if __name__ == "__main__":
    main()
