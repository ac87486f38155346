"""How similar a quantity of a model is on any two steps, and how well a few steps predict another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

Weigh = Callable[[Floats, npt.NDArray[np.intp], npt.NDArray[np.intp] | int], Floats]
"""Weighs anchors, as `least_squares` and `plain_reuse` do."""

RIDGE = 1e-4
"""Penalty on weights away from plain reuse, for a quantity with a mean square of 1 over the run."""


@dataclass(frozen=True, eq=False)
class Moments:
    """The second moments of one quantity over the steps of a run.

    Args:
        steps: the steps at which it is known, rising, ``(n,)``.
        gram: the mean product of the quantity on any two of these steps, ``(n, n)``; each sample is scaled to
            a mean square of 1 over the run.
        scale: the root mean square before scaling, the mean over samples.
    """

    steps: tuple[int, ...]
    gram: Floats
    scale: float = 1.0
    # Every run of a plan needs the same weights again.
    _solved: dict[tuple[int, ...], list[float]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def norms(self) -> list[float]:
        """The quantity's root mean square on each step."""
        return [self.scale * float(square) ** 0.5 for square in self.gram.diagonal()]

    def weights(self, step: int, anchors: Sequence[int]) -> list[float]:
        """The best weights of the values on some steps, to estimate the value on another step.

        Args:
            step: the step to estimate.
            anchors: the steps of the known values, newest first.

        Returns:
            One weight for each anchor, by least squares with a ridge around plain reuse of the newest.
        """
        key = (step, *anchors)
        if key not in self._solved:
            at, known = self._index(step), self._indices(anchors)
            self._solved[key] = [float(weight) for weight in least_squares(self.gram, known, at)]
        return self._solved[key]

    def error(self, step: int, anchors: Sequence[int], weights: Sequence[float]) -> float:
        """The root mean square of an estimate's error, relative to the value's own.

        Args:
            step: the estimated step.
            anchors: the steps of the known values.
            weights: one weight for each anchor.
        """
        at, known = self._index(step), self._indices(anchors)
        squared = squared_error(self.gram, known, at, np.array(weights))
        return float(np.sqrt(max(0.0, float(squared)) / self.gram[at, at]))

    def resampled(self, before: Sequence[float], after: Sequence[float]) -> "Moments":
        """The moments at other times, interpolating the quantity linearly between the recorded times.

        Args:
            before: the time of each step of the recorded run, falling.
            after: the time of each step of the other run; steps outside the recorded times are left out.
        """
        times = np.array([before[step] for step in self.steps])
        inside = [n for n, time in enumerate(after) if times[-1] - 1e-9 <= time <= times[0] + 1e-9]
        mix = np.array([_between(times, after[n]) for n in inside])
        return Moments(tuple(inside), mix @ self.gram @ mix.T, self.scale)

    def _index(self, step: int) -> int:
        return self.steps.index(step)

    def _indices(self, steps: Sequence[int]) -> npt.NDArray[np.intp]:
        return np.array([self._index(step) for step in steps])


def moments_of(steps: Sequence[int], samples: Floats) -> Moments:
    """The moments of a quantity, the mean over its samples.

    Args:
        steps: the steps on which it was recorded.
        samples: some coordinates of it, ``(steps, batch, coordinates)``.

    Raises:
        ValueError: a value is not finite, a sample is zero throughout, or all samples are zero on a step.
    """
    scale = np.sqrt((samples**2).mean(axis=(0, 2), keepdims=True))
    if not np.isfinite(scale).all() or not scale.all() or not samples.any(axis=(1, 2)).all():
        raise ValueError("the recorded values are not finite, or zero throughout: nothing can be planned")
    scaled = samples / scale
    gram = np.einsum("sbc,tbc->st", scaled, scaled) / (samples.shape[1] * samples.shape[2])
    return Moments(tuple(steps), gram, float(scale.mean()))


def mean_moments(parts: Sequence[Moments], counts: Sequence[float]) -> Moments:
    """The mean of several moments over the same steps, weighted by the counts."""
    gram = np.average([part.gram for part in parts], axis=0, weights=counts)
    scale = float(np.average([part.scale for part in parts], weights=counts))
    return Moments(parts[0].steps, gram, scale)


def least_squares(gram: Floats, anchors: npt.NDArray[np.intp], at: npt.NDArray[np.intp] | int) -> Floats:
    """The weights of the anchors, newest first, for each target.

    Args:
        gram: ``(n, n)``.
        anchors: ``(..., anchors)``.
        at: ``(...)``.
    """
    among = gram[anchors[..., :, None], anchors[..., None, :]] + RIDGE * np.eye(anchors.shape[-1])
    newest = anchors[..., :1]
    wanted = gram[anchors, np.asarray(at)[..., None]] - gram[anchors, newest]
    weights: Floats = np.linalg.solve(among, wanted[..., None])[..., 0]
    weights[..., 0] += 1
    return weights


def plain_reuse(gram: Floats, anchors: npt.NDArray[np.intp], at: npt.NDArray[np.intp] | int) -> Floats:
    """A weight of 1 for the newest anchor alone; for shapes see `least_squares`."""
    weights = np.zeros(anchors.shape)
    weights[..., 0] = 1
    return weights


def squared_error(
    gram: Floats, anchors: npt.NDArray[np.intp], at: npt.NDArray[np.intp] | int, weights: Floats
) -> Floats:
    """The mean squared error of the estimate with these weights; for shapes see `least_squares`."""
    at = np.asarray(at)
    crossed = (weights * gram[anchors, at[..., None]]).sum(-1)
    among = gram[anchors[..., :, None], anchors[..., None, :]]
    own = np.einsum("...i,...ij,...j->...", weights, among, weights)
    error: Floats = gram[at, at] - 2 * crossed + own
    return error


def _between(times: Floats, time: float) -> Floats:
    """How much each recorded step counts at a time."""
    rising, count = times[::-1], len(times)
    return np.array([np.interp(time, rising, row) for row in np.eye(count)[:, ::-1]])
