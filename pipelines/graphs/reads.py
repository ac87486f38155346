"""The tensors that some work on a device reads but has not made itself."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from skipstone.pipelines.model.arguments import tensors_in

WAITING = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
"""Marks of operations for which Python waits for the device and continues with its results."""

COPIES = (torch.ops.aten._to_copy, torch.ops.aten.copy_)


class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watch some work.

    Args:
        device: the device of the work.
        given: inputs that may be other tensors each time.

    ``problem`` says why the work cannot be captured, or is None.
    """

    def __init__(self, device: torch.device, given: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device = device
        self._known = {_address(tensor) for tensor in given}
        self._outside: dict[int, Tensor] = {}
        self.problem: str | None = None

    @property
    def addresses(self) -> frozenset[int]:
        """The addresses of tensors that the work neither gets nor makes, such as the model's weights."""
        return frozenset(self._outside)

    @property
    def held(self) -> list[Tensor]:
        """Those tensors."""
        return list(self._outside.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        taken, made = list(tensors_in((args, kwargs))), list(tensors_in(output))
        if any(tag in func.tags for tag in WAITING):
            self.problem = f"the model waits for the device ({func})"
        if self._crosses(func, [*taken, *made]):
            self.problem = f"the model copies from or to another device ({func})"
        self._outside.update({_address(one): one for one in taken if _address(one) not in self._known})
        self._known.update(map(_address, made))
        return output

    def _crosses(self, func: Any, tensors: Sequence[Tensor]) -> bool:
        """Whether an operation uses two devices; single numbers do not count, as they are passed by value."""
        far = [tensor for tensor in tensors if tensor.device != self._device]
        by_value = func.overloadpacket not in COPIES and all(tensor.ndim == 0 for tensor in far)
        return 0 < len(far) < len(tensors) and not by_value


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
