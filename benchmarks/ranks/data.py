"""One report by several processes with a device each: the same rows as by one, in less time."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ranks.joined import Asked, say

from skipstone.report.rows import SEARCH, SWEEP, read_rows

SIMILAR = ("psnr", "ssim", "lpips")
"""How the names of metrics begin, whose values may differ by rounding."""


@dataclass(frozen=True)
class Reported:
    """One report: its seconds from the first measured row to the last, those of the whole, and its rows."""

    seconds: float
    whole: float
    rows: list[dict[str, Any]]


def measure(asked: Asked, prompts: int) -> None:
    """A row for each way to start the processes."""
    alone = _reported(asked, prompts, [sys.executable, "-m", "skipstone"], [])
    by_itself = ["--workers", str(asked.count)]
    ways: Mapping[str, tuple[list[str], list[str]]] = {
        "report --workers": ([sys.executable, "-m", "skipstone"], by_itself),
        "accelerate launch": ([*launched(asked), "-m", "skipstone"], []),
    }
    for way, (program, options) in ways.items():
        found = _reported(asked, prompts, program, options)
        asked.write(
            "data", way=way, prompts=prompts, rows=len(found.rows), **_compared(alone, found),
            seconds_alone=round(alone.seconds, 2), seconds=round(found.seconds, 2),
            of_ideal=round(found.seconds * asked.count / alone.seconds, 3),
            whole_alone=round(alone.whole, 2), whole=round(found.whole, 2),
        )  # fmt: skip


def launched(asked: Asked) -> list[str]:
    """The program that starts the processes, up to what they run; accelerate starts one on the CPU."""
    if asked.device == "cpu":
        return [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(asked.count)]
    fixed = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    count = ["--num_processes", str(asked.count), "--main_process_port", "29555"]
    return [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", *fixed, *count]


def report(asked: Asked, prompts: int, folder: Path) -> list[str]:
    """The arguments of one report."""
    size = ["--steps", "4", "--size", "32x32"] if asked.tiny else ["--steps", "50"]
    return [
        "report", "--model", "pebble-image", "--methods", "fora,first-block", "--speedups", "2", "--metrics",
        "psnr", "--limit", str(prompts), *size, "--device", asked.device, "--yes", "-o",
        str(folder / "report.html"), "--megabytes", "0",
    ]  # fmt: skip


def environment() -> dict[str, str]:
    """This process's environment, where other ones find the same package."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _reported(asked: Asked, prompts: int, program: Sequence[str], options: Sequence[str]) -> Reported:
    with TemporaryDirectory() as name:
        folder, begin = Path(name), time.perf_counter()
        command = [*program, *report(asked, prompts, folder), *options]
        say(" ".join(command))
        first = last = seen = 0.0
        with (folder / "log.txt").open("w") as log:
            process = subprocess.Popen(command, env=environment(), stdout=log, stderr=subprocess.STDOUT)
            while process.poll() is None:
                time.sleep(0.05)
                count = _measured(folder)
                if count != seen:
                    last, seen = time.perf_counter(), count
                    first = first or last
        whole = time.perf_counter() - begin
        say((folder / "log.txt").read_text()[-600:])
        rows = read_rows(folder / "rows.jsonl") if (folder / "rows.jsonl").exists() else []
        return Reported(last - first, whole, rows)


def _measured(folder: Path) -> int:
    """How many lines of results there are, in the files of all processes."""
    kinds = tuple(f'"kind": "{kind}"' for kind in (SWEEP, SEARCH))
    lines = (line for path in folder.glob("*.jsonl") for line in path.read_text().splitlines())
    return sum(not any(kind in line for kind in kinds) for line in lines)


def _compared(alone: Reported, found: Reported) -> dict[str, Any]:
    """Whether both have the same rows, and the most that a metric differs."""
    ours, theirs = _by_key(alone.rows), _by_key(found.rows)
    shared = ours.keys() & theirs.keys()
    differences = [
        abs(ours[key][name] - theirs[key][name])
        for key in shared
        for name in ours[key].keys() & theirs[key].keys()
        if name.startswith(SIMILAR) and isinstance(ours[key][name], float)
    ]
    return {
        "rows_alone": len(alone.rows),
        "missing": len(ours.keys() ^ theirs.keys()),
        "same_decisions": all(ours[key].get("strip") == theirs[key].get("strip") for key in shared),
        "metrics_differ_by": max(differences, default=None),
    }


def _by_key(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, ...], dict[str, Any]]:
    names = ("kind", "method", "setting", "steps_asked", "prompt", "seed")
    found = [row for row in rows if row["kind"] != SWEEP]
    return {tuple(str(row.get(name)) for name in names): row for row in found}
