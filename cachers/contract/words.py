"""The words that methods are written in: where they work, what they see, and why a step is computed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import Any

from torch import Tensor

Correction = Callable[[Tensor, Tensor, int], Tensor]
"""Takes the residual that a layer is estimated to give, what it is added to, and which of the layer's streams
that is, from 0; gives their sum with the residual corrected."""


class Site(Enum):
    """What is replaced by an estimate on a skipped step."""

    STACK = "stack"
    """All blocks of a transformer as one: what they add to the streams that pass through them."""
    DEEP = "deep"
    """The deep branch of a UNet: what comes up from below its outermost layers."""
    LAYER = "layer"
    """The layers within the blocks, or single blocks, each on its own, while the rest of the model runs."""
    OUTPUT = "output"
    """What the model returns: the model does not run at all."""


class LayerKind(str, Enum):
    """What a layer does in its block."""

    SELF_ATTENTION = "self attention"
    """Attention among the tokens of the sample, those of the text included where both attend as one."""
    TEMPORAL_ATTENTION = "temporal attention"
    """Attention along time only, as in Latte."""
    CROSS_ATTENTION = "cross attention"
    """Attention from the sample to the text or whatever else guides it."""
    FEED_FORWARD = "feed forward"
    BLOCK = "block"
    """A block as a whole. Its residual is kept, not its output."""


ATTENTION = frozenset({LayerKind.SELF_ATTENTION, LayerKind.TEMPORAL_ATTENTION, LayerKind.CROSS_ATTENTION})
"""All kinds of attention."""


class Probe(Enum):
    """The cheap signal that a gate looks at before it decides."""

    NONE = "none"
    TIME_EMBEDDING = "time-embedding"
    """The model's embedding of the timestep, ``(1, dim)``: known before the run, so it costs nothing."""
    MODULATED_INPUT = "modulated-input"
    """What the first block's attention would see: its input, normalised and modulated by the timestep."""
    TIME_PROJECTION = "time-projection"
    """What the blocks' modulations are made of, projected from the time embedding: as early and as cheap."""
    FIRST_BLOCK = "first-block"
    """The residual of the head blocks, of which there is one for First Block Cache."""
    HEAD_STATES = "head-states"
    """What enters the first block and what leaves the head blocks: ``(2, batch, tokens, dim)``."""
    MODEL_INPUT = "model-input"
    """The noisy latents that the model is given, channels first: ``(batch, channels, *grid)``."""

    @property
    def sees_the_sample(self) -> bool:
        """Whether it depends on what the model is given, not on the time alone."""
        return self not in (Probe.NONE, Probe.TIME_EMBEDDING, Probe.TIME_PROJECTION)


class Reason(str, Enum):
    """Why an evaluation was computed; a skipped one has none.

    A method may use words of its own in place of these: any string that is not empty.
    """

    FIRST_STEP = "first step"
    LAST_STEP = "last step"
    WARM_UP = "among the first steps"
    TAIL = "among the last steps"
    OUT_OF_RANGE = "outside the range of steps that may be skipped"
    INTERVAL = "its turn in the interval"
    MASK = "the step mask asks for it"
    PLANNED = "the plan asks for it"
    DEVIATES = "the run deviates from the record, so a denser plan is followed"
    NOT_PLANNED = "the plan does not serve such a run"
    RECORDING = "it is being recorded"
    RUN_CAP = "as many skipped in a row as allowed"
    CHANGED = "the change reached the threshold"
    NOT_FINITE = "the probe is not finite"
    NO_PROBE = "the probe could not be read"
    NO_SNAPSHOT = "nothing to reuse yet"
    SHAPE_CHANGED = "the inputs changed their shape"
    BLOCKS_CHANGED = "the model ran other blocks than before"
    NOT_UNDERSTOOD = "the block stack is not understood"
    IN_PART = "only parts of it could be skipped"
    OTHER_RANK = "another process of the group computes"
    CONDITION_CHANGED = "its prompt, adapters or control changed"
    GRADIENTS = "gradients are recorded"
    OTHER_CACHE = "another cache is on the model"
    ASKED_FOR = "the program asked for it"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Step:
    """A position in a run.

    Args:
        index: position among the steps that this run executes, from 0.
        count: how many steps this run executes.
        timestep: the solver's time, in the scheduler's own unit.
        sigma: noise level in the scheduler's own unit, None where it has none.
        signal: how much of the clean sample the model's input holds, None where the scheduler does not tell.
        noise: how much of the noise it holds; the input is ``signal * sample + noise * noise``.
    """

    index: int
    count: int
    timestep: float
    sigma: float | None = None
    signal: float | None = None
    noise: float | None = None

    @property
    def is_first(self) -> bool:
        return self.index == 0

    @property
    def is_last(self) -> bool:
        return self.index == self.count - 1


@dataclass(frozen=True)
class ModelFacts:
    """What a method may know of the model that it is attached to.

    Args:
        class_name: the model's class.
        config: its configuration.
        name: what the pipeline calls it.
        siblings: the names of all models that the pipeline calls on its steps.
        blocks: how many blocks it has, 0 where none were found.
    """

    class_name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    name: str = "transformer"
    siblings: tuple[str, ...] = ("transformer",)
    blocks: int = 0


@dataclass(frozen=True)
class Layer:
    """Where a layer is.

    Args:
        kind: what it does.
        name: its path in the model, such as ``blocks.3.attn1``.
        block: the place of its block among the model's blocks in the order they are defined, from 0.
        blocks: how many blocks the model has.
    """

    kind: LayerKind
    name: str
    block: int
    blocks: int


@dataclass(frozen=True)
class RunFacts:
    """What a method may know of a run when its model is called for the first time.

    Args:
        steps: all steps of the run.
        shape: the latents that the model is given, ``(channels, *grid)`` without the batch; empty where they
            cannot be read.
        dtype: their type.
        scales: how strongly the prompt steers, by the names of the call's parameters, where they are known.
        key: stands for the run, the same for all of its models.
    """

    steps: tuple[Step, ...]
    shape: tuple[int, ...] = ()
    dtype: str = ""
    scales: Mapping[str, float] = field(default_factory=dict)
    key: object = field(default=None, compare=False, repr=False)

    @property
    def guidance(self) -> float | None:
        """The scale of classifier-free guidance, None where it is not known.

        Where the call has ``true_cfg_scale``, its ``guidance_scale`` is an input of distilled models.
        """
        return self.scales.get("true_cfg_scale", self.scales.get("guidance_scale"))

    @property
    def levels(self) -> tuple[float, ...]:
        """The noise level of each step as flow time, ``noise / (signal + noise)``, falling.

        So levels are equal where the ratio of signal to noise is, whatever the scheduler. Shares of the run
        that are left where that is not known.
        """
        count = len(self.steps)
        return self._flow_times if self.has_levels else tuple(1 - n / count for n in range(count))

    @property
    def has_levels(self) -> bool:
        """Whether the scheduler tells the noise level of each step, and it falls."""
        times = self._flow_times
        return len(times) == len(self.steps) and all(before > after for before, after in pairwise(times))

    @property
    def _flow_times(self) -> tuple[float, ...]:
        return tuple(
            step.noise / (step.signal + step.noise)
            for step in self.steps
            if step.signal is not None and step.noise is not None
        )


@dataclass(frozen=True)
class Outcome:
    """What a computed step gave.

    Args:
        residual: what the skippable blocks added to the main stream, ``(batch, tokens, dim)``; None where
            they wrote into their inputs before it could be read. At the layers, what this layer returned or
            this block added; None at the other sites. Only `Cacher.coordinates` of a stack's,
            ``(batch, coordinates)``, where a method asks for no more.
        output: what the model returned, in the layout of `Probe.MODEL_INPUT`; None where it is no tensor.
        attention: what a middle block's self-attention returned for the main stream, ``(batch, frames,
            positions, dim)``, with one frame where frames cannot be told; None where it could not be read,
            and for methods that do not watch it.
        branch: the guidance branch: ``cond`` and ``uncond`` in pipelines that name them, else ``branch 0``,
            ``branch 1`` in the order of the calls; one branch for all in a batch. Empty at the layers.
    """

    residual: Tensor | None = None
    output: Tensor | None = None
    attention: Tensor | None = None
    branch: str = ""


@dataclass(frozen=True)
class Bands:
    """Weights that differ between the low and the high frequencies of the kept residuals.

    Args:
        low: one weight for each kept residual, newest first, for its low frequencies.
        high: likewise for the rest of it.
        low_pass: takes the low frequencies out of a residual; linear, so that it is taken of a sum only once.
    """

    low: Sequence[float]
    high: Sequence[float]
    low_pass: Callable[[Tensor], Tensor]


Weights = Sequence[float] | Bands
"""How kept residuals are summed up: one weight for each, newest first, or one in each band."""


def short(value: object) -> str:
    """A hyper-parameter's value as people write it."""
    return f"{value:g}" if isinstance(value, float) else str(value)
