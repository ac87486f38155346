"""Numbers on their way from the device, read when they have arrived."""

from typing import Any

import torch
from torch import Tensor


class AsyncCopy:
    """A small tensor, copied to main memory without waiting for the device.

    Args:
        tensor: ``(n,)``, on any device.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._copy = tensor.to("cpu", non_blocking=True)
        self._copied: Any = None
        if tensor.is_cuda:
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record(torch.cuda.current_stream(tensor.device))

    @property
    def has_arrived(self) -> bool:
        """Whether `read` would not wait."""
        return self._copied is None or bool(self._copied.query())

    def read(self) -> list[float]:
        """The numbers. Waits until the device has computed them, not for its later work."""
        if self._copied is not None:
            self._copied.synchronize()
        values: list[float] = self._copy.tolist()
        return values
