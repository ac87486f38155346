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
            process = subprocess.Popen(
                command, env=environment(), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            second = _wait_for_second(process.pid, folder)
            os.kill(second, signal.SIGKILL)
            begin = time.perf_counter()
            try:
                code: int | str = process.wait(MOST)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                code = "none"
            after = time.perf_counter() - begin
        kept = [row for path in folder.glob("*.jsonl") for row in read_rows(path)]
        torn = sum(not path.read_bytes().endswith(b"\n") for path in folder.glob("*.jsonl"))
    return {"others_end_after": round(after, 2), "exit_code": code, "rows": len(kept), "torn": torn}


def _wait_for_second(parent: int, folder: Path) -> int:
    """The number of the second process, once all have written rows."""
    while True:
        time.sleep(0.2)
        if len(list(folder.glob("*.jsonl"))) < 2:
            continue
        for path in Path("/proc").glob("[0-9]*"):
            try:
                here = (path / "environ").read_bytes().split(b"\0")
                group = os.getsid(int(path.name))
            except (OSError, ValueError):
                continue
            if group == parent and b"RANK=1" in here:
                return int(path.name)
