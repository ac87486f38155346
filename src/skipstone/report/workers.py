"""Processes that share the work of one report, each with its own pipeline and device."""

import os
import socket
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from skipstone.ending import end_as_by_ctrl_c

T = TypeVar("T")

PATIENCE = timedelta(days=7)
"""How long processes wait for each other: one may have much more work than another."""


class Crew:
    """The processes that ``accelerate launch``, ``torchrun`` or `spread` started, or this process alone.

    Args:
        on_cpu: whether the processes work on the CPU.
    """

    def __init__(self, on_cpu: bool) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", 1))
        self.rank = _rank()
        self._state: Any = None
        if self.count > 1:
            from accelerate import PartialState

            self._state = PartialState(cpu=on_cpu, timeout=PATIENCE)

    def share(self, work: Sequence[T]) -> Sequence[T]:
        """This process's part of the work."""
        return work[self.rank :: self.count]

    def gather(self, found: list[T]) -> list[T]:
        """Collect what all processes found."""
        if self._state is None:
            return found
        from accelerate.utils import gather_object

        return list(gather_object(found))

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self._state is not None:
            self._state.wait_for_everyone()


def is_first() -> bool:
    """Whether this is the process that writes the results."""
    return _rank() == 0


def local_rank() -> int:
    """The number of this process on this machine."""
    return int(os.environ.get("LOCAL_RANK", 0))


def _rank() -> int:
    return int(os.environ.get("RANK", 0))


def spread(count: int, work: Callable[..., object], *arguments: Any) -> None:
    """Do the same work in several processes of this machine, as a `Crew`.

    Raises:
        TypeError: the work raised it in one of the processes.
        ValueError: likewise.
    """
    from torch.multiprocessing import get_context
    from torch.multiprocessing.spawn import ProcessRaisedException, spawn

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    refusals = get_context("spawn").SimpleQueue()
    try:
        _wait(spawn(_enlist, (count, port, work, arguments, refusals), count, join=False))  # type: ignore[no-untyped-call]
    except ProcessRaisedException:
        if refusals.empty():
            raise
        raise refusals.get() from None


def _wait(crew: Any) -> None:
    """Wait for processes to end; whoever is ended while waiting ends them too."""
    try:
        while not crew.join():
            pass
    except KeyboardInterrupt:
        for process in crew.processes:
            process.terminate()
        raise


def _enlist(
    rank: int, count: int, port: int, work: Callable[..., object], arguments: Sequence[Any], refusals: Any
) -> None:
    import torch

    end_as_by_ctrl_c()
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )  # fmt: skip
    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    try:
        work(*arguments)
    except (TypeError, ValueError) as error:
        refusals.put(error)
        raise
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
