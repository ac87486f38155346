"""AdaCache: how much an attention in the middle of the model has changed says when it is computed again."""

import math
from dataclasses import dataclass, field
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

    ``residual`` is that of the watched attention, ``(batch, frames, positions, dim)``; ``motion`` how much it
    differs between frames, ``(batch,)``; ``rate`` how many steps later it is computed again, and ``doubt``
    why it is computed at once.
    """

    index: int = 0
    residual: Tensor | None = None
    motion: Tensor | None = None
    rate: int = 1
    doubt: Reason | None = None


@dataclass(frozen=True)
class AdaCache(Cacher[State]):
    """Skip as many steps as a codebook allows for the change of a middle block's attention.

    The change is taken on computed steps: that of what the attention returns since the computed step before,
    for one step. A skipped step costs nothing to decide.

    Use: where prompts differ much in motion, as in videos: each gets as many steps as its attention asks for.
    Source: AdaCache, arXiv:2411.02397, https://github.com/AdaCache-DiT/AdaCache.
    Difference: the residual of the whole stack is reused, which is the sum of those of its layers that the
    original keeps. The attention is looked at before the block gates it. A batch is judged by its worst
    sample, and branches that are evaluated apart decide apart.

    Args:
        codebook: a published one by name (`skipstone.schedules.published.codebooks.PUBLISHED`) or one's own.
            They were made for Open-Sora: for other models `skipstone.fit_adacache` measures one.
        motion: whether residuals that differ more from frame to frame count as changing faster.
        rule: ``code`` takes the change relative to the residual, over the rate in force, raises motion to a
            power in the middle of the run, and computes the last two steps. ``paper`` takes the mean absolute
            change, over the steps in between, and motion as it is; it needs a codebook of such changes.

    Raises:
        ValueError: an unknown codebook or rule; when attached, no codebook; in a run, ``motion`` on a model
            whose frames cannot be told.
    """

    name: ClassVar[str] = "adacache"
    probe = Probe.NONE
    watches_attention = True
    # The one for 100 steps skips fewer at some changes, so it is not a rung.
    ladder = rungs(codebook=("open-sora-30-slow", "open-sora-30-fast"))

    codebook: str | Codebook | None = None
    motion: bool = False
    rule: Literal["code", "paper"] = "code"

    def __post_init__(self) -> None:
        if isinstance(self.codebook, str):
            published(self.codebook)
        if self.rule not in ("code", "paper"):
            raise ValueError(f"rule must be 'code' or 'paper', got {self.rule!r}")

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
    """The same over what there is to differ, between 0 and 1."""
    return differences(residual) / (mean_l1(residual[:, 1:]) + mean_l1(residual[:, :-1]))


@dataclass
class Previous:
    """The attention's residual on the step before."""

    residual: Tensor | None = None


@dataclass(frozen=True)
class ChangeRecorder(Cacher[Previous]):
    """Compute every step, and note how a middle block's attention changes: what a codebook is made of.

    ``changes`` and ``motions`` collect a value for each step from the second, of each branch.
    """

    name: ClassVar[str] = "change-recorder"
    probe = Probe.NONE
    watches_attention = True

    changes: list[float] = field(default_factory=list)
    motions: list[float] = field(default_factory=list)

    def new_state(self) -> Previous:
        return Previous()

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: Previous) -> str | None:
        return Reason.RECORDING

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: Previous) -> None:
        before, now = state.residual, outcome.attention
        if before is not None and now is not None:
            self.changes.append(change_of(now, before).max().item())
            if now.shape[1] > 1:
                self.motions.append(motion_of(now).max().item())
        state.residual = now

    def describe(self) -> str:
        return self.name
