"""DeepCache's steps: even ones, and those that lie densest around a center."""

import numpy as np
import pytest

import skipstone
from skipstone import DeepCache
from skipstone.cachers import Step
from support.tiny_pipelines import PIPELINES


def computed(method: DeepCache, steps: int) -> list[int]:
    taken = [Step(n, steps, 0.0) for n in range(steps)]
    return [step.index for step in taken if method.reason_to_compute(None, step, None) is not None]


def by_the_paper(steps: int, count: int, center: int, power: float) -> list[int]:
    """Equation 9 in numpy's complex numbers, as the official code lowers the power."""
    while power > 1:
        ends = np.power(np.array([-center, steps - center], dtype=complex), 1 / power)
        points = np.power(ends[0] + (ends[1] - ends[0]) * np.arange(count + 1) / count, power)
        inner = np.unique(np.trunc(points.real))[1:-1]
        found = sorted({0, *(int(point) + center for point in inner)})
        if len(found) == count:
            return found
        power -= 0.02
    raise AssertionError("no such power")


@pytest.mark.parametrize("steps", [20, 50, 100])
@pytest.mark.parametrize("interval", [2, 3, 5, 10])
@pytest.mark.parametrize(("center", "power"), [(5, 1.2), (10, 1.4), (15, 1.4), (15, 1.6)])
def test_steps_around_a_center_are_those_of_the_paper(
    steps: int, interval: int, center: int, power: float
) -> None:
    found = computed(DeepCache(interval, center=center, power=power), steps)
    assert found == by_the_paper(steps, steps // interval, center, power)


def test_they_lie_densest_around_the_center_and_begin_with_the_first() -> None:
    found = computed(DeepCache(5, center=15), 50)
    gaps = np.diff(found)
    assert (found[0], len(found)) == (0, 10)
    assert gaps[np.searchsorted(found, 15)] == gaps.min() < gaps.max()


def test_without_a_center_they_are_even() -> None:
    assert computed(DeepCache(4), 10) == [0, 4, 8]


def test_a_pipeline_computes_them() -> None:
    pipe = PIPELINES["stable-diffusion"].make()
    with skipstone.attach(pipe.pipe, "deepcache", interval=4, center=8) as cache:
        pipe(num_inference_steps=20)
    assert [n for n, mark in enumerate(cache.last_run.strip) if mark == "#"] == by_the_paper(20, 5, 8, 1.4)


def test_a_center_outside_the_run_is_named() -> None:
    with pytest.raises(ValueError, match="1 to 9, got 15"):
        computed(DeepCache(3, center=15), 10)
    with pytest.raises(ValueError, match="no 5 steps out of 10 lie around step 5"):
        computed(DeepCache(2, center=5), 10)
    assert computed(DeepCache(1, center=5), 10) == list(range(10))
