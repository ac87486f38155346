"""The types that methods are written with: where they work, what they see, why a step is computed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import Any

from torch import Tensor

from skipstone.schedules.importance import Prediction

Correction = Callable[[Tensor, Tensor, int], Tensor]
"""``correction(residual, base, stream) -> base + corrected residual``, for the layer's stream number
``stream``, counted from 0."""


class Site(Enum):
    """The part of a model that an estimate replaces on a skipped step."""

    STACK = "stack"
    """All blocks of a transformer together: what they add to the streams that pass through them."""
    DEEP = "deep"
    """The deep branch of a UNet: everything below its outermost layers."""
    LAYER = "layer"
    """Single layers within the blocks, or single blocks, while the rest of the model runs."""
    OUTPUT = "output"
    """The model's output: the model does not run at all."""


class LayerKind(str, Enum):
    """What a layer does in its block."""

    SELF_ATTENTION = "self attention"
    """Attention among the tokens of the sample, and of the text if both attend jointly."""
    TEMPORAL_ATTENTION = "temporal attention"
    """Attention along time only, as in Latte."""
    CROSS_ATTENTION = "cross attention"
    """Attention from the sample to the text or another context."""
    FEED_FORWARD = "feed forward"
    BLOCK = "block"
    """A whole block. Its residual is kept, not its output."""


ATTENTION = frozenset({LayerKind.SELF_ATTENTION, LayerKind.TEMPORAL_ATTENTION, LayerKind.CROSS_ATTENTION})
"""All kinds of attention."""


class Probe(Enum):
    """The cheap signal that a method looks at before it decides."""

    NONE = "none"
    TIME_EMBEDDING = "time-embedding"
    """The model's time embedding, ``(1, dim)``; it is known before the run, so it costs nothing."""
    MODULATED_INPUT = "modulated-input"
    """The input of the first block's attention: normalised, and modulated by the timestep."""
    TIME_PROJECTION = "time-projection"
    """The projected time embedding that modulates the blocks; it costs nothing either."""
    FIRST_BLOCK = "first-block"
    """The residual of the head blocks; First Block Cache has one head block."""
    HEAD_STATES = "head-states"
    """The first block's input and the head blocks' output, ``(2, batch, tokens, dim)``."""
    MODEL_INPUT = "model-input"
    """The noisy latents of the model's call, channels first: ``(batch, channels, *grid)``."""

    @property
    def sees_the_sample(self) -> bool:
        """Whether it depends on the sample, not only on the time."""
        return self not in (Probe.NONE, Probe.TIME_EMBEDDING, Probe.TIME_PROJECTION)


class Reason(str, Enum):
    """Why an evaluation was computed; a skipped one has no reason.

    A method may use its own words instead: any string that is not empty.
    """

    FIRST_STEP = "first step"
    LAST_STEP = "last step"
    WARM_UP = "among the first steps"
    TAIL = "among the last steps"
    OUT_OF_RANGE = "outside the range of steps that may be skipped"
    INTERVAL = "its turn in the interval"
    MASK = "the step mask asks for it"
    PLANNED = "the plan asks for it"
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
    FRAMES_CHANGED = "frames were begun or finished"
    GRADIENTS = "gradients are recorded"
    OTHER_CACHE = "another cache is on the model"
    ASKED_FOR = "the program asked for it"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Step:
    """A position in a run.

    Args:
        index: the step's position in the run, from 0.
        count: how many steps the run takes.
        timestep: the time, in the scheduler's unit.
        sigma: the noise level in the scheduler's unit; None if it has none.
        signal: the factor of the clean sample in the model's input; None if the scheduler does not tell.
        noise: the factor of the noise; the input is ``signal * sample + noise * noise``.
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
class Solved:
    """A step that a solver has taken, with an output that was either computed or estimated as a whole.

    Args:
        step: the step.
        reason: why the output was computed; None if it was estimated.
        output: what the solver got: what guidance makes of the model's outputs.
        latents: what it made of it.
        unit: the size of these latents where signal plus noise is 1.
        prediction: what the output is.
        end: the flow time at which the run ends, above 0 if it stops early.
    """

    step: Step
    reason: str | None
    output: Tensor
    latents: Tensor
    unit: float
    prediction: Prediction
    end: float = 0.0


@dataclass(frozen=True)
class ModelFacts:
    """What a method may know of its model.

    Args:
        class_name: the model's class.
        config: its configuration.
        name: its name in the pipeline.
        siblings: the names of all models that the pipeline calls on its steps.
        blocks: how many blocks it has; 0 if none were found.
    """

    class_name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    name: str = "transformer"
    siblings: tuple[str, ...] = ("transformer",)
    blocks: int = 0


@dataclass(frozen=True)
class Layer:
    """The place of a layer in its model.

    Args:
        kind: what it does.
        name: its path in the model, such as ``blocks.3.attn1``.
        block: the number of its block among the model's blocks in the order of definition, from 0.
        blocks: how many blocks the model has.
    """

    kind: LayerKind
    name: str
    block: int
    blocks: int


@dataclass(frozen=True)
class RunFacts:
    """What a method may know of a run at the first call of its model.

    Args:
        steps: all steps of the run.
        shape: the shape of the latents without the batch, ``(channels, *grid)``; empty if they cannot be
            read.
        dtype: the latents' type.
        scales: the known guidance scales, by the names of the call's parameters.
        key: identifies the run, the same for all of its models.
    """

    steps: tuple[Step, ...]
    shape: tuple[int, ...] = ()
    dtype: str = ""
    scales: Mapping[str, float] = field(default_factory=dict)
    key: object = field(default=None, compare=False, repr=False)

    @property
    def guidance(self) -> float | None:
        """The scale of classifier-free guidance; None if unknown.

        If the call has ``true_cfg_scale``, its ``guidance_scale`` is an input of distilled models.
        """
        return self.scales.get("true_cfg_scale", self.scales.get("guidance_scale"))

    @property
    def levels(self) -> tuple[float, ...]:
        """The noise level of each step as flow time, ``noise / (signal + noise)``, falling.

        Equal levels mean equal ratios of signal to noise, whatever the scheduler. Without known levels, the
        remaining share of the run is used.
        """
        count = len(self.steps)
        return self._flow_times if self.has_levels else tuple(1 - n / count for n in range(count))

    @property
    def has_levels(self) -> bool:
        """Whether the scheduler tells the noise level of each step, and these levels fall."""
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
    """The values of a computed step.

    Args:
        residual: what the skippable blocks added to the main stream, ``(batch, tokens, dim)``; None if they
            wrote into their inputs before it could be read. At `Site.LAYER`, this layer's output or this
            block's residual. None at the other sites. If a method asks for `Cacher.coordinates`, only that
            many elements of a stack's residual, ``(batch, coordinates)``.
        output: the model's output, in the layout of `Probe.MODEL_INPUT`; None if it is not a tensor.
        attention: the output of a middle block's self attention for the main stream, ``(batch, frames,
            positions, dim)``, with one frame if frames cannot be told apart. None if it could not be read,
            and for methods that do not watch it.
        branch: the guidance branch: ``cond`` and ``uncond`` in pipelines that name them, otherwise ``branch
            0`` and ``branch 1`` in the order of the calls; a single branch if all are in one batch. Empty at
            `Site.LAYER`.
    """

    residual: Tensor | None = None
    output: Tensor | None = None
    attention: Tensor | None = None
    branch: str = ""


@dataclass(frozen=True)
class Bands:
    """Different weights for the low and the high frequencies of the kept residuals.

    Args:
        low: one weight for the low frequencies of each kept residual, newest first.
        high: one weight for the rest of each.
        low_pass: returns the low frequencies of a residual; it is linear, so it is applied only once, to a
            sum.
    """

    low: Sequence[float]
    high: Sequence[float]
    low_pass: Callable[[Tensor], Tensor]


Weights = Sequence[float] | Bands
"""One weight for each kept residual, newest first, or one for each band."""


def short(value: object) -> str:
    """A hyper-parameter's value in short form."""
    return f"{value:g}" if isinstance(value, float) else str(value)
