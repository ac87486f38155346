"""Start processes that are joined, one for each device, and let the first one write rows."""

import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from machine import about


@dataclass(frozen=True)
class Asked:
    """What to measure.

    Args:
        folder: where the rows go.
        device: ``cuda`` or ``cpu``.
        count: how many processes.
        models: full-size models by name.
        ways: ways of sharing a model.
        steps: steps of a run.
        tiny: whether to use tiny models and few steps, to try the program out.
    """

    folder: Path
    device: str
    count: int
    models: list[str]
    ways: list[str]
    steps: int
    tiny: bool

    def write(self, part: str, **row: Any) -> None:
        """Add a row, from the first process, and print it."""
        if int(os.environ.get("RANK", 0)):
            return
        line = json.dumps({"part": part, "processes": self.count, **row, **about(self.device)})
        with (self.folder / "several_gpus.jsonl").open("a") as file:
            print(line, file=file, flush=True)
        print(line, flush=True)


def start(asked: Asked, work: Callable[[Asked], None]) -> None:
    """Do the same work in joined processes.

    Raises:
        ProcessException: one of them failed; the others were ended.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.start_processes(_join, (port, asked, work), asked.count, start_method="spawn")


def _join(rank: int, port: int, asked: Asked, work: Callable[[Asked], None]) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(asked.count), MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )  # fmt: skip
    if asked.device == "cuda":
        torch.cuda.set_device(rank)
    else:
        # Diffusers counts accelerators; gloo needs none.
        torch.accelerator.device_count = lambda: 1
        torch.set_num_threads(1)
    backend = "nccl" if asked.device == "cuda" else "gloo"
    dist.init_process_group(backend, rank=rank, world_size=asked.count, timeout=timedelta(minutes=2))
    work(asked)
    dist.destroy_process_group()


def of_all(value: Any) -> list[Any]:
    """What each process has."""
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def say(text: str) -> None:
    """Print a line, in the first process."""
    if not dist.is_initialized() or dist.get_rank() == 0:
        print(text, file=sys.stderr, flush=True)
