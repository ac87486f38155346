"""Which elements of a tensor share a scale in 8 bits."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

GROUP = 128
"""How many elements share a scale."""

FEWEST = 16
"""From this many tokens on, each channel has its own scales."""


@dataclass(frozen=True)
class Grouping:
    """A dense tensor's memory as parts that consist of columns, which are cut into groups.

    Args:
        parts: how many parts follow one another.
        elements: how many elements a part has.
        columns: how many columns a part has.
        step: the distance of a column's elements in memory. Neighbouring columns are 1 apart, or `GROUP` if
            the elements of a column are adjacent: then each column is one group.
    """

    parts: int
    elements: int
    columns: int
    step: int

    @property
    def by_channel(self) -> bool:
        """Whether a column is a channel."""
        return self.step > 1

    @property
    def length(self) -> int:
        """The most elements of a column."""
        return -(-self.elements // self.columns) if self.by_channel else GROUP

    @property
    def rows(self) -> int:
        """How many groups a column has."""
        return -(-self.length // GROUP)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of the scales."""
        return self.parts, self.rows, self.columns

    def split(self, memory: Tensor) -> Tensor:
        """Elements in memory order as ``(parts, rows, columns, GROUP)``, with zeros in the gaps."""
        missing = self.rows * self.columns * GROUP - self.elements
        filled = pad(memory.view(self.parts, self.elements), (0, missing))
        if not self.by_channel:
            return filled.view(*self.shape, GROUP)
        return filled.view(self.parts, self.rows, GROUP, self.columns).transpose(2, 3)

    def joined(self, groups: Tensor) -> Tensor:
        """The elements of groups in memory order."""
        ordered = groups.transpose(2, 3) if self.by_channel else groups
        return ordered.reshape(self.parts, -1)[:, : self.elements].flatten()


def grouping_of(tensor: Tensor, dtype: torch.dtype) -> Grouping:
    """How a tensor is grouped for an 8-bit type.

    In int8 the tokens of a channel share a scale: a few channels of a transformer are much larger than the
    others, which would round to zero with a common scale. In fp8 the precision does not depend on the scale,
    so adjacent elements share one: with one scale for a nearly constant channel, all its tokens would be
    rounded to the same side.

    Args:
        tensor: dense.
        dtype: ``float8_e4m3fn`` or ``int8``.
    """
    if dtype == torch.int8 and tensor.ndim == 3 and tensor.is_contiguous():
        samples, tokens, dim = tensor.shape
        if tokens >= FEWEST and dim > 1:
            return Grouping(samples, tokens * dim, dim, dim)
    return side_by_side(1, tensor.numel())


def side_by_side(parts: int, elements: int) -> Grouping:
    """Groups of adjacent elements."""
    return Grouping(parts, elements, -(-elements // GROUP), 1)
