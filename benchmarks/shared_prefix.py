"""Time and memory of computing the prefix of a video again and of sharing it, at full size, in JSON rows.

Weights are random: time and memory are right, pictures mean nothing. ``skyreels`` is the denoising loop of
SkyReels-V2's diffusion forcing as it is written and with shared-prefix. ``wan`` is one step of a causal Wan
after so many frames: all frames again, block by block without a mask, and the chunk alone with a kept prefix.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import diffusers
import torch
from machine import about
from torch import Tensor

import skipstone
from skipstone.pipelines.causal.attention import SelfAttentions
from skipstone.pipelines.causal.forcing import Blockwise

SIZE_1_3B = {"num_attention_heads": 12, "attention_head_dim": 128, "ffn_dim": 8960, "num_layers": 30}
TINY = {"num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 32, "num_layers": 2}

CHUNK = 3
"""Latent frames in a chunk of a causal Wan, as in Self-Forcing."""

PREFIXES = (3, 6, 18, 36)
"""Latent frames before the chunk."""

TIME = 500.0
"""Of the step that is timed."""

FRAMES = 97
"""Of a video of SkyReels-V2."""

REPEATS = 5
"""Timed steps, after one to warm up."""


class Machine:
    """What the rows are measured on."""

    def __init__(self, device: str, tiny: bool) -> None:
        self.device, self.tiny = device, tiny
        self.dtype = torch.bfloat16 if device == "cuda" else torch.float32
        self.model = TINY if tiny else SIZE_1_3B

    def noise(self, *shape: int, seed: int = 0) -> Tensor:
        random = torch.Generator(self.device).manual_seed(seed)
        return torch.randn(*shape, generator=random, device=self.device, dtype=self.dtype)

    def made(self, cls: type[Any], **config: Any) -> Any:
        torch.manual_seed(0)
        with torch.device(self.device):
            model = cls(**{**self.model, **config}).eval().requires_grad_(False)
        # As from_pretrained does, which keeps some parts in float32.
        kept = set(model._keep_in_fp32_modules)
        for name, tensor in chain(model.named_parameters(), model.named_buffers()):
            if not kept & set(name.split(".")):
                tensor.data = tensor.data.to(self.dtype)
        return model

    def timed(self, run: Callable[[], Any]) -> tuple[Any, dict[str, Any]]:
        """What it gives, and its seconds and peak memory."""
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        begin = self.now()
        output = run()
        row = {"seconds": round(self.now() - begin, 4)}
        if self.device == "cuda":
            row["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        return output, row

    def now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def skyreels(machine: Machine, steps: int, ar_step: int) -> Iterator[dict[str, Any]]:
    """97 frames of 960 x 544 in five blocks; without guidance, which doubles both ways alike."""
    model = machine.made(diffusers.SkyReelsV2Transformer3DModel, inject_sample_info=True)
    vae = diffusers.AutoencoderKLWan(base_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    pipe = diffusers.SkyReelsV2DiffusionForcingPipeline(
        tokenizer=None, text_encoder=None, vae=vae, transformer=model,
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=8.0
        ),
    )  # fmt: skip
    height, width = (32, 32) if machine.tiny else (544, 960)
    given = {
        "prompt": None, "prompt_embeds": machine.noise(1, 512, 4096), "height": height, "width": width,
        "num_frames": FRAMES, "base_num_frames": FRAMES, "num_inference_steps": steps, "ar_step": ar_step,
        "causal_block_size": 5, "guidance_scale": 1.0, "output_type": "latent",
    }  # fmt: skip

    def run(**others: Any) -> Tensor:
        generator = torch.Generator("cpu").manual_seed(0)
        latents: Tensor = pipe(**{**given, **others}, generator=generator).frames
        return latents

    makes = f"{width} x {height}, {FRAMES} frames"
    facts = {"what": "skyreels", "makes": makes, "steps": steps, "ar_step": ar_step}
    run(num_frames=17, base_num_frames=17, num_inference_steps=2)
    with skipstone.attach(pipe, "shared-prefix") as cache:
        shared, fast = machine.timed(run)
    stats = cache.last_run
    parts, held = stats.parts["frame block"], round(stats.bytes_held / 2**30, 2)
    yield {**facts, "way": "shared", **fast, "held_gib": held, "blocks": parts["computed"]}
    whole, slow = machine.timed(run)
    ratio = round(slow["seconds"] / fast["seconds"], 3)
    blocks = sum(parts.values())
    yield {
        **facts, "way": "computed", **slow, "blocks": blocks, "ratio": ratio, "error": _error(shared, whole)
    }  # fmt: skip


def wan(machine: Machine) -> Iterator[dict[str, Any]]:
    """A step of one branch for a chunk of 832 x 480."""
    model = machine.made(diffusers.WanTransformer3DModel)
    height, width = (4, 4) if machine.tiny else (60, 104)
    tokens, text = height * width // 4, machine.noise(1, 512, 4096)
    facts = {"what": "wan", "makes": f"{width * 8} x {height * 8}, chunks of {CHUNK} latent frames"}
    for prefix in PREFIXES:
        video = machine.noise(1, 16, prefix + CHUNK, height, width)
        chunk = video[:, :, prefix:]
        again, slow = _steps(machine, _computed(machine, model, video, tokens, text))
        with skipstone.block_causal(model) as causal:
            for clean in video[:, :, :prefix].split(CHUNK, dim=2):
                _, commit = machine.timed(lambda clean=clean: causal.commit(clean, 0, text))
            shared, fast = _steps(machine, lambda chunk=chunk: _call(model, chunk, _time(machine), text))
            held = round(causal.nbytes / 2**30, 2)
        error = _error(shared, again[:, :, prefix:])
        yield {**facts, "prefix": prefix, "way": "computed", **slow}
        ratio = round(slow["seconds"] / fast["seconds"], 3)
        yield {
            **facts, "prefix": prefix, "way": "shared", **fast, "held_gib": held,
            "commit_seconds": commit["seconds"], "ratio": ratio, "error": error,
        }  # fmt: skip


def _computed(machine: Machine, model: Any, video: Tensor, tokens: int, text: Tensor) -> Callable[[], Tensor]:
    """One pass over the prefix and the chunk, each block attending to those before it."""
    times = torch.zeros(1, video.shape[2] * tokens, device=machine.device)
    times[:, -CHUNK * tokens :] = TIME
    attentions, rule = SelfAttentions(model), Blockwise(CHUNK * tokens, 0, ())

    def run() -> Tensor:
        with attentions.by(rule):
            return _call(model, video, times, text)

    return run


def _steps(machine: Machine, run: Callable[[], Tensor]) -> tuple[Tensor, dict[str, Any]]:
    """The output of a step, and the median of its times."""
    output, first = machine.timed(run)
    rows = [machine.timed(run)[1] for _ in range(REPEATS)]
    return output, {**first, "seconds": median(row["seconds"] for row in rows)}


def _call(model: Any, latents: Tensor, time: Tensor, text: Tensor) -> Tensor:
    with torch.no_grad():
        output: Tensor = model(latents, time, text, return_dict=False)[0]
    return output


def _time(machine: Machine) -> Tensor:
    return torch.full((1,), TIME, device=machine.device)


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected.float()).norm() / expected.float().norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="+", choices=("skyreels", "wan"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=12, help="of the scheduler of each frame of skyreels")
    parser.add_argument("--ar-step", type=int, default=2, help="by how many a block follows the one before")
    parser.add_argument("--tiny", action="store_true", help="small models, to try the program out")
    parser.add_argument("--rows", type=Path, required=True, help="a file to add the rows to")
    asked = parser.parse_args()
    machine = Machine(asked.device, asked.tiny)
    with asked.rows.open("a") as file:
        for what in asked.what:
            rows = wan(machine) if what == "wan" else skyreels(machine, asked.steps, asked.ar_step)
            for row in rows:
                line = json.dumps({**row, "dtype": str(machine.dtype), **about(asked.device)})
                print(line, file=file, flush=True)
                print(line, flush=True)


if __name__ == "__main__":
    main()
