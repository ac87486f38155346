"""The models that come with skipstone, and the plans that come with them."""

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

import skipstone
from skipstone import BlockCaching
from skipstone.commands.choice import Choice
from skipstone.commands.doctor import examine
from skipstone.disk.int8_rows import save_rows
from skipstone.metrics.quality import quality
from skipstone.pipelines import bundled
from skipstone.pipelines.bundled import rows
from skipstone.pipelines.causal.settings import CausalSettings, settings_of

WHOLE = sorted(bundled.DEFAULTS.keys() - bundled.PARTS.keys())
"""The models whose folders have all of their parts."""


@pytest.mark.parametrize("name", WHOLE)
def test_a_plan_comes_with_each_model(name: str) -> None:
    path = bundled.default_plan(name)
    assert path is not None
    plan = skipstone.load_plan(path)
    assert len(plan.strip) == bundled.DEFAULTS[name]["num_inference_steps"]
    assert 2 * plan.computed <= len(plan.strip)


def test_no_plan_comes_with_other_models() -> None:
    assert bundled.default_plan("../bundled/pebble-video") is None


@pytest.mark.parametrize("name", WHOLE)
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
        small = {"height": 64, "width": 64, "max_sequence_length": 64}
        output = pipe(asked, **small, generator=generator, output_type="np")
        return torch.from_numpy(output.images).float()

    uncached = run()
    with skipstone.attach(pipe, skipstone.load_plan(path)) as cache:
        cached = run()
    assert cache.last_run.skipped > 0
    assert quality(cached, uncached).psnr >= 30


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pebble-stream with the weights of pebble-video."""
    own, like = tmp_path / "pebble-stream", bundled.folder("pebble-video")
    (own / "transformer").mkdir(parents=True)
    shutil.copy(like / bundled.INDEX, own)
    shutil.copy(like / "transformer" / "config.json", own / "transformer")
    save_rows(skipstone.load("pebble-video").transformer.state_dict(), own / "transformer" / rows.FILE)
    (own / "causal.json").write_text(json.dumps({"chunk": 3, "window": 12, "sink": 3}))
    found = bundled.folder_of
    monkeypatch.setattr(bundled, "folder_of", lambda name: own if name == own.name else found(name))
    return own


def test_a_transformer_of_rows_comes_with_the_parts_of_another_model(stand_in: Path) -> None:
    pipe, like = skipstone.load("pebble-stream"), skipstone.load("pebble-video")
    assert type(pipe).__name__ == "WanPipeline"
    assert inspect.signature(pipe.__call__).parameters["num_frames"].default == 9
    weights = like.transformer.state_dict()
    for name, weight in pipe.transformer.state_dict().items():
        # Half a step of 127 to each side.
        assert (weight - weights[name]).abs().max() <= weights[name].abs().max() / 253, name
    assert torch.equal(pipe.vae.decoder.conv_in.weight, like.vae.decoder.conv_in.weight)
    assert settings_of(pipe, {}) == CausalSettings(chunk=3, window=12, sink=3)
    assert not pipe.transformer.training


def test_its_types_are_those_that_diffusers_loads(stand_in: Path) -> None:
    pipe, like = (
        skipstone.load(name, torch_dtype=torch.bfloat16) for name in ("pebble-stream", "pebble-video")
    )
    types = {name: weight.dtype for name, weight in like.transformer.state_dict().items()}
    assert {name: weight.dtype for name, weight in pipe.transformer.state_dict().items()} == types
    assert set(types.values()) == {torch.bfloat16, torch.float32}


def test_doctor_says_that_it_can_be_streamed(stand_in: Path) -> None:
    said = {one.name: one.found for one in examine()}
    assert said["pebble-stream"].startswith(
        "readable, can be streamed: chunks of 3 latent frames that see 12"
    )
    assert said["pebble-video"] == "readable"
    (stand_in / "transformer" / rows.FILE).write_bytes(b"version https://git-lfs")
    (broken,) = (one for one in examine() if one.name == "pebble-stream")
    assert "install it anew" in broken.advice


def test_the_folder_of_pebble_stream_is_small_and_complete() -> None:
    own = bundled.folder("pebble-stream")
    files = {str(path.relative_to(own)): path.stat().st_size for path in own.rglob("*") if path.is_file()}
    weights = f"transformer/{rows.FILE}"
    named = {"README.md", "causal.json", bundled.INDEX, "sheet.webp", "transformer/config.json", weights}
    assert set(files) == named
    assert sum(files.values()) < 20_000_000
    assert files["sheet.webp"] < 150_000


def test_pebble_stream_draws_the_background_that_is_asked_for() -> None:
    pipe = skipstone.load("pebble-stream")
    assert settings_of(pipe, {}) == CausalSettings(
        chunk=3, window=12, sink=3, context_timestep=100, context_noise=0.1
    )
    frames = skipstone.stream(
        pipe, "a banana spins on a blue background", 9, steps=2, guidance_scale=1,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    first = next(frames)
    frames.close()
    assert first.isfinite().all()
    assert first[0, :, 0, :6, :6].mean((1, 2)).argmax() == 2


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
        embeddings, pooled, _ = pipe.encode_prompt("a cat", None, max_sequence_length=64)
    given = {"negative_prompt_embeds": embeddings, "negative_pooled_prompt_embeds": pooled}
    asked = {"prompt": "a snail on a green background", "max_sequence_length": 64}
    assert torch.equal(picture(pipe, **asked, **given), picture(pipe, **asked, negative_prompt="a cat"))


def test_a_cache_on_a_bundled_pipeline_leaves_its_own_sizes() -> None:
    pipe, asked = skipstone.load("pebble-image"), {"prompt": "a snail", "max_sequence_length": 64}
    bare = picture(pipe, **asked)
    assert bare.shape == (1, 128, 128, 3)
    with skipstone.attach(pipe, "teacache", threshold=0.0):
        assert torch.equal(picture(pipe, **asked), bare)
    assert torch.equal(picture(pipe, **asked), bare)


def test_the_text_steers_the_picture() -> None:
    pipe = skipstone.load("pebble-image")
    for colour, rgb in (("blue", (40, 90, 210)), ("yellow", (250, 222, 60))):
        generator = torch.Generator().manual_seed(0)
        asked = f"a snail on a {colour} background"
        image = pipe(asked, num_inference_steps=4, generator=generator, output_type="np").images[0]
        corner = image[:6, :6].reshape(-1, 3).mean(0) * 255
        assert abs(torch.tensor(corner) - torch.tensor(rgb)).max() < 40
