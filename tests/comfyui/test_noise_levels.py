"""Steps, noise levels and the kind of a model's output, known from its own formulas."""

from typing import Any

import pytest
import torch
from comfyui.stand_in_models import Epsilon, Flow, Sample, Velocity

from skipstone.cachers.contract.words import RunFacts
from skipstone.comfyui.noise_levels import prediction_of, raw_output, step_at, steps_of

SIGMAS = (4.0, 2.0, 1.0, 0.5, 0.0)


@pytest.mark.parametrize(
    ("sampling", "sigmas", "kind"),
    [
        (Flow(), (1.0, 0.7, 0.4, 0.0), "flow"),
        (Epsilon(), SIGMAS, "epsilon"),
        (Velocity(), SIGMAS, "v"),
        (Sample(), SIGMAS, "sample"),
    ],
)
def test_the_kind_of_an_output_is_found(sampling: Any, sigmas: tuple[float, ...], kind: str) -> None:
    assert prediction_of(steps_of(sigmas, sampling), sampling) == kind


def test_levels_are_flow_times() -> None:
    flow = RunFacts(steps_of((1.0, 0.7, 0.4, 0.0), Flow()))
    assert flow.levels == pytest.approx((1.0, 0.7, 0.4))
    added = RunFacts(steps_of(SIGMAS, Epsilon()))
    assert added.levels == pytest.approx((4 / 5, 2 / 3, 1 / 2, 1 / 3))


@pytest.mark.parametrize(
    ("sigma", "index"),
    [
        (4.0, 0),
        (4.0 - 1e-6, 0),
        (4.2, 0),
        (3.0, 0),
        (2.0, 1),
        (2.0 + 1e-6, 1),
        (2.1, 1),
        (0.525, 3),
        (2.2, 0),
        (0.6, 2),
        (0.01, 3),
    ],
)
def test_a_level_belongs_to_the_step_that_begins_at_it_or_above(sigma: float, index: int) -> None:
    assert step_at(steps_of(SIGMAS, Epsilon()), sigma).index == index


@pytest.mark.parametrize("sampling", [Flow(), Epsilon(), Velocity(), Sample()])
def test_the_raw_output_is_what_gave_the_clean_sample(sampling: Any) -> None:
    latents, output = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    clean = sampling.calculate_denoised(torch.tensor([0.6, 0.6]), output, latents)
    assert torch.allclose(raw_output(sampling, 0.6, latents, clean), output, atol=1e-5)


def test_a_level_between_close_steps_belongs_to_the_one_before() -> None:
    """Many steps lie close together, and samplers of higher order call at half of the way."""
    assert step_at(steps_of((1.0, 0.97, 0.94, 0.0), Flow()), 0.985).index == 0
