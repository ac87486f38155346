"""Pyramid Attention Broadcast: the less a kind of attention changes, the longer it is reused."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.ladder import rungs
from skipstone.cachers.contract.per_layer import LayerRule, PerLayer
from skipstone.cachers.contract.words import Layer, LayerKind, ModelFacts, Reason, Step
from skipstone.declared import Positive


@dataclass(frozen=True)
class Broadcast(LayerRule):
    """Compute every ``interval``-th step, and every step outside a window of timesteps."""

    interval: int
    from_timestep: float
    until_timestep: float

    def reason(self, step: Step) -> str | None:
        if not self.until_timestep < step.timestep < self.from_timestep:
            return Reason.OUT_OF_RANGE
        return Reason.INTERVAL if step.index % self.interval == 0 else None


@dataclass(frozen=True)
class PAB(PerLayer):
    """Compute attention every few steps within a window of timesteps; each kind has its own interval.

    Use: on video models with several kinds of attention, where no step can be skipped whole.
    Source: PAB, arXiv:2408.12588, https://github.com/NUS-HPC-AI-Lab/VideoSys.
    Difference: feed-forwards run on every step; the official settings of Open-Sora and Allegro also reuse
    those of the first blocks at some timesteps. Each guidance branch reuses its own attention; diffusers has
    one memory for all calls of a layer and hands the first branch's output to the second.

    Args:
        spatial: steps from one computed self attention to the next, from 1, which computes every step. None
            takes the model's official value, or 2 without one.
        temporal: the same for attention along time; 4 without an official value.
        cross: the same for cross attention; 6 without an official value.
        from_timestep: timesteps below this may be skipped, in the scheduler's unit; 850 without an official
            value.
        until_timestep: timesteps above this may be skipped; 100 without an official value.

    Raises:
        ValueError: an interval below 1, or a window that holds nothing.
    """

    name: ClassVar[str] = "pab"
    ladder = rungs(spatial=range(2, 9))

    spatial: Positive | None = None
    temporal: Positive | None = None
    cross: Positive | None = None
    from_timestep: float | None = None
    until_timestep: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        start, stop = self.from_timestep, self.until_timestep
        if start is not None and stop is not None and stop >= start:
            raise ValueError(f"expected until_timestep < from_timestep, got {stop} and {start}")

    def for_model(self, model: ModelFacts) -> "PAB":
        official = OFFICIAL.get(model.class_name, OTHERS)
        given = {name: value for name, value in vars(self).items() if value is not None}
        return replace(official, **given)

    def for_layer(self, layer: Layer) -> Cacher[Any] | None:
        interval = {
            LayerKind.SELF_ATTENTION: self.spatial,
            LayerKind.TEMPORAL_ATTENTION: self.temporal,
            LayerKind.CROSS_ATTENTION: self.cross,
        }[layer.kind]
        # `for_model` has filled in every value.
        assert interval is not None
        assert self.from_timestep is not None
        assert self.until_timestep is not None
        return Broadcast(interval, self.from_timestep, self.until_timestep)


OTHERS = PAB(2, 4, 6, 850.0, 100.0)

OFFICIAL = {
    "AllegroTransformer3DModel": PAB(2, 4, 6, 850.0, 100.0),
    "CogVideoXTransformer3DModel": PAB(2, 4, 6, 850.0, 100.0),
    "LatteTransformer3DModel": PAB(2, 3, 6, 800.0, 100.0),
}
"""The settings of the official code for the models that diffusers has."""
