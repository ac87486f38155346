"""AdaCache: the change of an attention layer in the middle of the model decides how many steps to skip."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.distance import mean_l1
from skipstone.cachers.contract.ladder import rungs
from skipstone.cachers.contract.words import ModelFacts, Outcome, Probe, Reason, Step
from skipstone.schedules.published.codebooks import PUBLISHED, Codebook, published


@dataclass
class State:
    """What the last computed step showed.

    ``residual`` is the watched attention's, ``(batch, frames, positions, dim)``. ``motion`` is how much it
    differs between frames, ``(batch,)``. The next step to compute is ``rate`` steps later; ``doubt`` is a
    reason to compute at once.
    """

    index: int = 0
    residual: Tensor | None = None
    motion: Tensor | None = None
    rate: int = 1
    doubt: Reason | None = None


@dataclass(frozen=True)
class AdaCache(Cacher[State]):
    """Skip as many steps as a codebook allows for the change of a middle block's attention.

    On each computed step, the attention's output is compared with that of the last computed step, and the
    change is divided by the steps in between. Skipped steps need no decision.

    Use: for videos whose prompts differ much in motion; each prompt gets as many steps as its attention asks
    for.
    Source: AdaCache, arXiv:2411.02397, https://github.com/AdaCache-DiT/AdaCache.
    Difference: one residual of the whole stack is reused; the original keeps one for each layer. The
    attention's output is read before the block's gate scales it. A batch is judged by its worst sample.
    Guidance branches that are evaluated one by one decide one by one.

    Args:
        codebook: the name of a published codebook (`skipstone.schedules.published.codebooks.PUBLISHED`), or a
            codebook. The published ones are for Open-Sora; for other models `skipstone.fit_adacache` measures
            one.
        motion: whether residuals that differ more from frame to frame count as changing faster.
        rule: ``code`` follows the official code: the relative change, divided by the current rate; motion
            raised to a power in the middle of the run; the last two steps computed. ``paper`` follows the
            paper: the mean absolute change, divided by the steps in between, and motion as it is. It needs a
            codebook of such changes.

    Raises:
        ValueError: an unknown codebook or rule; when attached, no codebook; in a run, ``motion`` on a model
            whose frames cannot be told apart.
    """

    name: ClassVar[str] = "adacache"
    probe = Probe.NONE
    watches_attention = True
    # The codebook for 100 steps skips fewer steps at some changes, so it is not a rung.
    ladder = rungs(codebook=("open-sora-30-slow", "open-sora-30-fast"))

    codebook: str | Codebook | None = None
    motion: bool = False
    rule: Literal["code", "paper"] = "code"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.codebook, str):
            published(self.codebook)

    @property
    def levels(self) -> Codebook:
        """The codebook itself."""
        assert self.codebook is not None
        return published(self.codebook) if isinstance(self.codebook, str) else self.codebook

    def for_model(self, model: ModelFacts) -> "AdaCache":
        if self.codebook is None:
            known = ", ".join(codebook.name for codebook in PUBLISHED)
            raise ValueError(
                f"adacache has no published codebook for this {model.class_name}; measure one with "
                f"skipstone.fit_adacache(pipe, prompt), or try codebook=... with one of Open-Sora's: {known}"
            )
        return self

    def new_state(self) -> State:
        return State()

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: State) -> str | None:
        if step.is_first:
            return Reason.FIRST_STEP
        if state.doubt is not None:
            return state.doubt
        if step.index - state.index >= state.rate:
            return Reason.INTERVAL
        return Reason.TAIL if self.rule == "code" and step.index >= step.count - 2 else None

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: State) -> None:
        before, now = state.residual, outcome.attention
        state.doubt = Reason.NO_PROBE if now is None else None
        if now is not None and before is not None:
            change = change_of(now, before) if self.rule == "code" else mean_l1(now, before)
            change = change / (state.rate if self.rule == "code" else step.index - state.index)
            worst = (change * self._factor(now, step, state)).max().item()
            state.rate = self.levels.rate(worst)
            state.doubt = None if math.isfinite(worst) else Reason.NOT_FINITE
        elif now is not None and self.motion and self.rule == "paper":
            state.motion = differences(now)
        state.residual, state.index = now, step.index

    def _factor(self, residual: Tensor, step: Step, state: State) -> Tensor:
        """How much faster motion makes a change count, ``(batch,)``."""
        if not self.motion:
            return torch.ones((), device=residual.device)
        if self.rule == "paper":
            motion, gap = differences(residual), step.index - state.index
            before = motion if state.motion is None else state.motion
            state.motion = motion
            return motion + (motion - before) / gap
        still = torch.ones(len(residual), device=residual.device)
        motion, before = still, still if state.motion is None else state.motion
        if self.levels.regularises(step.index, step.count):
            motion = (motion_of(residual) / self.levels.motion) ** 8
        state.motion = motion
        return motion + (10 * (motion - before) / state.rate).abs()


def change_of(now: Tensor, before: Tensor) -> Tensor:
    """Mean absolute change over the mean absolute value before, ``(batch,)``."""
    return mean_l1(now, before) / mean_l1(before)


def differences(residual: Tensor) -> Tensor:
    """Mean absolute difference of successive frames, ``(batch,)``.

    Raises:
        ValueError: there is only one frame.
    """
    if residual.shape[1] < 2:
        raise ValueError("motion=True, but this model's stream has no frames that differ; use motion=False")
    return mean_l1(residual[:, 1:], residual[:, :-1])


def motion_of(residual: Tensor) -> Tensor:
    """`differences`, divided by the sum of the frames' mean absolute values: between 0 and 1."""
    return differences(residual) / (mean_l1(residual[:, 1:]) + mean_l1(residual[:, :-1]))
