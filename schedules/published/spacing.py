"""DeepCache's uneven steps: densest around one step, sparser away from it."""

from functools import lru_cache


@lru_cache
def around(center: int, steps: int, computed: int, power: float) -> frozenset[int]:
    """The computed steps of a run.

    Evenly spaced points between the roots of ``-center`` and ``steps - center`` are raised to the power. The
    power is lowered until enough steps are distinct. The first step is always computed.

    Source: DeepCache, arXiv:2312.00858, equation 9, and its official code, which takes the complex root of
    ``-center`` and the real part of the powers.

    Args:
        center: the step around which computed steps are densest.
        steps: how many steps the run has.
        computed: how many steps to compute.
        power: how uneven the spacing is, above 1.

    Raises:
        ValueError: the center is not among the steps, or no power down to 1 leaves that many.
    """
    if not 0 < center < steps:
        raise ValueError(f"center must be one of the run's steps, 1 to {steps - 1}, got {center}")
    while power > 1:
        found = frozenset(_raised(center, steps, computed, power))
        if len(found) == computed:
            return found
        power -= 0.02
    raise ValueError(
        f"no {computed} steps out of {steps} lie around step {center}; take another center or interval"
    )


def _raised(center: int, steps: int, computed: int, power: float) -> list[int]:
    first, last = complex(-center) ** (1 / power), complex(steps - center) ** (1 / power)
    points = (first + (last - first) * n / computed for n in range(computed + 1))
    distinct = sorted({int((point**power).real) for point in points})
    return [0, *(point + center for point in distinct[1:-1])]
