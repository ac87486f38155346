"""What the training of the bundled models computes in its own, faster way."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan

pytest.importorskip("triton")
sys.path.append(str(Path(__file__).parents[2] / "examples" / "training" / "train_pebble"))


def test_a_whole_clip_gives_what_the_chunks_give() -> None:
    from whole_clip import WholeClip

    torch.manual_seed(0)
    chunked = AutoencoderKLWan(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        scale_factor_spatial=4,
    ).double()
    whole = WholeClip(copy.deepcopy(chunked), torch.float64)
    clip = torch.randn(1, 3, 13, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        latents = chunked.encode(clip).latent_dist.mode()
        assert latents.std() > 0
        torch.testing.assert_close(whole.encode(clip).mode(), latents, rtol=1e-6, atol=1e-8)
        expected = chunked.decode(latents).sample
        torch.testing.assert_close(whole.decode(latents).clamp(-1, 1), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shape", [(2, 8, 20), (2, 20, 8)])
def test_muon_moves_equally_in_every_direction(shape: tuple[int, int, int]) -> None:
    from muon import orthogonalised

    moves = orthogonalised(torch.randn(shape, generator=torch.Generator().manual_seed(0))).float()
    sizes = torch.linalg.svdvals(moves)
    assert sizes.min() > 0.4
    assert sizes.max() < 1.3
