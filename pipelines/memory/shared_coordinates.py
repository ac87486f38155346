"""A few random elements of a tensor that several processes hold parts of."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from skipstone.cachers.contract.coordinates import Coordinates
from skipstone.pipelines.run.ranks import of_all


class SharedCoordinates(Coordinates):
    """Read the elements that one process with the whole tensor would read.

    Each process gives those that it holds, so all of them must read alike.

    Args:
        count: how many elements, drawn with repetition.
        group: the processes, which hold the tokens in their order.
    """

    def __init__(self, count: int, group: Any) -> None:
        super().__init__(count)
        self._group = group
        self._shares: dict[int, tuple[int, int]] = {}

    def of(self, tensor: Tensor) -> Tensor:
        """The elements of the whole, as a new ``(batch, count)`` tensor in float32.

        Args:
            tensor: this process's tokens, ``(batch, tokens, ...)``.
        """
        held = tensor.shape[1]
        first, tokens = self._share(held)
        places, *others = self.indices((tokens, *tensor.shape[2:]), tensor.device)
        own = places - first
        mine: tuple[Any, ...] = (slice(None), own.clamp(0, held - 1), *others)
        # Not by a product: what is not a number stays so times zero.
        values = torch.where((own >= 0) & (own < held), tensor[mine].float(), 0.0)
        dist.all_reduce(values, group=self._group)
        return values

    def _share(self, held: int) -> tuple[int, int]:
        """This process's first token in the whole, and how many tokens that has."""
        if held not in self._shares:
            counts = of_all(self._group, held)
            self._shares[held] = sum(counts[: dist.get_rank(self._group)]), sum(counts)
        return self._shares[held]
