"""Shared prefix: leave out the blocks of frames that a step neither changes nor needs."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from skipstone.cachers.contract.by_step import ByStep
from skipstone.cachers.contract.words import Reason, Site, Step


@dataclass(frozen=True)
class SharedPrefix(ByStep):
    """Compute only the frames that a step changes, exactly: finished ones keep their keys and values.

    It skips no step; `WithSharedPrefix` adds it to a method that does.

    Use: for SkyReels-V2's diffusion forcing with ``ar_step`` and ``causal_block_size``, at no loss.
    Source: Ca2-VDM, arXiv:2411.16375, https://github.com/Dawn-LX/CausalCache-VDM.
    Difference: a model that others trained, whose blocks of frames finish one after another; blocks that
        have not begun are left out, too, and positions are rotary, so none has to be cyclic.

    Raises:
        ValueError: when attached to a pipeline whose finished frames see later ones.
    """

    name: ClassVar[str] = "shared-prefix"
    site = Site.OUTPUT
    history = 0
    shares_prefix = True

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: None) -> str | None:
        return Reason.IN_PART
