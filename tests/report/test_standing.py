"""Methods against fewer plain steps."""

import math

import pytest

from skipstone.report.rows import PLAIN
from skipstone.report.standing import Standing, standings
from skipstone.report.summary import summarise
from support.measured import row

PLAINS = [row(PLAIN, steps=5, psnr=30.0, speedup=2.0), row(PLAIN, steps=3, psnr=20.0, speedup=4.0)]


def standing(*settings: tuple[float, float], metric: str = "psnr") -> Standing:
    """Of a method with settings of these speeds and qualities."""
    made = [row(speedup=s, psnr=q, setting=f"interval={n}") for n, (s, q) in enumerate(settings, 2)]
    (found,) = standings(summarise([*PLAINS, *made]), metric)
    return found


def test_quality_is_compared_at_the_same_speed() -> None:
    """Halfway from 2x to 4x by ratio, fewer steps have 25 dB; beyond them the nearest that was measured."""
    found = standing((1.5, 29.0), (math.sqrt(8), 28.0), (5.0, 21.0))
    assert found.margins == pytest.approx([-1, 3, 1])
    assert [line.speedup for line in found.better] == pytest.approx([math.sqrt(8), 5.0])
    assert found.words() == (
        "Better than fewer plain steps at 2 of 3 settings (2.8x, 5.0x), by up to 3.0 dB; worse at the others."
    )


def test_what_is_worse_everywhere_is_said() -> None:
    assert standing((2.0, 29.0), (4.0, 19.0)).words() == (
        "Worse than fewer plain steps at every setting that was measured."
    )


def test_what_is_better_everywhere_is_said() -> None:
    assert standing((2.0, 31.0), (4.0, 24.5)).words() == (
        "Better than fewer plain steps at every setting, by 1.0 to 4.5 dB."
    )


def test_a_setting_that_is_not_faster_is_not_better_however_good() -> None:
    assert not standing((0.9, 100.0)).better
    assert standing((0.9, 100.0)).fastest(30) is None


def test_the_fastest_setting_of_a_quality() -> None:
    found = standing((1.5, 36.0), (2.5, 31.0), (3.5, 26.0))
    best = found.fastest(30)
    assert best is not None
    assert best.speedup == 2.5
    assert found.fastest(40) is None


def test_the_worst_prompt_is_stricter_than_the_mean() -> None:
    made = [row(prompt=p, psnr=q) for p, q in (("a", 25.0), ("b", 45.0))]
    (found,) = standings(summarise([*PLAINS, *made]))
    assert found.fastest(30) is not None
    assert found.fastest(30, worst=True) is None


def test_of_lower_is_better_metrics_the_sign_is_turned() -> None:
    made = [
        row(kind, steps=steps, speedup=2.0, lpips=value, lpips_worst=value)
        for kind, steps, value in ((PLAIN, 5, 0.3), ("cached", 10, 0.1))
    ]
    (found,) = standings(summarise(made), "lpips")
    assert found.margins == pytest.approx([0.2])
