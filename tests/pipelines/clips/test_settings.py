"""What tells the settings of a stream, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import skipstone
from skipstone.pipelines.causal.settings import CausalSettings, settings_in
from support.streams import CAUSAL, stream, video
from support.tiny import flux, sd3


def test_the_folder_of_a_pipeline_tells_them(pipe: Any, tmp_path: Path) -> None:
    expected = video(pipe)
    pipe.register_to_config(_name_or_path=str(tmp_path))
    (tmp_path / "causal.json").write_text(json.dumps(CAUSAL))
    none = dict.fromkeys(CAUSAL)
    assert torch.equal(video(pipe, **none), expected)
    assert not torch.equal(video(pipe, **{**none, "sink": 0}), expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("[]", "should be an object"),
        ("null", "should be an object, got None"),
        ("3", "should be an object, got 3"),
        ("{}", "chunk field required"),
        ('{"chunk": 0}', "chunk should be greater than or equal to 1, got 0"),
        ('{"chunk": 2.0}', "chunk should be a valid integer, got 2.0"),
        ('{"chunk": 2, "windw": 3}', "windw extra inputs are not permitted"),
        ('{"chunk": 2, "self": 1}', "self extra inputs are not permitted"),
        ('{"chunk": 2, "chunk": 3}', "chunk is given twice"),
        ('{"chunk": 2, "sink": 3}', "a sink of 3 frames goes with a window"),
        ('{"chunk": 2, "context_timestep": 1e400}', "context_timestep should be a finite number"),
        ('{"chunk": 2, "window": 1}', "a window of at least one chunk of 2"),
    ],
)
def test_a_damaged_file_is_named(pipe: Any, tmp_path: Path, text: str, message: str) -> None:
    pipe.register_to_config(_name_or_path=str(tmp_path))
    (tmp_path / "causal.json").write_text(text)
    with pytest.raises(ValueError, match=rf"causal.json' is damaged: .*{message}") as refused:
        skipstone.stream(pipe)
    assert len(str(refused.value).splitlines()) == 1


def test_a_folder_in_place_of_the_file_is_named(pipe: Any, tmp_path: Path) -> None:
    pipe.register_to_config(_name_or_path=str(tmp_path))
    (tmp_path / "causal.json").mkdir()
    with pytest.raises(ValueError, match=r"cannot read '.*causal.json': Is a directory"):
        skipstone.stream(pipe)


def test_a_mark_of_byte_order_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "causal.json").write_text('{"chunk": 2}', "utf-8-sig")
    assert settings_in(tmp_path) == CausalSettings(chunk=2)


def test_a_time_that_no_model_was_trained_at_is_refused(pipe: Any, tmp_path: Path) -> None:
    pipe.register_to_config(_name_or_path=str(tmp_path))
    (tmp_path / "causal.json").write_text('{"chunk": 2, "context_timestep": 1001}')
    with pytest.raises(ValueError, match=r"context_timestep up to 1000, .* got 1001 in '.*causal.json'"):
        skipstone.stream(pipe)
    with pytest.raises(ValueError, match=r"context_timestep up to 1000, .* got 2000$"):
        stream(pipe, context_timestep=2000.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"chunk": None}, "nothing says that this WanPipeline is causal: its folder has no causal.json"),
        ({"chunk": 0}, "chunk must be a whole number from 1"),
        ({"window": 1}, "a window of at least one chunk of 2 latent frames, got 1"),
        ({"window": 4, "first": 5}, "a window of at least one chunk of 5 latent frames, got 4"),
        ({"sink": 4}, "a sink below the window of 4 frames, got 4"),
        ({"frames": 4}, "at least 5 frames, those of the first chunk, got 4"),
        ({"chunk": 20, "window": 20}, "at least 77 frames, those of the first chunk, got 22"),
        ({"frames": 0}, "frames must be"),
        ({"steps": 0}, "steps must be"),
        ({"height": 30}, "cannot make height 30"),
        ({"prompt_embeds": None}, "Provide either `prompt` or `prompt_embeds`"),
        ({"latents": 1, "num_frames": 3}, "a stream gives these itself: latents, num_frames"),
        (
            {"window": None, "sink": None, "frames": 400},
            "102 latent frames at once, in a window and a chunk, are more than the 32",
        ),
        ({"window": 31, "frames": 400}, "33 latent frames at once"),
        ({"cache": "fbi"}, "fbi"),
        ({"window": None}, "a sink of 1 frames goes with a window"),
        ({"guidance_scale_2": 3.0}, "`guidance_scale_2` is only supported"),
    ],
)
def test_bad_input_is_refused_before_anything_is_done(pipe: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stream(pipe, **given)


def test_an_argument_that_the_pipeline_does_not_have_is_refused(pipe: Any) -> None:
    with pytest.raises(TypeError, match="neither stream nor WanPipeline takes bar, foo: leave it out"):
        stream(pipe, foo=1, bar=2)


def test_a_vae_that_decodes_in_tiles_is_refused(pipe: Any) -> None:
    pipe.vae.enable_tiling()
    with pytest.raises(ValueError, match=r"disable_tiling\(\) first"):
        stream(pipe)


def test_a_vae_without_time_is_refused(pipe: Any) -> None:
    pipe.vae = flux().pipe.vae
    with pytest.raises(TypeError, match=r"expected an AutoencoderKLWan .*, got AutoencoderKL"):
        stream(pipe)


@pytest.mark.parametrize("other", [flux, sd3])
def test_other_pipelines_are_refused(other: Any) -> None:
    with pytest.raises(TypeError, match="expected a WanPipeline with a causal transformer, got"):
        stream(other().pipe)


def test_a_model_that_is_compiled_as_a_whole_is_refused(pipe: Any) -> None:
    pipe.transformer.compile(backend="eager")
    with pytest.raises(ValueError, match="compile its blocks instead"):
        next(stream(pipe))
