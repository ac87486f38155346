"""Metrics of what an image shows, from other packages and models: how much of it the cache changed."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor

from skipstone.metrics.pair import Pair

CLIP: Literal["openai/clip-vit-base-patch16"] = "openai/clip-vit-base-patch16"
"""The CLIP model of the score."""

REWARD = "ImageReward-v1.0"
"""The model of human preferences."""


def clip_score(clips: Pair) -> Tensor:
    """CLIP score of each frame minus the reference's, ``(frames,)``: below 0 if the clip is worse.

    Source: CLIPScore, arXiv:2104.08718, by torchmetrics.
    """
    return _score_of(clips.frames, clips.prompt) - _score_of(clips.reference, clips.prompt)


def image_reward(clips: Pair) -> Tensor:
    """ImageReward of each frame minus the reference's, ``(frames,)``: below 0 if the clip is worse.

    Source: ImageReward, arXiv:2304.05977, by the package image-reward.
    """
    rewards = [_rewards(clip, clips.prompt) for clip in (clips.frames, clips.reference)]
    return rewards[0] - rewards[1]


def clip_obstacle(clips: Pair) -> str | None:
    """Why the CLIP score cannot be measured, or None."""
    return _missing_prompt(clips) or _loaded(_clip, CLIP)


def reward_obstacle(clips: Pair) -> str | None:
    """Why ImageReward cannot be measured, or None."""
    if find_spec("ImageReward") is None:
        return "the package image-reward is not installed: pip install image-reward"
    return _missing_prompt(clips) or _loaded(_reward, REWARD)


def _missing_prompt(clips: Pair) -> str | None:
    return "there is no prompt to compare with" if clips.prompt is None else None


def _loaded(load: Callable[[], Any], name: str) -> str | None:
    try:
        load()
    except (OSError, ImportError) as error:
        return f"{name} cannot be loaded: {str(error).splitlines()[0]}"
    return None


@cache
def _clip() -> Any:
    from torchmetrics.multimodal.clip_score import CLIPScore

    return CLIPScore(CLIP)


@cache
def _reward() -> Any:
    import ImageReward

    return ImageReward.load(REWARD)


def _score_of(frames: Tensor, prompt: str | None) -> Tensor:
    pixels, metric = frames.clamp(0, 1).mul(255).round().byte(), _clip().to(frames.device)
    return torch.stack([metric(frame, prompt) for frame in pixels])


def _rewards(frames: Tensor, prompt: str | None) -> Tensor:
    from PIL import Image

    pixels = frames.clamp(0, 1).mul(255).round().byte().movedim(1, -1).cpu().numpy()
    return torch.tensor([_reward().score(prompt, Image.fromarray(frame)) for frame in pixels])
