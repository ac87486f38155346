"""SeaCache: compare the inputs after a Wiener filter, which removes what is still noise."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt, Le
from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.distance import relative_l1
from skipstone.cachers.contract.ladder import THRESHOLDS, rungs
from skipstone.cachers.contract.threshold import reached
from skipstone.cachers.contract.words import Outcome, Probe, Reason, Step
from skipstone.declared import Threshold


@dataclass
class State:
    """The previous step's filtered input and the change added up since the last computed step."""

    previous: Tensor | None = None
    accumulated: float = 0.0


@dataclass(frozen=True)
class SeaCache(Cacher[State]):
    """Skip until the summed changes of the denoised content of the model's input reach a threshold.

    Use: on any model; most of all if high frequencies in the latents mislead other methods.
    Source: SeaCache, arXiv:2602.18993, https://github.com/jiwoogit/SeaCache.
    Difference: the filter is applied to the model's input latents, as in diffusers, not to the first block's
    modulated input. This needs no block and works for all models. A batch is judged by its worst sample. The
    first and the last step are computed. The last residual is reused; ``WithPredictor(SeaCache(),
    Taylor(order=1))`` takes a straight line through two, and `RunCap` limits the skips in a row.

    Args:
        threshold: summed relative change at which a step is computed; 0 computes every step.
        power: how fast the spectrum of clean latents falls, as ``1 / frequency^power``; above 0.

    Raises:
        ValueError: a negative or non-finite threshold, or a power that is not above 0.
    """

    name: ClassVar[str] = "seacache"
    probe = Probe.MODEL_INPUT
    ladder = rungs(threshold=THRESHOLDS)

    threshold: Threshold = 0.25
    power: Annotated[float, Gt(0), Le(10)] = 3.0

    def new_state(self) -> State:
        return State()

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: State) -> str | None:
        readable = probe is not None and step.signal is not None and step.noise is not None
        seen = wiener(probe, step.signal, step.noise, self.power) if readable else None  # type: ignore[arg-type]
        previous, state.previous = state.previous, seen
        if seen is None:
            return Reason.NO_PROBE
        if previous is None:
            return Reason.FIRST_STEP if step.is_first else Reason.NO_SNAPSHOT
        state.accumulated += relative_l1(seen, previous)
        if step.is_last:
            return Reason.LAST_STEP
        return reached(state.accumulated, self.threshold)

    def update(self, probe: Tensor | None, outcome: Outcome, step: Step, state: State) -> None:
        state.accumulated = 0.0


def wiener(latents: Tensor, signal: float, noise: float, power: float) -> Tensor:
    """Filter latents with the Wiener filter for a falling spectrum, its mean gain set to 1.

    Args:
        latents: ``(batch, channels, *grid)``, ``signal * sample + noise * noise``, or without a grid.
        signal: share of the sample, 0 to 1, clipped a little inside these ends.
        noise: share of the noise, 0 to 1, clipped likewise.
        power: the spectrum of samples is ``1 / frequency^power`` along each axis.

    Returns:
        The filtered latents in float32. The gain is the product of those of the grid's axes.
    """
    signal, noise = max(signal, 1e-6), max(noise, 1e-6)
    axes = tuple(range(2, latents.ndim))
    if not axes:
        return latents.float()
    gain = torch.ones((), device=latents.device)
    for axis in axes:
        frequencies = torch.fft.fftfreq(latents.shape[axis], device=latents.device).abs()
        # signal * P / (signal^2 * P + noise^2) with P = 1 / f^power, without the division by zero at f = 0.
        along = signal / (signal**2 + noise**2 * frequencies**power)
        gain = gain * along.reshape(-1, *(1 for _ in axes[axes.index(axis) + 1 :]))
    spectrum = torch.fft.fftn(latents.float(), dim=axes)
    filtered: Tensor = torch.fft.ifftn(spectrum * (gain / gain.mean()), dim=axes).real
    return filtered
