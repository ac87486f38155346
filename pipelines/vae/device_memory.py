"""What a device's memory has room for."""

from typing import Protocol

import torch


class DeviceMemory(Protocol):
    """A memory that can be asked."""

    def begin(self) -> None:
        """Begin to measure a peak."""

    def taken(self) -> int:
        """The bytes of the peak since then, above what was in use before."""

    def free(self) -> int:
        """The bytes that are free, or kept by the allocator for later."""


class CudaMemory:
    """That of a CUDA device. To measure resets torch's peak statistics."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0

    def begin(self) -> None:
        torch.cuda.reset_peak_memory_stats(self._device)
        self._before = torch.cuda.memory_allocated(self._device)

    def taken(self) -> int:
        return torch.cuda.max_memory_allocated(self._device) - self._before

    def free(self) -> int:
        kept = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return torch.cuda.mem_get_info(self._device)[0] + kept


def memory_of(device: torch.device) -> DeviceMemory | None:
    """The memory of a device; None where it cannot be asked."""
    return CudaMemory(device) if device.type == "cuda" else None


def give_back() -> None:
    """Give the memory that the allocator keeps for later back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
