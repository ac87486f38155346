"""Having a device take note of some work, to do the same work again in one call."""

from collections.abc import Callable
from typing import Any, Protocol

import torch


class Captured(Protocol):
    """Work that can be done again, on the same memory."""

    output: Any
    """What the work returned. Doing it again writes over it, as may any other work of the same capturer."""

    nbytes: int
    """How much more memory is held for it."""

    def replay(self) -> None:
        """Do it again."""


class Capturer(Protocol):
    """Takes note of work."""

    def capture(self, work: Callable[[], Any]) -> Captured:
        """What the device is given to do by some work; it need not be done yet."""


class CudaGraph:
    """Work as a CUDA graph."""

    def __init__(self, graph: torch.cuda.CUDAGraph, output: Any, nbytes: int) -> None:
        self._graph = graph
        self.output = output
        self.nbytes = nbytes

    def replay(self) -> None:
        self._graph.replay()


class CudaGraphs:
    """Captures work as CUDA graphs, which share their memory: nothing in it is needed between two replays.

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
        # A capture that fails leaves its own stream behind, and a generator that expects its end.
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
"""For each type of device that can take note of work, what makes it do so."""
