"""Undo the drift of reused residuals on the next computed step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from annotated_types import Gt, Le

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import RunFacts, Site, Solved
from skipstone.cachers.contract.wrapper import Wrapper
from skipstone.cachers.settling import DriftSettling

Undone = Annotated[float, Gt(0), Le(1)]
"""How much of an expected error is undone."""

IDLE = (
    "settling did nothing: it needs a sampler such as Euler, DDIM, DPM++ 2M or UniPC, which takes each step "
    "once and without noise, and guidance that stays as it is"
)

IN_PART = (
    "settling did little: guidance branches were seldom skipped on the same steps, or guidance or latents "
    "changed between steps; seacache and fora skip all branches together"
)


@dataclass(frozen=True)
class WithSettling(Wrapper):
    """Undo, on each computed step, what reusing the residual before it has done to the latents.

    The output is taken to drift evenly while it is reused, so the next computed one shows how far it was off
    on each step between. Only the latents are changed, and what a multistep solver keeps; which steps are
    computed may follow from that.

    Use: with methods that reuse the last residual, on samplers such as Euler, DDIM, DPM++ 2M and UniPC. On
    others it does nothing, and little where guidance branches are skipped on different steps.
    Source: skipstone itself, docs/planned.md; it is a corrector as UniPC's, arXiv:2302.04867.

    Args:
        cacher: the method that decides.
        share: how much of the expected error is undone, above 0 and at most 1; less is safer where only every
            fifth step is computed.

    Raises:
        ValueError: the method does not reuse whole residuals as they are.
    """

    name: ClassVar[str] = "settling"

    share: Undone = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_settling(self.cacher, "settling is added once")
        saves_elsewhere = self.guidance is not None or self.shares_prefix
        if self.site is Site.LAYER or saves_elsewhere or not _reuses(self.cacher):
            raise ValueError(
                f"{self.cacher.describe()}: settling goes with methods that reuse the last residual, such as "
                "fora, teacache or seacache, without predictor, guidance saver or shared prefix; "
                "plans settle by themselves"
            )

    def for_run(self, run: RunFacts) -> Cacher[Any]:
        method = self.cacher.for_run(run)
        if not _reuses(method):
            return method
        # Where noise does not fall, outputs are not known to drift evenly.
        settling = DriftSettling(1, self.share, len(run.steps)) if run.has_levels else None
        return Settled(method, self.share, settling)


@dataclass(frozen=True)
class Settled(WithSettling):
    """`WithSettling` in one run.

    Args:
        settling: undoes errors of gaps; None where it cannot.
    """

    settling: DriftSettling | None = field(default=None, compare=False)

    @property
    def settles(self) -> bool:
        return self.settling is not None

    def settle(self, solved: Solved) -> None:
        if self.settling is not None:
            self.settling.after(solved)

    @property
    def nbytes(self) -> int:
        return super().nbytes + (0 if self.settling is None else self.settling.nbytes)

    def end_run(self, skip_cost: Callable[[], float | None]) -> None:
        # Logs keep the methods of former runs.
        if self.settling is not None:
            self.settling.kept.clear()
        super().end_run(skip_cost)

    def remarks(self) -> Sequence[str]:
        return [*super().remarks(), *filter(None, [self._why_little()])]

    def _why_little(self) -> str | None:
        # That steps are taken again, or by several schedulers, shows only after the first one.
        if self.settling is None or self.settling.last < 1 < self.settling.steps:
            return IDLE
        return IN_PART if self.settling.broken > self.settling.settled else None

    def describe(self) -> str:
        return f"{self.cacher.describe()}; {self.name} share {self.share:g}"


def refuse_settling(method: Cacher[Any], why: str) -> None:
    """Raise a ValueError, with the reason, if a method is in `WithSettling`."""
    while isinstance(method, Wrapper):
        if isinstance(method, WithSettling):
            raise ValueError(f"{method.describe()}: {why}; leave settling out")
        method = method.cacher


def _reuses(method: Cacher[Any]) -> bool:
    """Whether estimates are the last residual as it is."""
    while isinstance(method, Wrapper):
        if type(method).weights is not Wrapper.weights:
            return False
        method = method.cacher
    return type(method).weights is Cacher.weights and method.history == 1
