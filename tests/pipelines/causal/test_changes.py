"""What changes while finished frames are kept is followed, or computed and named."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import skipstone
from skipstone.pipelines.causal import shared_prefix
from support.adapters import lora
from support.forcing import blocks, forcing, needs_skyreels, same, shared
from support.tiny_pipelines.parts import noise, pair

pytestmark = needs_skyreels


def test_a_callback_that_changes_finished_frames_is_followed() -> None:
    def darker(pipe: Any, step: int, time: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {"latents": kwargs["latents"] * 0.9 if step == 8 else kwargs["latents"]}

    run = forcing()
    given = {"callback_on_step_end": darker, "callback_on_step_end_tensor_inputs": ["latents"]}
    expected = run(**given)
    found, stats = shared(run, **given)
    assert same(found, expected)
    assert any("a callback writes into them" in note for note in stats.notes)


def test_a_prompt_that_changes_is_followed() -> None:
    """Finished frames are computed once more, with the new prompt."""
    other = noise(1, 6, 8, seed=5)

    def exchanged(pipe: Any, step: int, time: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {"prompt_embeds": other} if step >= 8 else {}

    run = forcing()
    expected = run(callback_on_step_end=exchanged)
    found, stats = shared(run, callback_on_step_end=exchanged)
    assert same(found, expected)
    assert not same(found, run.uncached)
    assert blocks(stats)[0] == 41


@pytest.mark.parametrize("in_mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("copied", [False, True])
def test_a_prompt_that_is_written_in_place_is_followed(in_mode: Callable[[], Any], copied: bool) -> None:
    """Tensors made in inference mode do not count what is written into them."""

    def fainter(pipe: Any, step: int, time: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        if step != 8:
            return {}
        prompt = kwargs["prompt_embeds"].mul_(0.5)
        return {"prompt_embeds": prompt.clone()} if copied else {}

    def given() -> dict[str, Any]:
        return {**{name: value.clone() for name, value in pair("prompt_embeds", 1, 6, 8).items()}, **callback}

    callback = {"callback_on_step_end": fainter, "callback_on_step_end_tensor_inputs": ["prompt_embeds"]}
    run = forcing()
    with in_mode():
        expected = run(**given())
        found, stats = shared(run, **given())
    assert same(found, expected)
    assert not same(found, run.uncached)
    assert blocks(stats)[0] == 41


@pytest.mark.parametrize("other", ["times", "latents"])
def test_a_call_that_a_callback_makes_is_computed_whole_and_named(other: str) -> None:
    """It may ask for frames that the loop's own step does not need."""
    answers = list[Tensor]()

    def ask(pipe: Any, step: int, times: Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
        if step != 2:
            return {}
        latents, prompt = kwargs["latents"], kwargs["prompt_embeds"]
        times = torch.full_like(times, 500) if other == "times" else times
        velocity = pipe.transformer(
            latents, times[None], prompt, enable_diffusion_forcing=True, return_dict=False
        )[0]
        answers.append(velocity)
        return {"latents": latents - 0.1 * velocity}

    run = forcing()
    given = {
        "callback_on_step_end": ask,
        "callback_on_step_end_tensor_inputs": ["latents", "prompt_embeds"],
    }
    expected = run(**given)
    found, stats = shared(run, **given)
    assert same(answers[1], answers[0])
    assert same(found, expected)
    assert shared_prefix.NOT_FOLLOWED in stats.notes
    assert sum(blocks(stats)) == 2 * 12 * 3


def test_adapters_that_change_are_followed() -> None:
    def stronger(pipe: Any, step: int, time: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        if step == 8:
            pipe.transformer.set_adapters("one", 2.0)
        return {}

    def changing(make: Callable[[], Any]) -> Any:
        run.pipe.transformer.set_adapters("one", 1.0)
        return make()

    run = forcing()
    lora(run, 1, "one")
    expected = changing(lambda: run(callback_on_step_end=stronger))
    found, stats = changing(lambda: shared(run, callback_on_step_end=stronger))
    assert same(found, expected)
    assert not same(found, changing(run))
    assert any("adapters changed" in note for note in stats.notes)


def test_a_program_may_ask_for_finished_frames_to_be_computed_again() -> None:
    def again(pipe: Any, step: int, *_: Any) -> dict[str, Any]:
        if step == 8:
            cache.compute_next()
        return {}

    run = forcing()
    run.uncached  # noqa: B018
    with skipstone.attach(run.pipe, "shared-prefix") as cache:
        assert same(run(callback_on_step_end=again), run.uncached)
    assert blocks(cache.last_run) == (42, 30)
