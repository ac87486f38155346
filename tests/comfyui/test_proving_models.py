"""Trained models through the stand-in against their diffusers pipelines: same steps, same picture."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from comfyui.bench import said
from comfyui.stand_in_proving import Proving, Situation, psnr
from torch import Tensor

import skipstone
from skipstone.comfyui import NODE_CLASS_MAPPINGS
from skipstone.schedules.search import Target, find

STEPS = 12
COMPUTED = 7
RECORDED, PROMPT = "a rocket on a black background", "a banana on a red background"


@pytest.fixture(scope="module", params=[("sd3", "own"), ("unet-epsilon", "Euler")], ids=["flow", "epsilon"])
def proving(request: pytest.FixtureRequest) -> Iterator[Proving]:
    model, solver = request.param
    with torch.no_grad():
        yield Proving(Situation(model, solver, STEPS))


@pytest.fixture(scope="module")
def wanted(proving: Proving) -> Tensor:
    return proving.by_pipeline(PROMPT)


def test_the_uncached_picture_is_the_pipelines(proving: Proving, wanted: Tensor) -> None:
    made = proving.by_sampler(proving.patcher, PROMPT)
    assert (made - wanted).norm() < 1e-5 * wanted.norm()


def test_a_plan_gives_about_the_quality_that_it_gives_in_the_pipeline(
    proving: Proving, wanted: Tensor, tmp_path: Path
) -> None:
    record = skipstone.record(proving.pipe, **proving.call(RECORDED, seed=1))
    plan = find(record, Target(computed=COMPUTED))
    plan.save(tmp_path / "plan.json")
    with skipstone.attach(proving.pipe, plan):
        by_pipeline = psnr(proving.picture(proving.by_pipeline(PROMPT)), proving.picture(wanted))
    (patcher,) = NODE_CLASS_MAPPINGS["SkipstoneUsePlanFile"]().attach(
        proving.patcher, str(tmp_path / "plan.json")
    )
    made = proving.by_sampler(patcher, PROMPT)
    text = said(patcher)
    assert text.splitlines()[0] == plan.strip
    assert f"The plan was made with {type(proving.pipe).__name__}." in text
    # A UNet's whole output is estimated in both; of a transformer the pipeline estimates the blocks.
    least = 0.1 if proving.situation.model == "unet-epsilon" else 6.0
    assert psnr(proving.picture(made), proving.picture(wanted)) > by_pipeline - least
    assert by_pipeline > 30


def test_a_record_made_by_the_nodes_gives_about_that_too(proving: Proving, wanted: Tensor) -> None:
    (patcher,) = NODE_CLASS_MAPPINGS["SkipstonePlanForSpeed"]().attach(proving.patcher, STEPS / COMPUTED)
    proving.by_sampler(patcher, RECORDED, seed=1)
    made = proving.by_sampler(patcher, PROMPT)
    assert f"{STEPS - COMPUTED} of {STEPS} steps skipped" in said(patcher)
    assert psnr(proving.picture(made), proving.picture(wanted)) > 30
