"""Stacks of ``stack.py speed`` on one device: made ready beside each other, measured one after another.

Compilers keep the processor busy for minutes, and the runs that count take seconds. So each stack has a
process of its own, and one turn goes around: whoever has it makes its model, or measures. Measuring begins
when all stacks are ready, or after ``--patience``; ``compiled_beside`` in a row says how many stacks were
still imported or compiled when it began. A plan was tried before, so that ``first_seconds`` and
``second_seconds`` are shorter than those of ``stack.py`` where a model is compiled as a whole. What has a
row is not measured again; a stack that fails, or takes too long, gets none and says where it was."""

import argparse
import faulthandler
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING

from full_size import MODELS
from stack_ways import WAYS, Way

if TYPE_CHECKING:
    from stack import Row, StackedLoop

TRIED = 8
"""Steps of the runs in which a plan is tried."""

TURNS = {"imported": "making", "ready": "measuring"}
"""What waits for a turn, and what it is then."""

BUSY = ("importing", "compiling")
"""What stacks do beside each other."""

ENDED = "ended"


@dataclass
class Worker:
    """A stack in a process of its own.

    Args:
        model: the model's name.
        way: the name of what is put on it.
        process: the process.
        pipe: to it.
        stage: what it does.
        since: when that began.
    """

    model: str
    way: str
    process: SpawnProcess
    pipe: Connection
    stage: str = "importing"
    since: float = field(default_factory=time.monotonic)

    def goes_to(self, stage: str) -> None:
        now = time.monotonic()
        print(f"{self.model}: {self.way}: {stage} after {now - self.since:.1f} s {self.stage}", flush=True)
        self.stage, self.since = stage, now

    def hear(self) -> "Row | None":
        """Take a message: the stage that the stack has reached, or its row at the end."""
        try:
            heard: str | Row = self.pipe.recv()
        except EOFError:
            self.end()
            return None
        if isinstance(heard, str):
            self.goes_to(heard)
            return None
        self.end()
        return heard

    def overdue(self, limit: float) -> bool:
        return self.stage in (*BUSY, *TURNS.values()) and time.monotonic() - self.since > limit

    def stop(self) -> None:
        """End it; on this signal it tells where it is."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGABRT)
        self.end()

    def end(self) -> None:
        """Wait until it is gone, so that it takes no time of the next one; a compiler's threads may stay."""
        self.process.join(5)
        self.process.kill()
        self.goes_to(ENDED)


def started(model: str, way: str, asked: argparse.Namespace) -> Worker:
    processes = get_context("spawn")
    here, there = processes.Pipe()
    process = processes.Process(target=stack, args=(there, model, way, asked))
    process.start()
    there.close()
    return Worker(model, way, process, here)


def stack(pipe: Connection, model: str, label: str, asked: argparse.Namespace) -> None:
    """Import all it needs, make a stack and measure it; the last two when their turn has come."""
    faulthandler.enable()
    import torch
    from machine import about
    from promise import rows as promised
    from stack import StackedLoop, own_records
    from torch._inductor import config

    config.compile_threads = asked.threads
    StackedLoop(model, WAYS[label], asked.device, tiny=True)  # Imports what it needs.
    pipe.send("imported")
    pipe.recv()
    loop = StackedLoop(model, WAYS[label], asked.device, asked.tiny)
    torch.cuda.empty_cache()  # Several models have to fit; there may be smaller weights now.
    pipe.send("compiling")
    begin = time.perf_counter()
    warm_up(loop, WAYS[label], asked.speedup)
    torch.cuda.empty_cache()
    ready = {"ready_seconds_beside_others": round(time.perf_counter() - begin, 1)}
    pipe.send("ready")
    ready["compiled_beside"] = pipe.recv()
    with own_records():
        row = next(promised(loop, [asked.speedup], asked.steps, **WAYS[label].attach))
    named = {"part": "speed", "model": model, "way": label, "makes": loop.makes}
    pipe.send({**named, **ready, **row, **about(asked.device)})


def warm_up(loop: "StackedLoop", way: Way, speedup: float) -> None:
    """Short runs without and with a plan: a model compiled as a whole has other graphs there."""
    from stack import WARM_UP, own_records

    import skipstone

    for _ in range(WARM_UP):
        loop(2)
    with own_records(), skipstone.attach(loop, speedup=speedup, **way.attach):
        for _ in range(2):
            loop(TRIED)
    loop(2)  # The first one without the plan takes longer again.


def next_turn(workers: Sequence[Worker], patient: bool) -> Worker | None:
    """The first that can be made, else the first that can be measured; nobody while another has the turn."""
    stages = {worker.stage for worker in workers}
    if stages & set(TURNS.values()):
        return None
    waits = patient and stages & set(BUSY)
    turns = ("imported",) if waits else ("imported", "ready")
    return next((worker for turn in turns for worker in workers if worker.stage == turn), None)


def give_turn(workers: Sequence[Worker], patient: bool) -> None:
    worker = next_turn(workers, patient)
    if worker:
        worker.pipe.send(sum(other.stage in BUSY for other in workers))
        worker.goes_to(TURNS[worker.stage])


def rows(workers: Sequence[Worker], asked: argparse.Namespace) -> "Iterator[Row]":
    """The rows, as they come; a process that takes too long is ended."""
    begin = time.monotonic()
    while left := [worker for worker in workers if worker.stage != ENDED]:
        taken = time.monotonic() - begin
        give_turn(left, taken < asked.patience)
        heard = wait([worker.pipe for worker in left], timeout=1)
        yield from filter(None, [worker.hear() for worker in left if worker.pipe in heard])
        for worker in left:
            if worker.overdue(asked.limit) or (taken > asked.seconds and worker.stage != ENDED):
                worker.stop()


def missing(asked: argparse.Namespace) -> list[tuple[str, str]]:
    """The stacks that have no row yet, in the order asked for."""
    lines = asked.rows.read_text().splitlines() if asked.rows.exists() else []
    known = [row for row in map(json.loads, lines) if row["part"] == "speed"]
    there = {(row["model"], row["way"]) for row in known}
    return [stack for stack in asked.stacks if stack not in there]


def named(text: str) -> tuple[str, str]:
    """A model and what is put on it, as in ``flux: model offload``."""
    model, _, way = text.partition(": ")
    if model not in MODELS or way not in WAYS:
        accepted = f"a model of {', '.join(MODELS)}, then ': ', then one of {'; '.join(WAYS)}"
        raise argparse.ArgumentTypeError(f"{text!r} is no stack: write {accepted}")
    return model, way


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stacks", nargs="+", type=named, metavar="MODEL: WAY", help="the most wanted first")
    parser.add_argument("--speedup", type=float, default=2.5)
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--seconds", type=float, default=400, help="for everything")
    parser.add_argument("--limit", type=float, default=300, help="seconds of making, compiling or measuring")
    parser.add_argument("--patience", type=float, default=150, help="seconds of waiting until all are ready")
    parser.add_argument("--threads", type=int, default=4, help="of each compiler")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to try the program out")
    parser.add_argument("--rows", type=Path, required=True, help="a file to add the rows to")
    asked = parser.parse_args()
    asked.stacks = missing(asked)
    workers = [started(model, way, asked) for model, way in asked.stacks]
    with asked.rows.open("a") as file:
        for row in rows(workers, asked):
            print(json.dumps(row), file=file, flush=True)
    for model, way in missing(asked):
        print(f"{model}: {way}: not measured", file=sys.stderr)


if __name__ == "__main__":
    main()
