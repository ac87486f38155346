"""What happened in a sampler's runs, in words."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import Reason
from skipstone.cachers.contract.wrapper import Wrapper
from skipstone.cachers.planned import Planned
from skipstone.comfyui.made_for import PROGRAM, model_of
from skipstone.comfyui.run import SamplerRun
from skipstone.pipelines.run.stats import RunStats
from skipstone.schedules.plan import Plan

NO_RUN = "No run yet: connect the latents that the sampler gives, so that this node waits for it."

NO_PREDICTION = (
    "Nothing was skipped: the sampler made no noise prediction that a node can see. ComfyUI shows them since "
    "it has its EasyCache node: update it."
)

NO_CALL = "ComfyUI does not show this model's calls to nodes (class {}): every step was computed."

LEGEND = "# computed   . skipped   + in part"

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Told:
    """What is kept of a run: plain values, no tensor.

    Args:
        stats: its statistics.
        plan: the plan that it followed, if it did.
        ended: whether it was not interrupted.
        shape: that of the latents.
        model: the model's class.
        predicted: whether a prediction was seen.
    """

    stats: RunStats
    plan: Plan | None
    ended: bool
    shape: Shape
    model: str
    predicted: bool


def told(run: SamplerRun) -> Told:
    """What is kept of a run."""
    sampling = run.sampling
    return Told(
        run.log.stats(),
        _plan_of(run.method),
        run.ended,
        tuple(sampling.noise.shape),
        type(model_of(sampling.patcher)).__name__,
        run.is_predicted,
    )


def of_shape(runs: Iterable[Told], shape: Shape | None) -> list[Told]:
    """The runs that may have made latents of this shape; all if it is not known."""
    return [run for run in runs if shape is None or run.shape == shape]


def text(runs: Sequence[Told], shape: Shape | None = None) -> str:
    """What happened, a paragraph for each run.

    Args:
        runs: the runs.
        shape: that of the latents that it is told for; None if it is not known.
    """
    paragraphs = ["\n".join(_lines(run)) for run in runs]
    if len(runs) > 1 or not of_shape(runs, shape):
        heads = (_head(n, len(runs), run, shape) for n, run in enumerate(runs, 1))
        paragraphs = [f"{head}\n{one}" for head, one in zip(heads, paragraphs, strict=True)]
    return "\n\n".join(paragraphs) or NO_RUN


def _head(number: int, count: int, run: Told, shape: Shape | None) -> str:
    head = f"Run {number} of {count}"
    return head if of_shape([run], shape) else f"{head}, of other latents ({'x'.join(map(str, run.shape))})"


def _plan_of(method: Cacher[Any]) -> Plan | None:
    while isinstance(method, Wrapper):
        method = method.cacher
    return method.plan if isinstance(method, Planned) else None


def _lines(run: Told) -> Iterator[str]:
    stats = run.stats
    if not stats.evaluations:
        yield NO_CALL.format(run.model) if run.predicted else NO_PREDICTION
        return
    yield stats.strip
    if stats.skipped:
        yield LEGEND
    yield _sentence(_what(run))
    if stats.reasons.keys() != {str(Reason.RECORDING)}:
        yield _sentence("why calls were computed: " + _counted(stats.reasons))
    program = PROGRAM if run.plan is None else run.plan.record.made_for.get("pipeline")
    if program != PROGRAM:
        yield _sentence(f"the plan was made with {program or 'another program'}")
    yield from map(_sentence, stats.notes)


def _what(run: Told) -> str:
    stats = run.stats
    if not run.ended:
        return f"interrupted in step {stats.steps} of {stats.planned_steps}: nothing was kept of this run"
    if stats.steps < stats.planned_steps:
        called = f"the model was called at {stats.steps} of the sampler's {stats.planned_steps} noise levels"
        if str(Reason.RECORDING) in stats.reasons:
            return f"{called}, so nothing was recorded: all was computed in {stats.seconds:.1f} s"
        return f"{called}: {_computed(stats)}"
    if str(Reason.RECORDING) in stats.reasons:
        return f"all {stats.steps} steps were computed in {stats.seconds:.1f} s and recorded"
    return _computed(stats)


def _computed(stats: RunStats) -> str:
    if not stats.skipped:
        return f"all {stats.steps} steps were computed in {stats.seconds:.1f} s: {stats.method}"
    calls = f"{stats.computed} of {stats.evaluations} calls of the model were computed"
    steps = f"{stats.skipped_steps} of {stats.steps} steps skipped"
    gain = "" if stats.speedup is None else f", about {stats.speedup:.1f} times faster than computing all"
    return f"{steps}, {calls}, in {stats.seconds:.1f} s{gain}"


def _counted(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} ({count})" for reason, count in reasons.items())


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."
