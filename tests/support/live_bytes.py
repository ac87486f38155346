"""The memory of tensors that are alive while a program runs, counted on any device."""

import weakref
from collections import Counter
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Count the storages of the tensors that operations inside make, for as long as one tensor holds each.

    ``peak`` is the most that were alive at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._live = 0
        self._holders: Counter[int] = Counter()
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        output = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor) and id(tensor) not in self._seen:
                self._hold(tensor)
        return output

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        place, size = storage.data_ptr(), storage.nbytes()
        self._seen.add(id(tensor))
        self._live += 0 if self._holders[place] else size
        self._holders[place] += 1
        self.peak = max(self.peak, self._live)
        weakref.finalize(tensor, self._drop, id(tensor), place, size)

    def _drop(self, name: int, place: int, size: int) -> None:
        self._seen.discard(name)
        self._holders[place] -= 1
        self._live -= 0 if self._holders[place] else size
