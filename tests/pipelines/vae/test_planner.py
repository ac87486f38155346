"""What the trial of a decoder finds, on parts that are traps."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from skipstone.pipelines.vae.attentions import Memory
from skipstone.pipelines.vae.padded import Padded
from skipstone.pipelines.vae.planner import NotChunkedError, find_plan
from skipstone.pipelines.vae.windows import Window


def before(video: Tensor, frames: int) -> Tensor:
    """A video with zeros in front of it."""
    return functional.pad(video, (0, 0, 0, 0, frames, 0))


class Causal(nn.Module):
    """A causal convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(4, 4, (3, 1, 1))

    def forward(self, video: Tensor) -> Tensor:
        made: Tensor = self.conv(before(video, 2))
        return made


class InPlace(Causal):
    """Adds to what it was given."""

    def forward(self, video: Tensor) -> Tensor:
        made = super().forward(video)
        video += made
        return video


class Pairs(Causal):
    """Returns two things."""

    def forward(self, video: Tensor) -> Any:
        return super().forward(video), "more"


class Twice(nn.Module):
    """Calls one part twice."""

    def __init__(self) -> None:
        super().__init__()
        self.part = Causal()

    def forward(self, video: Tensor) -> Tensor:
        return video + self.part(video + self.part(video))


class Divided(Causal):
    """Divides a large input of its convolution by itself."""

    def forward(self, video: Tensor) -> Tensor:
        padded = before(video, 2)
        pieces = [padded[:, :, n : n + 4] for n in range(0, padded.shape[2] - 2, 2)]
        return torch.cat([self.conv(piece) for piece in pieces], dim=2)[:, :, : video.shape[2]]


class Attention(nn.Module):
    """Each frame sees all frames up to itself."""

    def forward(self, video: Tensor) -> Tensor:
        batch, channels, frames, height, width = video.shape
        tokens = video.permute(0, 2, 3, 4, 1).reshape(batch, 1, frames * height * width, channels)
        of = torch.arange(frames).repeat_interleave(height * width)
        seen = of[:, None] >= of[None]
        mixed = functional.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=seen)
        return mixed.reshape(batch, frames, height, width, channels).permute(0, 4, 1, 2, 3)


class Centred(nn.Module):
    """A convolution that looks one frame ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0))

    def forward(self, video: Tensor) -> Tensor:
        made: Tensor = self.conv(video)
        return made


class Drawing(nn.Module):
    """Draws noise."""

    def forward(self, video: Tensor) -> Tensor:
        return video + torch.randn(video.shape[-2:], dtype=video.dtype)


def test_a_causal_convolution_computes_no_frame_again() -> None:
    assert find_plan(nn.Sequential(Causal(), nn.SiLU()), 4) == {"0": Padded(2, 1)}


def test_a_part_that_looks_ahead_waits() -> None:
    assert find_plan(nn.Sequential(Centred()), 4) == {"0.conv": Window(2, 1, right=1)}


@pytest.mark.parametrize("part", [InPlace, Pairs, Twice, Divided])
def test_a_trap_has_a_plan(part: type[nn.Module]) -> None:
    assert find_plan(nn.Sequential(part(), nn.SiLU()) if part is not Pairs else part(), 4)


def test_attention_over_all_frames_is_not_taken_for_a_window() -> None:
    assert find_plan(nn.Sequential(Attention()), 4) == {"0": Memory()}


def test_zero_weights_do_not_hide_what_a_part_needs() -> None:
    causal = Causal()
    nn.init.zeros_(causal.conv.weight)
    assert find_plan(nn.Sequential(causal), 4) == {"0": Padded(2, 1)}


def test_a_part_that_needs_all_frames_is_named() -> None:
    normed = nn.Sequential(nn.Conv3d(4, 4, 1), nn.GroupNorm(2, 4), nn.Conv3d(4, 4, 1))
    with pytest.raises(NotChunkedError, match=r"frames of 1 \(GroupNorm\) depend on all of them at once"):
        find_plan(normed, 4)


def test_a_decoder_that_draws_noise_has_no_plan() -> None:
    with pytest.raises(NotChunkedError, match="random numbers"):
        find_plan(nn.Sequential(nn.Conv3d(4, 4, 1), Drawing()), 4)


def test_a_trial_leaves_the_users_random_numbers_alone() -> None:
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    causal = Causal()
    nn.init.zeros_(causal.conv.weight)
    torch.manual_seed(0)
    find_plan(causal, 4)
    assert torch.equal(torch.rand(3), wanted)
