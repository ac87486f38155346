"""Tiny runs of SkyReels-V2's diffusion forcing, with and without a shared prefix."""

from typing import Any

import diffusers as d
import pytest
from torch import Tensor

import skipstone
from skipstone.testing import ShortRun
from support.tiny_pipelines import PIPELINES
from support.tiny_pipelines.parts import made, pair, transformer, wan_vae

needs_skyreels = pytest.mark.skipif(
    "skyreels-v2" not in PIPELINES, reason="this diffusers cannot run SkyReels-V2"
)

SHORT = {"num_frames": 33, "base_num_frames": 33, "ar_step": 3}


def forcing(cls: type[Any] = d.SkyReelsV2DiffusionForcingPipeline, **kwargs: Any) -> ShortRun:
    """A run in blocks of three latent frames; 33 frames are 9 of them."""
    scheduler = d.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    model = transformer("SkyReelsV2Transformer3DModel", num_layers=2)
    components = {"transformer": model, "vae": wan_vae(), "scheduler": scheduler}
    usual = {"prompt": None, "height": 32, "width": 32, "guidance_scale": 4.0, "num_inference_steps": 6}
    text = pair("prompt_embeds", 1, 6, 8)
    return made(cls, components, **{**usual, **text, **SHORT, "causal_block_size": 3, **kwargs})


def blocks(stats: skipstone.RunStats) -> tuple[int, int]:
    """How many blocks of frames were computed and left out."""
    parts = stats.parts["frame block"]
    return parts["computed"], parts["skipped"]


def shared(run: ShortRun, **kwargs: Any) -> tuple[Tensor, skipstone.RunStats]:
    with skipstone.attach(run.pipe, "shared-prefix") as cache:
        return run(**kwargs), cache.last_run


def same(found: Tensor, expected: Tensor, within: float = 1e-5) -> bool:
    return found.shape == expected.shape and bool(
        (found - expected).abs().max() <= within * expected.abs().max()
    )
