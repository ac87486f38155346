"""Videos decoded in chunks are those decoded whole, in memory that does not grow with their length."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import accelerate
import diffusers
import pytest
import torch
from torch import Tensor, nn

import skipstone
from skipstone.pipelines.vae.planner import NotChunkedError, find_plan

needs_hunyuan = pytest.mark.skipif(
    not hasattr(diffusers, "AutoencoderKLHunyuanVideo15"), reason="this diffusers does not have it"
)


def hunyuan() -> Any:
    """Causal convolutions, upsamplers that treat the first frame apart, and an attention over all frames."""
    return diffusers.AutoencoderKLHunyuanVideo15(
        latent_channels=4, block_out_channels=(8, 8, 8), layers_per_block=1, spatial_compression_ratio=4,
        temporal_compression_ratio=2,
    )  # fmt: skip


def cosmos() -> Any:
    """Attentions over time with a mask, and an unpatcher that drops frames."""
    blocks = (8, 8, 8)
    return diffusers.AutoencoderKLCosmos(
        latent_channels=4, encoder_block_out_channels=blocks, decode_block_out_channels=blocks,
        attention_resolutions=(8,), resolution=32, num_layers=1, spatial_compression_ratio=8,
        temporal_compression_ratio=4,
    )  # fmt: skip


def mochi() -> Any:
    """Causal convolutions that return two things, and frames dropped after the decoder."""
    return diffusers.AutoencoderKLMochi(
        encoder_block_out_channels=(32,) * 3, decoder_block_out_channels=(32,) * 3, latent_channels=4,
        layers_per_block=(1,) * 4, temporal_expansions=(2, 3), spatial_expansions=(2, 2),
        add_attention_block=(False,) * 4, latents_mean=(0.0,) * 4, latents_std=(1.0,) * 4,
    )  # fmt: skip


VAES = [pytest.param(hunyuan, marks=needs_hunyuan), cosmos, mochi]


def made(make: Callable[[], Any]) -> Any:
    torch.manual_seed(0)
    return make().eval().to(torch.float64)


def latents(frames: int, batch: int = 1, edge: int = 3) -> Tensor:
    noise = torch.Generator().manual_seed(frames)
    return torch.randn(batch, 4, frames, edge, edge, generator=noise, dtype=torch.float64)


def same(made: Tensor, wanted: Tensor, within: float = 1e-12) -> bool:
    return made.shape == wanted.shape and bool((made - wanted).abs().max() <= within * wanted.abs().max())


@torch.no_grad()
def decoded(vae: Any, video: Tensor) -> Tensor:
    sample: Tensor = vae.decode(video).sample
    return sample


@pytest.mark.parametrize("make", VAES)
def test_chunks_give_the_whole_and_leave_nothing(make: Callable[[], Any]) -> None:
    vae, videos = made(make), [latents(frames) for frames in (1, 2, 5)]
    attributes = {name: set(part.__dict__) for name, part in vae.named_modules()}
    wanted = [decoded(vae, video) for video in videos]
    with skipstone.decode_in_chunks(SimpleNamespace(vae=vae)) as handle:
        for video, whole in zip(videos, wanted, strict=True):
            assert same(decoded(vae, video), whole)
        assert str(handle.last_call) == "5 chunks"
        pair = torch.cat([videos[2], videos[2].flip(2)])
        vae.enable_slicing()
        assert same(decoded(vae, pair)[:1], wanted[2])
    assert torch.equal(decoded(vae, videos[2]), wanted[2])
    assert {name: set(part.__dict__) for name, part in vae.named_modules()} == attributes


def ltx() -> Any:
    """Its decoder looks ahead, its encoder does not."""
    blocks, ones = (8, 8, 8), (1, 1, 1, 1)
    return diffusers.AutoencoderKLLTXVideo(
        latent_channels=4, block_out_channels=blocks, decoder_block_out_channels=blocks, patch_size=2,
        layers_per_block=ones, decoder_layers_per_block=ones, spatio_temporal_scaling=(True, True, False),
        decoder_spatio_temporal_scaling=(True, True, False), decoder_inject_noise=(False,) * 4,
        upsample_residual=(False,) * 3, upsample_factor=(1,) * 3,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "step", "edge"),
    [pytest.param(hunyuan, 2, 8, marks=needs_hunyuan), (cosmos, 4, 16), (ltx, 4, 32)],
)
def test_videos_are_encoded_in_chunks_as_if_whole(make: Callable[[], Any], step: int, edge: int) -> None:
    # LTX normalises in float32.
    vae, within = made(make), 1e-6 if make is ltx else 1e-12
    noise = torch.Generator().manual_seed(0)
    video = torch.randn(1, 3, 1 + 4 * step, edge, edge, generator=noise, dtype=torch.float64)
    with torch.no_grad():
        whole = vae.encode(video, return_dict=False)[0].mode()
        for chunk, chunks in ((1, 5), (3, 2)):
            with skipstone.encode_in_chunks(vae, chunk=chunk) as handle:
                assert same(vae.encode(video, return_dict=False)[0].mode(), whole, within)
                assert handle.last_call == skipstone.ChunkStats(chunks)


@torch.no_grad()
def test_a_video_that_ends_within_a_latent_frame_is_encoded_whole() -> None:
    vae, video = made(cosmos), torch.ones(1, 3, 8, 16, 16, dtype=torch.float64)
    whole = vae.encode(video, return_dict=False)[0].mode()
    with skipstone.encode_in_chunks(vae) as handle:
        assert torch.equal(vae.encode(video, return_dict=False)[0].mode(), whole)
    assert str(handle.last_call) == "whole: its 8 frames are not one more than a multiple of 4"


def test_a_decoder_that_looks_ahead_is_refused() -> None:
    with pytest.raises(ValueError, match=r"frames of conv_in \(LTXVideoCausalConv3d\) depend on later ones"):
        skipstone.decode_in_chunks(made(ltx))


def test_longer_chunks_give_the_whole_in_any_precision_and_over_tiles() -> None:
    vae, video = made(mochi), latents(4, edge=4)
    sizes = {f"tile_sample_min_{side}": 8 for side in ("height", "width")}
    vae.enable_tiling(**sizes, **{name.replace("min", "stride"): 8 for name in sizes})
    tiled = decoded(vae, video)
    with skipstone.decode_in_chunks(vae, chunk=3):
        assert same(decoded(vae, video), tiled)
    vae.disable_tiling()
    vae.to(torch.float32)
    whole = decoded(vae, video.float())
    with skipstone.decode_in_chunks(vae, chunk=3) as handle:
        assert same(decoded(vae, video.float()), whole, 1e-5)
        assert handle.last_call == skipstone.ChunkStats(2)
        decoded(vae, video[:, :, :3].float())
        assert str(handle.last_call) == "whole: it has no more frames than a chunk"


def test_the_largest_tensor_does_not_grow_with_the_video() -> None:
    vae = made(cosmos)

    def largest(frames: int) -> int:
        sizes: list[int] = []

        def look(module: nn.Module, args: Any) -> None:
            sizes.extend(one.numel() for one in args if isinstance(one, Tensor) and module is not vae.decoder)

        hooks = [part.register_forward_pre_hook(look) for part in vae.decoder.modules()]
        decoded(vae, latents(frames))
        for hook in hooks:
            hook.remove()
        return max(sizes)

    whole = largest(10)
    with skipstone.decode_in_chunks(vae):
        decoded(vae, latents(2))
        assert largest(5) == largest(10) < whole / 4


def test_threads_and_failures_do_not_mix_videos() -> None:
    vae, videos = made(cosmos), [latents(4), -latents(4)]
    wanted = [decoded(vae, video) for video in videos]
    found: dict[int, Tensor] = {}
    with skipstone.decode_in_chunks(vae):
        decoded(vae, videos[0])
        with pytest.raises(RuntimeError):
            decoded(vae, torch.zeros(1, 3, 4, 3, 3, dtype=torch.float64))
        threads = [
            threading.Thread(target=lambda n=n: found.update({n: decoded(vae, videos[n])})) for n in (0, 1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(same(found[n], wanted[n]) for n in (0, 1))


class Late(nn.Module):
    """A decoder that is causal on small videos only."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, video: Tensor) -> Tensor:
        return self.weight * (video - video.mean(2, keepdim=True) if video.shape[3] > 4 else video)


class OfLate(nn.Module):
    """An autoencoder with such a decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.config = {"latent_channels": 4}
        self.decoder = Late()

    def decode(self, video: Tensor) -> Any:
        return SimpleNamespace(sample=self.decoder(video))


def test_a_size_at_which_chunks_are_wrong_is_decoded_whole() -> None:
    vae, video = OfLate(), latents(4, edge=6)
    whole = decoded(vae, video)
    with skipstone.decode_in_chunks(vae) as handle:
        assert torch.equal(decoded(vae, video), whole)
        assert str(handle.last_call) == "whole: chunks of this size gave another video"
        decoded(vae, latents(4))
        assert str(handle.last_call) == "4 chunks"


def test_weights_that_are_moved_for_each_call_are_chunked_and_absent_ones_refused() -> None:
    vae, video = made(cosmos), latents(3)
    whole = decoded(vae, video)
    _, hook = accelerate.cpu_offload_with_hook(vae, torch.device("cpu"))
    with skipstone.decode_in_chunks(vae):
        assert same(decoded(vae, video), whole)
    hook.remove()
    accelerate.cpu_offload(vae, torch.device("cpu"))
    with pytest.raises(ValueError, match="before sequential offload"):
        skipstone.decode_in_chunks(vae)


def test_a_part_that_needs_all_frames_is_named() -> None:
    normed = nn.Sequential(nn.Conv3d(4, 4, 1), nn.GroupNorm(2, 4), nn.Conv3d(4, 4, 1))
    with pytest.raises(NotChunkedError, match=r"frames of 1 \(GroupNorm\) depend on later ones"):
        find_plan(normed, 4)


def test_a_part_that_is_called_twice_remembers_for_each_call() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv3d(4, 4, (3, 1, 1))

        def forward(self, video: Tensor) -> Tensor:
            for _ in range(2):
                video = video + self.conv(nn.functional.pad(video, (0, 0, 0, 0, 2, 0)))
            return video

    assert find_plan(Twice(), 4)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: diffusers.AutoencoderKLWan(base_dim=4, z_dim=4, dim_mult=[1, 1], num_res_blocks=1,
                                            temperal_downsample=[True]), ValueError, "several times"),
        (lambda: diffusers.AutoencoderKL(block_out_channels=(4,), latent_channels=4, norm_num_groups=2),
         TypeError, "cannot decode frames"),
        (lambda: nn.Linear(2, 2), TypeError, "got Linear"),
    ],
    ids=["own loop", "images", "no autoencoder"],
)  # fmt: skip
def test_what_cannot_be_chunked_is_refused_in_one_line(
    make: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        skipstone.decode_in_chunks(make())


def test_a_second_handle_and_a_chunk_of_nothing_are_refused() -> None:
    vae = OfLate()
    with pytest.raises(ValueError, match="chunk"):
        skipstone.decode_in_chunks(vae, chunk=0)
    with skipstone.decode_in_chunks(vae), pytest.raises(ValueError, match="runs in chunks already"):
        skipstone.decode_in_chunks(vae)
