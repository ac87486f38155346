"""Whether a step goes on from what the one before it left."""

import weakref
from collections.abc import Mapping

from torch import Tensor


class Continuity:
    """Follow one run, in which a callback may change the guidance or the latents between steps.

    A pipeline that changes its latents after each step, as for inpainting, is not told apart from its
    callback. Its steps go on.
    """

    def __init__(self) -> None:
        self._guidance: Mapping[str, float] = {}
        self._left: weakref.ref[Tensor] | None = None
        self._version: int | None = None
        self._hands_on: bool | None = None

    def goes_on(self, guidance: Mapping[str, float], sample: object) -> bool:
        """Whether a step has the guidance of the one before it, and its latents.

        Args:
            guidance: the strengths of guidance on this step.
            sample: the latents that it begins with.
        """
        is_first, alike = self._left is None, guidance == self._guidance
        self._guidance = guidance
        return is_first or (self._is_handed_on(sample) and alike)

    def leave(self, latents: Tensor) -> None:
        """Note what a step has made."""
        self._left, self._version = weakref.ref(latents), _version(latents)

    def _is_handed_on(self, sample: object) -> bool:
        """Whether latents are those that were left, if the pipeline hands these on otherwise."""
        assert self._left is not None
        same = isinstance(sample, Tensor) and sample is self._left() and _version(sample) == self._version
        if self._hands_on is None:
            self._hands_on = same
        return same or not self._hands_on


def _version(latents: Tensor) -> int | None:
    """Changes whenever a tensor is written to; None for tensors that do not count that."""
    return None if latents.is_inference() else latents._version
