"""A process that dies in the middle: how long the others live, and what is left of the rows."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from full_size import MODELS
from ranks.data import environment, launched, report
from ranks.joined import Asked, say, start
from ranks.shared import ulysses
from step_cost import Loop

import skipstone
from skipstone.report.rows import read_rows

MOST = 120.0
"""Seconds after which what still lives is ended."""

DYING = "dying at"
"""The name of the file in which a process writes when it dies."""


def measure(asked: Asked) -> None:
    """A row for a shared model, and one for a report."""
    asked.write("death", what="a model that is shared", **_ended(asked, _in_a_run))
    asked.write("death", what="a report by accelerate launch", **_of_a_report(asked))


def _in_a_run(asked: Asked) -> None:
    """A long run of a shared model; the last process kills itself in its middle."""
    spec = MODELS["flux"].shrunk() if asked.tiny else MODELS["flux"]
    torch.manual_seed(0)
    loop = Loop(spec, asked.device)
    ulysses(loop.transformer, asked.count)
    with skipstone.attach(loop, "first-block") as cache:
        if dist.get_rank() == asked.count - 1:
            cache.watch(lambda step, *_: _die(asked) if step.index > 5 else None)
        loop(1000)


def _die(asked: Asked) -> None:
    (asked.folder / DYING).write_text(str(time.time()))
    os.kill(os.getpid(), signal.SIGKILL)


def _ended(asked: Asked, work: Callable[[Asked], None]) -> dict[str, Any]:
    (asked.folder / DYING).unlink(missing_ok=True)
    try:
        start(asked, work)
        why = "nothing was raised"
    except Exception as problem:  # What a launcher raises depends on its version.
        why = f"{type(problem).__name__}: {problem}".strip().splitlines()[-1]
    after = time.time() - float((asked.folder / DYING).read_text())
    return {"others_end_after": round(after, 2), "error": why[:200]}


def _of_a_report(asked: Asked) -> dict[str, Any]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        command = [*launched(asked), "-m", "skipstone", *report(asked, 64, folder)]
        say(" ".join(command))
        with (folder / "log.txt").open("w") as log:
            process = subprocess.Popen(command, env=environment(), stdout=log, stderr=subprocess.STDOUT)
            _kill_second(folder)
            begin = time.perf_counter()
            try:
                code: int | str = process.wait(MOST)
            except subprocess.TimeoutExpired:
                code = "none"
            after = time.perf_counter() - begin
        for left in _processes(folder):
            os.kill(int(left.name), signal.SIGKILL)
        kept = [row for path in folder.glob("*.jsonl") for row in read_rows(path)]
        torn = sum(not path.read_bytes().endswith(b"\n") for path in folder.glob("*.jsonl"))
    return {"others_end_after": round(after, 2), "exit_code": code, "rows": len(kept), "torn": torn}


def _kill_second(folder: Path) -> None:
    """Kill the second process, once all have written rows."""
    while len(list(folder.glob("*.jsonl"))) < 2:
        time.sleep(0.2)
    second = [path for path in _processes(folder) if b"RANK=1" in _read(path / "environ")]
    os.kill(int(second[0].name), signal.SIGKILL)


def _processes(folder: Path) -> list[Path]:
    """The processes whose command names a folder."""
    named = os.fsencode(folder / "report.html")
    return [path for path in Path("/proc").glob("[0-9]*") if named in _read(path / "cmdline")]


def _read(path: Path) -> list[bytes]:
    """The parts of a file of the system; none if its process is over."""
    try:
        return path.read_bytes().split(b"\0")
    except OSError:
        return []
