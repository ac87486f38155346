"""A causal Wan: calls that see a kept prefix, against one masked pass over the whole video."""

from collections.abc import Sequence
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

import skipstone
from skipstone.pipelines.causal.attention import KeysValues, projected, rotated
from skipstone.pipelines.causal.window import Window
from support.tiny import wan
from support.tiny_pipelines.parts import noise, transformer
from support.zoo import ZOO

WAN = "WanTransformer3DModel"
CHUNKS = (2, 2, 1, 3, 2, 2)
"""The frames of each chunk; all but the last one are committed."""

TEXT = noise(1, 5, 8, seed=7)
SPACE = 4
"""Tokens in a frame."""

WINDOWS = [(None, 0), (6, 0), (6, 1), (3, 2), (1, 0)]


@pytest.fixture
def model() -> Any:
    return transformer(WAN).double()


def chunks(batch: int = 1) -> list[Tensor]:
    return list(noise(batch, 4, sum(CHUNKS), 4, 4).double().split(CHUNKS, dim=2))


def streamed(model: Any, window: int | None, sink: int, text: Tensor, batch: int = 1) -> Tensor:
    """The output for the last chunk, the others being committed before."""
    *clean, last = chunks(batch)
    with skipstone.block_causal(model, window, sink) as prefix:
        for chunk in clean:
            prefix.commit(chunk, 0, text)
        return called(model, last, text)


@torch.no_grad()
def called(model: Any, chunk: Tensor, text: Tensor, time: float = 400.0) -> Tensor:
    output: Tensor = model(chunk, torch.full((len(chunk),), time), text, return_dict=False)[0]
    return output


def held_at_each_chunk(window: int | None, sink: int) -> list[list[int]]:
    """The frames that each chunk sees before itself, worked out one by one."""
    found, held, number = [], [], 0
    for frames in CHUNKS:
        found.append(list(held))
        held += range(number, number + frames)
        number += frames
        while window is not None and len(held) > window:
            del held[sink]
    return found


class Masked:
    """Attention of a whole video in which each chunk sees what was held before it, counted from there."""

    def __init__(self, model: Any, held: Sequence[Sequence[int]]) -> None:
        self.rotary = model.rope(torch.empty(1, 4, 32, 4, 4))
        self.held = held

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        query, new = projected(attn, hidden_states)
        outputs, number = [], 0
        for frames, held in zip(CHUNKS, self.held, strict=True):
            own = range(number, number + frames)
            seen = [*held, *own]
            places = tuple(table[:, : len(seen) * SPACE] for table in self.rotary)
            last = tuple(table[:, -frames * SPACE :] for table in places)
            parts = (rotated(_frames(query, own), last), rotated(_frames(new.keys, seen), places))
            q, k, v = (part.transpose(1, 2) for part in (*parts, _frames(new.values, seen)))
            outputs.append(scaled_dot_product_attention(q, k, v).transpose(1, 2))
            number += frames
        mixed: Tensor = attn.to_out[0](torch.cat(outputs, dim=1).flatten(2))
        return mixed


def _frames(tokens: Tensor, which: Sequence[int]) -> Tensor:
    return torch.cat([tokens[:, n * SPACE : (n + 1) * SPACE] for n in which], dim=1)


@torch.no_grad()
def in_one_pass(model: Any, window: int | None, sink: int, text: Tensor, batch: int = 1) -> Tensor:
    for block in model.blocks:
        block.attn1.set_processor(Masked(model, held_at_each_chunk(window, sink)))
    times = torch.zeros(batch, sum(CHUNKS) * SPACE)
    times[:, -CHUNKS[-1] * SPACE :] = 400.0
    output: Tensor = model(torch.cat(chunks(batch), dim=2), times, text, return_dict=False)[0]
    return output[:, :, -CHUNKS[-1] :]


@pytest.mark.parametrize(("window", "sink"), WINDOWS)
def test_a_chunk_is_what_one_masked_pass_makes_of_it(model: Any, window: int | None, sink: int) -> None:
    found, expected = (
        streamed(model, window, sink, TEXT.double()),
        in_one_pass(model, window, sink, TEXT.double()),
    )
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


def test_a_batch_is_its_samples(model: Any) -> None:
    text = torch.cat([TEXT, noise(1, 5, 8, seed=8)]).double()
    found, expected = streamed(model, 6, 1, text, 2), in_one_pass(model, 6, 1, text, 2)
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


def test_without_a_prefix_the_model_is_its_own(model: Any) -> None:
    chunk = chunks()[0]
    plain = called(model, chunk, TEXT.double())
    with skipstone.block_causal(model):
        assert torch.allclose(called(model, chunk, TEXT.double()), plain, rtol=0, atol=1e-12)


def test_each_branch_has_its_own_frames(model: Any) -> None:
    first, second = chunks()[:2]
    other = noise(1, 5, 8, seed=8).double()

    def alone(text: Tensor) -> Tensor:
        with skipstone.block_causal(model) as prefix:
            prefix.commit(first, 0, text)
            return called(model, second, text)

    expected = [alone(text) for text in (TEXT.double(), other)]
    with skipstone.block_causal(model) as prefix:
        pairs = list(zip(("cond", "uncond"), (TEXT.double(), other), strict=True))
        for name, text in pairs:
            with model.cache_context(name):
                prefix.commit(first, 0, text)
        assert prefix.frames == 0
        for (name, text), right in zip(pairs, expected, strict=True):
            with model.cache_context(name):
                assert prefix.frames == 2
                assert torch.equal(called(model, second, text), right)


def test_memory_does_not_grow_with_the_video(model: Any) -> None:
    chunk, held = chunks()[0], []
    with skipstone.block_causal(model, window=5, sink=1) as prefix:
        for _ in range(6):
            prefix.commit(chunk, 0, TEXT.double())
            called(model, chunk, TEXT.double())
            held.append((prefix.frames, prefix.nbytes))
    # Three layers of keys, rotated keys and values: 4 tokens a frame, width 24, 8 bytes.
    assert held == [(n, n * 3 * 3 * 4 * 24 * 8) for n in (2, 4, 5, 5, 5, 5)]


def test_dropped_frames_are_not_held_by_views() -> None:
    window, rotary = Window(3, 1), (torch.ones(1, 6, 1, 4), torch.zeros(1, 6, 1, 4))
    for _ in range(3):
        window.add([KeysValues(torch.ones(1, 4, 1, 4), torch.ones(1, 4, 1, 4))], 2, (1, 2, 1))
    placed = window.placed(0, rotary)
    assert placed is not None
    assert placed.values.untyped_storage().nbytes() == placed.values.nbytes == 3 * 2 * 4 * 4


def test_a_commit_that_fails_adds_nothing(model: Any) -> None:
    first, second, *_ = chunks()
    with skipstone.block_causal(model) as prefix:
        prefix.commit(first, 0, TEXT.double())
        before = called(model, second, TEXT.double())
        with pytest.raises(RuntimeError):
            prefix.commit(second, 0, TEXT.double()[..., :3])
        assert prefix.frames == 2
        assert torch.equal(called(model, second, TEXT.double()), before)


def test_frames_of_another_size_are_refused_until_the_prefix_is_cleared(model: Any) -> None:
    with skipstone.block_causal(model) as prefix:
        prefix.commit(chunks()[0], 0, TEXT.double())
        with pytest.raises(ValueError, match=r"\(1, 4, 4\) like those committed, got \(1, 4, 8\); clear"):
            called(model, noise(1, 4, 2, 4, 8).double(), TEXT.double())
        prefix.clear()
        called(model, noise(1, 4, 2, 4, 8).double(), TEXT.double())


def test_more_frames_than_positions_are_refused(model: Any) -> None:
    with skipstone.block_causal(model) as prefix:
        prefix.commit(noise(1, 4, 31, 4, 4).double(), 0, TEXT.double())
        with pytest.raises(ValueError, match="at most 32 frames at once, got 2 after 31: give a window"):
            called(model, chunks()[0], TEXT.double())


def test_removal_restores_the_model(model: Any) -> None:
    def footprint() -> Any:
        parts = [(type(m), sorted(vars(m))) for m in model.modules()]
        return parts, [type(block.attn1.processor) for block in model.blocks]

    before, chunk = footprint(), chunks()[0]
    plain = called(model, chunk, TEXT.double())
    with skipstone.block_causal(model) as prefix:
        prefix.commit(chunk, 0, TEXT.double())
        assert not torch.equal(called(model, chunk, TEXT.double()), plain)
    assert footprint() == before
    assert torch.equal(called(model, chunk, TEXT.double()), plain)


def test_a_cache_works_on_top() -> None:
    """Steps are skipped within a chunk, and commits are no steps."""
    run = wan()
    model = run.pipe.transformer
    with skipstone.block_causal(model) as prefix, skipstone.attach(run.pipe, "fora", interval=2) as cache:
        for name, text in (("cond", "prompt_embeds"), ("uncond", "negative_prompt_embeds")):
            with model.cache_context(name):
                prefix.commit(noise(1, 4, 2, 4, 4), 0, run.kwargs[text])
        skipped = run()
    assert cache.last_run.strip == "#.#.#.#."
    assert not cache.last_run.notes
    with skipstone.attach(run.pipe, "fora", interval=2):
        assert not torch.equal(run(), skipped)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 0}, "window"),
        ({"sink": -1}, "sink"),
        ({"window": 3, "sink": 3}, "expected a sink below the window of 3 frames, got 3"),
    ],
)
def test_bad_settings_are_refused(model: Any, settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        skipstone.block_causal(model, **settings)


@pytest.mark.parametrize("other", ["FluxTransformer2DModel", "WanVACETransformer3DModel"])
def test_other_models_are_refused(other: str) -> None:
    with pytest.raises(TypeError, match=f"expected a {WAN} or a pipeline that has one, got {other}"):
        skipstone.block_causal(ZOO[other].model())


def test_nothing_at_all_is_refused() -> None:
    with pytest.raises(TypeError, match="got int"):
        skipstone.block_causal(3)


def test_a_second_one_is_refused(model: Any) -> None:
    with skipstone.block_causal(model), pytest.raises(ValueError, match="is block-causal already"):
        skipstone.block_causal(model)


def test_a_foreign_attention_is_refused_and_leaves_nothing(model: Any) -> None:
    model.blocks[1].attn1.set_processor(Masked(model, ()))
    with pytest.raises(ValueError, match="its attention processor is Masked"):
        skipstone.block_causal(model)
    model.blocks[1].attn1.set_processor(diffusers.models.transformers.transformer_wan.WanAttnProcessor())
    skipstone.block_causal(model).remove()
