"""What a chunk holds: each thing once, and of earlier frames no more than is needed."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import skipstone
from skipstone.pipelines.vae import attentions
from skipstone.pipelines.vae.attentions import Kept, Memory
from skipstone.pipelines.vae.chunked import Video, installed, outputs
from skipstone.pipelines.vae.padded import with_edges
from skipstone.pipelines.vae.planner import find_plan
from skipstone.pipelines.vae.units import Unit
from skipstone.pipelines.vae.windows import Frames
from support.live_bytes import LiveBytes
from support.toy_vae import ToyAutoencoder
from support.vaes import BY_TRIAL, CHANNELS, Make, cosmos, decoded, error, hunyuan_15, latents, made


def passes(decoder: nn.Module, units: dict[str, Unit], video: Video, chunks: Any) -> Iterator[Any]:
    with torch.no_grad(), installed(decoder, units) as chunked:
        yield from outputs(video, chunks, lambda chunk: chunked.pass_of(video, chunk))


def remembered(state: Any) -> list[Tensor]:
    if isinstance(state, Frames):
        return [] if state.past is None else [state.past]
    assert isinstance(state, Kept)
    return [one for pairs in state.pairs for pair in pairs for one in pair]


@pytest.mark.parametrize("make", BY_TRIAL.values(), ids=BY_TRIAL)
def test_what_is_remembered_keeps_nothing_else_alive(make: Make) -> None:
    vae, video = made(make, torch.float32), Video()
    units = find_plan(vae.decoder, CHANNELS)
    list(passes(vae.decoder, units, video, latents(6, dtype=torch.float32).split(2, dim=2)))
    kept = [one for state in video.states.values() for one in remembered(state)]
    assert kept
    assert all(one.untyped_storage().nbytes() == one.nbytes for one in kept)


def test_a_convolution_copies_the_new_frames_once() -> None:
    frame, new, past = CHANNELS * 16 * 16 * 8, 4, 2
    vae = ToyAutoencoder()
    units = find_plan(vae.decoder, CHANNELS)
    chunks = [latents(new, edge=16) for _ in range(4)]
    with LiveBytes() as live:
        for _ in passes(vae.decoder, units, Video(), chunks):
            pass
    around = new + new  # The chunk, and what the last one gave.
    second = (
        new + (past + new) + new + 2 * past
    )  # What it is given, that in its place, its output, what both keep.
    assert live.peak <= (around + second) * frame


@pytest.mark.parametrize("pad", [(1, 1, 1, 1), (0, 2, 1, 0), (0, 0, 0, 0)])
@pytest.mark.parametrize(("mode", "value"), [("replicate", None), ("constant", 0.0), ("constant", 3.0)])
def test_frames_are_joined_with_the_edges_of_a_padding(
    pad: tuple[int, ...], mode: str, value: float | None
) -> None:
    past, new = latents(2, batch=2, edge=4), latents(3, batch=2, edge=4)
    wanted = functional.pad(torch.cat([past, new], dim=2), (*pad, 0, 0), mode, value)
    assert torch.equal(with_edges(past, new, pad, value), wanted)


@pytest.mark.parametrize("make", [cosmos, hunyuan_15])
@pytest.mark.parametrize("at_once", [1, 1000])
def test_keys_and_values_can_come_in_parts(make: Make, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vae, video = made(make), latents(6, batch=2 if make is cosmos else 1)
    whole = decoded(vae, video)
    monkeypatch.setattr(attentions, "AT_ONCE", at_once)
    with skipstone.decode_in_chunks(vae, chunk=2):
        assert error(decoded(vae, video), whole) <= 1e-12


def test_a_mask_of_all_tokens_is_not_made() -> None:
    masks: list[Tensor] = []

    def attention(video: Tensor) -> Tensor:
        tokens = video.flatten(2).transpose(1, 2)[:, None]
        count = tokens.shape[2]
        mask = torch.full((count, count), -torch.inf, dtype=video.dtype)
        for row in range(count):
            mask[row, : row + 1] = 0
        masks.append(mask)
        return functional.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=mask[None])

    unit = Memory()
    unit.run(attention, unit.new_state(), (latents(2),), {})
    assert [mask.numel() for mask in masks] == [1]


def test_keys_and_values_are_kept_without_the_queries_beside_them() -> None:
    def attention(video: Tensor) -> Tensor:
        tokens = video.flatten(2).transpose(1, 2)[:, None]
        return functional.scaled_dot_product_attention(*torch.stack([tokens] * 3))

    unit, state = Memory(), Kept()
    unit.run(attention, state, (latents(2),), {})
    assert all(one.untyped_storage().nbytes() == one.nbytes for one in remembered(state))


class FirstApart(nn.Module):
    """Gives two frames for each but the first one, after a causal convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(4, 4, (3, 1, 1), dtype=torch.float64)

    def forward(self, video: Tensor) -> Tensor:
        made: Tensor = self.conv(functional.pad(video, (0, 0, 0, 0, 2, 0)))
        return torch.cat([made[:, :, :1], made[:, :, 1:].repeat_interleave(2, dim=2)], dim=2)


class Counting(TorchDispatchMode):
    """Count the frames that convolutions make."""

    frames = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if "conv" in str(func):
            self.frames += output.shape[2]
        return output


@pytest.mark.parametrize("make", [lambda: nn.Sequential(FirstApart()), lambda: ToyAutoencoder().decoder])
def test_a_convolution_computes_no_frame_again(make: Callable[[], nn.Module]) -> None:
    decoder = make()
    units = find_plan(decoder, CHANNELS)
    frames, convolutions = [2, 3, 3], sum(isinstance(part, nn.Conv3d) for part in decoder.modules())
    with Counting() as counting:
        list(passes(decoder, units, Video(), latents(8).split(frames, dim=2)))
    assert counting.frames == 8 * convolutions


@pytest.mark.gpu
def test_the_memory_of_a_stream_does_not_grow_with_what_an_attention_sees() -> None:
    vae = made(cosmos, torch.float32).cuda()

    def peak(frames: int) -> int:
        torch.cuda.reset_peak_memory_stats()
        for _ in skipstone.stream_decode(vae, latents(frames, edge=16, dtype=torch.float32).cuda(), 1):
            pass
        return torch.cuda.max_memory_allocated()

    peak(2)
    assert peak(32) <= 1.1 * peak(8)
