"""The models that come with skipstone, and the plans that come with them."""

import inspect
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

import skipstone
from skipstone import BlockCaching
from skipstone.commands.choice import Choice
from skipstone.metrics.quality import quality
from skipstone.pipelines import bundled


@pytest.mark.parametrize("name", bundled.DEFAULTS)
def test_a_plan_comes_with_each_model(name: str) -> None:
    path = bundled.default_plan(name)
    assert path is not None
    plan = skipstone.load_plan(path)
    assert len(plan.strip) == bundled.DEFAULTS[name]["num_inference_steps"]
    assert 2 * plan.computed <= len(plan.strip)


def test_no_plan_comes_with_other_models() -> None:
    assert bundled.default_plan("../bundled/pebble-video") is None


@pytest.mark.parametrize("name", bundled.DEFAULTS)
def test_a_trained_block_caching_comes_with_each_model(name: str) -> None:
    method = Choice("block-caching").make(name)
    assert isinstance(method, BlockCaching)
    assert method.adjustment is not None
    blocks = dict(skipstone.load(name).transformer.named_modules())
    assert method.changes is not None
    assert Choice("block-caching", ["threshold=0.1"]).make(name) == BlockCaching(0.1)
    for block, changes in method.changes.items():
        assert block in blocks
        assert block in method.adjustment
        assert len(changes) == bundled.DEFAULTS[name]["num_inference_steps"] - 1


def test_the_plan_of_the_image_model_keeps_the_picture() -> None:
    pipe = skipstone.load("pebble-image")
    path = bundled.default_plan("pebble-image")
    assert path is not None

    def run() -> torch.Tensor:
        generator = torch.Generator().manual_seed(5)
        asked = "a snail on a green background"
        output = pipe(asked, height=64, width=64, generator=generator, output_type="np")
        return torch.from_numpy(output.images).float()

    uncached = run()
    with skipstone.attach(pipe, skipstone.load_plan(path)) as cache:
        cached = run()
    assert cache.last_run.skipped > 0
    assert quality(cached, uncached).psnr >= 30


def picture(pipe: Any, **arguments: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    made = pipe(**arguments, num_inference_steps=2, generator=generator, output_type="np")
    return torch.from_numpy(made.images)


def test_a_prompt_alone_makes_what_the_model_was_trained_for() -> None:
    pipe = skipstone.load("pebble-image")
    asked = "a snail on a green background"
    defaults = {n: v for n, v in bundled.DEFAULTS["pebble-image"].items() if n != "num_inference_steps"}
    plain = DiffusionPipeline.from_pretrained(bundled.folder("pebble-image"), local_files_only=True)
    assert torch.equal(picture(pipe, prompt=asked), picture(plain, prompt=asked, **defaults))
    assert picture(pipe, prompt=asked, height=64).shape == (1, 64, 128, 3)
    assert inspect.signature(pipe.__call__).parameters["num_inference_steps"].default == 50
    assert type(pipe).__name__ == "FluxPipeline"


def test_embeddings_of_a_negative_prompt_stand_for_themselves() -> None:
    pipe = skipstone.load("pebble-image")
    with torch.no_grad():
        embeddings, pooled, _ = pipe.encode_prompt("a cat", None)
    given = {"negative_prompt_embeds": embeddings, "negative_pooled_prompt_embeds": pooled}
    asked = "a snail on a green background"
    assert torch.equal(
        picture(pipe, prompt=asked, **given), picture(pipe, prompt=asked, negative_prompt="a cat")
    )


def test_a_cache_on_a_bundled_pipeline_leaves_its_own_sizes() -> None:
    pipe = skipstone.load("pebble-image")
    bare = picture(pipe, prompt="a snail")
    with skipstone.attach(pipe, "teacache", threshold=0.0):
        assert torch.equal(picture(pipe, prompt="a snail"), bare)
    assert torch.equal(picture(pipe, prompt="a snail"), bare)


def test_the_text_steers_the_picture() -> None:
    pipe = skipstone.load("pebble-image")
    for colour, rgb in (("blue", (40, 90, 210)), ("yellow", (250, 222, 60))):
        generator = torch.Generator().manual_seed(0)
        asked = f"a snail on a {colour} background"
        image = pipe(asked, num_inference_steps=4, generator=generator, output_type="np").images[0]
        corner = image[:6, :6].reshape(-1, 3).mean(0) * 255
        assert abs(torch.tensor(corner) - torch.tensor(rgb)).max() < 40
