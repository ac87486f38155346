"""Capture a device's work, to replay it in one call."""

from collections.abc import Callable
from typing import Any, Protocol

import torch


class Captured(Protocol):
    """Captured work, which can be replayed on the same memory."""

    output: Any
    """The output of the work. A replay overwrites it, and so may other work of the same capturer."""

    nbytes: int
    """How many more bytes are held for it."""

    def replay(self) -> None:
        """Replay the work."""


class Capturer(Protocol):
    """Captures work."""

    def capture(self, work: Callable[[], Any]) -> Captured:
        """Capture what some work gives the device to do; it may run only on a replay."""


class CudaGraph:
    """Work as a CUDA graph."""

    def __init__(self, graph: torch.cuda.CUDAGraph, output: Any, nbytes: int) -> None:
        self._graph = graph
        self.output = output
        self.nbytes = nbytes

    def replay(self) -> None:
        self._graph.replay()


class CudaGraphs:
    """Capture work as CUDA graphs that share their memory, since nothing in it is needed between replays.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def capture(self, work: Callable[[], Any]) -> CudaGraph:
        graph = torch.cuda.CUDAGraph()
        index = torch.cuda.current_device() if self._device.index is None else self._device.index
        generator = torch.cuda.default_generators[index]
        state = generator.clone_state()
        # A failed capture leaves its stream active, and a generator that waits for its end.
        with torch.cuda.device(index), torch.cuda.stream(torch.cuda.current_stream(index)):
            try:
                with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                    before = torch.cuda.memory_reserved()
                    output = work()
                    nbytes = torch.cuda.memory_reserved() - before
            except Exception:
                generator.graphsafe_set_state(state)
                raise
        return CudaGraph(graph, output, nbytes)


CAPTURERS: dict[str, Callable[[torch.device], Capturer]] = {"cuda": CudaGraphs}
"""For each type of device that can capture work, the class that does."""
