"""The quality to expect of a plan: from the record alone, or as it was measured."""

import json
import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from skipstone.schedules.expectation import SAFE, estimated_psnr, latent_error, seen_at
from skipstone.schedules.importance import LEAST_SIGNAL
from skipstone.schedules.moments import Moments, moments_of
from skipstone.schedules.plan import Plan, Validation, make_plan
from skipstone.schedules.profile import Profile, Quantity
from skipstone.schedules.recipe import Recipe
from skipstone.schedules.search import REUSED_BELOW, Target, find, usual_plans
from support.smooth import smooth

ROWS = Path(__file__).parents[2] / "benchmarks" / "rows" / "expectation.jsonl"
RESIDUAL, OUTPUT = (Quantity("transformer", "branch 0", name) for name in ("residual", "output"))


def record(values: Any, steps: int = 20) -> Profile:
    moments = moments_of(range(steps), values)
    levels = tuple(np.linspace(1, 0.05, steps))
    return Profile({}, levels, {RESIDUAL: moments, OUTPUT: moments})


def planned(computed: int, scale: float = 1.0) -> Plan:
    return make_plan(record(scale * smooth(20)), Recipe(), computed)


def test_the_error_of_one_skipped_step_by_hand() -> None:
    """Outputs of size 3 that turn by a right angle: reuse is off by 3 root 2 on the second of two steps."""
    turned = Moments((0, 1), np.eye(2), 3.0)
    profile = Profile({}, (1.0, 0.5), {RESIDUAL: turned, OUTPUT: turned})
    # With a ridge of 1e-4 around reuse, the best weight of the first output is almost 0: the error is 3.
    expected = 3.0**2 * 0.5**2 / (0.5 + LEAST_SIGNAL)
    assert latent_error(profile, "#.") == pytest.approx(expected, rel=1e-3)
    assert latent_error(profile, "##") == 0.0
    assert estimated_psnr(profile, "##") == math.inf


def test_what_counts_is_the_size_of_the_output_and_not_of_the_residual() -> None:
    large, small = (record(scale * smooth(20)) for scale in (10.0, 1.0))
    strip = "#.#." * 5
    assert latent_error(large, strip) == pytest.approx(100 * float(latent_error(small, strip) or 0))


def test_fewer_computed_steps_promise_less() -> None:
    values = [planned(computed).expected_psnr or 0.0 for computed in (15, 10, 7, 4, 2)]
    assert values == sorted(values, reverse=True)
    assert values[0] > SAFE


def test_without_recorded_outputs_nothing_is_promised() -> None:
    full = planned(5)
    mute = replace(full, record=replace(full.record, moments={RESIDUAL: full.record.moments[RESIDUAL]}))
    assert mute.expected_psnr is None
    assert mute.outlook == ""


def test_the_safe_speed_is_the_fastest_that_keeps_the_picture() -> None:
    poor = planned(2, scale=20.0)
    safe = poor.safe
    assert safe is not None
    assert (safe.expected_psnr or 0) >= SAFE > (planned(safe.computed - 1, scale=20.0).expected_psnr or 0)
    assert f"; {safe.speedup:.1f}x ({safe.computed} steps) keeps about 35 dB" in poor.outlook
    assert poor.outlook.startswith("expect another picture, PSNR about ")
    assert "keeps" not in safe.outlook
    assert "no speed keeps 35 dB" in planned(2, scale=1e4).outlook


def test_what_is_expected_to_be_far_off_is_reused_as_it_is() -> None:
    """And is expected to be as good as the plan that would have weighed as many steps."""
    near, far = (record(scale * smooth(20)) for scale in (1.0, 1e3))
    (weighed,), (reused,) = (usual_plans(one, Recipe(), [5]) for one in (near, far))
    assert (weighed.recipe, reused.recipe) == (Recipe(), Recipe().reusing.unsettled)
    assert weighed.expected_psnr >= REUSED_BELOW > make_plan(far, Recipe(), 5).expected_psnr
    assert reused.expected_psnr == make_plan(far, Recipe(), 5).expected_psnr
    assert find(far, Target(computed=5)).strip == reused.strip
    weights = [reused.weights_for("transformer", step, [0]) for step in range(1, 20)]
    assert weights == [[1.0]] * 19
    safe = reused.safe
    assert safe is None or safe.recipe == Recipe()


def test_what_was_measured_stands_above_the_estimate() -> None:
    plan = planned(5)
    measured = replace(plan, validations=(Validation(plan.recipe, 5, (31.0, 33.0)),))
    assert measured.expected_psnr == 32.0
    assert measured.outlook.startswith("expect small differences, PSNR about 32 dB (measured)")
    # The estimate of denser plans is moved by as much as this plan was off.
    assert measured.safe is not None
    assert measured.safe.computed > 5


def test_words_for_what_is_seen() -> None:
    assert [seen_at(psnr) for psnr in (35.0, 34.9, 30.0, 25.0, 24.9)] == [
        "hard to tell apart", "small differences", "small differences", "the same scene, other details",
        "another picture",
    ]  # fmt: skip


def test_the_line_is_the_one_that_was_measured() -> None:
    """The constants follow from the rows, and no plan that is expected to keep 35 dB is below 30."""
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()]
    near = [(row["error"], fmean(row["psnr"])) for row in rows if fmean(row["psnr"]) < 60]
    slope, at_one = np.polyfit(*zip(*near, strict=True), 1)
    for error, psnr in near:
        line = at_one + slope * error
        square = Moments((0, 1), np.eye(2), (10 ** (error / 10) * (0.5 + LEAST_SIGNAL) / 0.25) ** 0.5)
        profile = Profile({}, (1.0, 0.5), {RESIDUAL: square, OUTPUT: square})
        assert estimated_psnr(profile, "#.") == pytest.approx(line, abs=0.5)
        assert psnr >= 30 or line < SAFE
