"""Which elements of a tensor share a scale in 8 bits."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

GROUP = 128
"""How many elements share a scale."""

FEWEST = 16
"""Of how many tokens a channel is worth scales of its own."""


@dataclass(frozen=True)
class Grouping:
    """A dense tensor's memory as parts of columns, each of which is cut into groups.

    Args:
        parts: how many parts there are, one after the other.
        elements: of each part.
        columns: how many columns lie in a part.
        step: how far the elements of a column are apart. The columns are 1 apart then, or `GROUP` where the
            elements of a column lie side by side: such a column is one group.
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
        """How many elements a column has at most."""
        return -(-self.elements // self.columns) if self.by_channel else GROUP

    @property
    def rows(self) -> int:
        """How many groups a column is cut into."""
        return -(-self.length // GROUP)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the scales."""
        return self.parts, self.rows, self.columns

    def split(self, memory: Tensor) -> Tensor:
        """Elements in the order of memory as ``(parts, rows, columns, GROUP)``, with zeros in the gaps."""
        missing = self.rows * self.columns * GROUP - self.elements
        filled = pad(memory.view(self.parts, self.elements), (0, missing))
        if not self.by_channel:
            return filled.view(*self.shape, GROUP)
        return filled.view(self.parts, self.rows, GROUP, self.columns).transpose(2, 3)

    def joined(self, groups: Tensor) -> Tensor:
        """The elements of groups in the order of memory."""
        ordered = groups.transpose(2, 3) if self.by_channel else groups
        return ordered.reshape(self.parts, -1)[:, : self.elements].flatten()


def grouping_of(tensor: Tensor, dtype: torch.dtype) -> Grouping:
    """How a tensor is grouped in a type of 8 bits.

    In int8 the tokens of a channel share a scale: few channels of a transformer are much larger than all
    others, and next to one of them nothing would be left of these. In fp8, whose precision does not depend on
    the scale, elements that lie side by side do: where a channel is nearly constant, one scale for its tokens
    would round them all to the same side.

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
    """Groups of elements that lie side by side."""
    return Grouping(parts, elements, -(-elements // GROUP), 1)
