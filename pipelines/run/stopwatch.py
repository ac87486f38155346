"""Measure times without stopping the device."""

import time
from typing import Any

import torch


class Mark:
    """A moment in a CUDA device's stream of work, or in wall time without such a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._event: Any = None
        if device.type == "cuda":
            self._event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(device))
        self._time = time.perf_counter()

    def seconds_until(self, later: "Mark") -> float:
        """The seconds from this moment to a later one. Waits until the device has reached it."""
        if self._event is None or later._event is None:
            return later._time - self._time
        later._event.synchronize()
        return float(self._event.elapsed_time(later._event)) / 1e3
