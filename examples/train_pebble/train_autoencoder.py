"""Train the video or the image autoencoder on freshly drawn scenes for a given time."""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderKLWan
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from models import image_autoencoder, video_autoencoder
from PIL import Image
from restoring import load_parts
from scenes import FRAMES, SIDE, clip_times, draw_batch, load_atlas, render
from torch import nn
from training import Average, Clock, learning_rate, save_parts
from whole_clip import WholeClip

KL_WEIGHT = 3e-5
FINE_FROM = 0.7

Autoencoder = AutoencoderKL | AutoencoderKLWan


def random_crops(
    atlas: torch.Tensor, generator: torch.Generator, count: int, side: int, video: bool
) -> torch.Tensor:
    """Clips (or stills) cut out of random scenes, on the 8-pixel grid."""
    batch = draw_batch(count, len(atlas), generator)
    device = atlas.device
    corner = 8 * torch.randint(0, (SIDE - side) // 8 + 1, (count, 2), device=device, generator=generator)
    times = clip_times(count, device, FRAMES if video else 1)
    clips = render(batch, atlas, times, corner, side)
    return clips if video else clips[:, :, 0]


def edges(picture: torch.Tensor) -> list[torch.Tensor]:
    """Differences of neighbours along width, height and, in a clip, time."""
    return [picture.diff(dim=axis) for axis in range(-1, 1 - picture.ndim, -1)]


def reconstruction_loss(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Absolute error of the pixels and of their differences, so that edges stay crisp."""
    sharpness = sum(F.l1_loss(a, b) for a, b in zip(edges(made), edges(wanted), strict=True))
    return F.l1_loss(made, wanted) + sharpness


class Stills:
    """The image autoencoder behind the same two methods as `WholeClip`."""

    def __init__(self, autoencoder: AutoencoderKL) -> None:
        self.autoencoder = autoencoder

    def encode(self, stills: torch.Tensor) -> DiagonalGaussianDistribution:
        return self.autoencoder.encode(stills).latent_dist

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self.autoencoder.decode(latents).sample


def initialise(model: Autoencoder) -> None:
    """Let signals keep their size through the unnormalised convolutions; the usual start never takes off."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.Conv3d) and module.kernel_size[0] == 3:
            module.weight.data[:, :, :-1] *= 0.1  # lean on the present frame: at first the past is padding
            module.weight.data[:, :, -1] *= 1.7


def quieten(model: Autoencoder, log_variance: float = -5.0) -> None:
    """Start with little noise on the latents, so that they are worth reading from the first step on."""
    last = model.encoder.conv_out if isinstance(model, AutoencoderKL) else model.quant_conv
    nn.init.constant_(last.bias[last.out_channels // 2 :], log_variance)


def loss_of(coder: WholeClip | Stills, clips: torch.Tensor) -> torch.Tensor:
    """Reconstruction from a sampled latent, plus a slight pull of the latents to a normal law."""
    posterior = coder.encode(clips)
    made = coder.decode(posterior.sample()).float()
    divergence = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).float().mean()
    return reconstruction_loss(made, clips) + KL_WEIGHT * divergence


def fastest(step: Callable[[], None], model: nn.Module, video: bool) -> tuple[bool, torch.memory_format]:
    """Try the precisions and memory layouts on a few steps each and keep the quickest."""
    last = torch.channels_last_3d if video else torch.channels_last
    timings = {}
    for half in (True, False):
        for layout in (torch.contiguous_format, last):
            reshape(model, layout)
            timings[half, layout] = timed(step, half)
            print(f"bf16={half} {layout}: {timings[half, layout]:.1f} ms", flush=True)
    return min(timings, key=timings.__getitem__)


def reshape(model: nn.Module, layout: torch.memory_format) -> None:
    """Put the convolution weights into a memory layout."""
    for parameter in model.parameters():
        if layout is torch.contiguous_format or parameter.ndim == (
            5 if layout is torch.channels_last_3d else 4
        ):
            parameter.data = parameter.data.contiguous(memory_format=layout)


def timed(step: Callable[[], None], half: bool, repeats: int = 3) -> float:
    """Milliseconds per step after one warm-up."""
    for count in (1, repeats):
        torch.cuda.synchronize()
        clock = Clock(1.0)
        for clock.steps in range(1, count + 1):
            with torch.autocast("cuda", torch.bfloat16, enabled=half):
                step()
        torch.cuda.synchronize()
    return clock.pace()


@torch.no_grad()
def measure(
    coder: WholeClip | Stills, atlas: torch.Tensor, video: bool, seed: int, half: bool, rounds: int
) -> dict[str, object]:
    """Latent statistics and PSNR over whole clips that no training step has seen."""
    generator = torch.Generator(atlas.device).manual_seed(seed + 1)
    latents, errors = [], []
    for _ in range(rounds):
        batch = draw_batch(32, len(atlas), generator)
        clips = render(batch, atlas, clip_times(32, atlas.device), moving=video)
        clips = clips if video else clips[:, :, 0]
        with torch.autocast(atlas.device.type, torch.bfloat16, enabled=half):
            latent = coder.encode(clips).mode()
            made = coder.decode(latent).float().clamp(-1, 1)
        latents.append(latent.float())
        errors.append(((made - clips.clamp(-1, 1)) ** 2).flatten(1).mean(1) / 4)
    stacked = torch.cat(latents).transpose(0, 1).flatten(1)
    return {
        "psnr": (-10 * torch.cat(errors).log10()).mean().item(),
        "mean": stacked.mean(1).tolist(),
        "std": stacked.std(1).tolist(),
        "overall_mean": stacked.mean().item(),
        "overall_std": stacked.std().item(),
        "last": torch.stack([clips[:6], made[:6]], 1),
    }


def save_sheet(pairs: torch.Tensor, target: Path) -> None:
    """Each original above its reconstruction; a clip shows every eighth frame."""
    frames = pairs[:, :, :, ::8] if pairs.ndim == 6 else pairs[:, :, :, None]
    rows = frames.permute(0, 1, 4, 3, 5, 2)
    height, width = math.prod(rows.shape[:3]), math.prod(rows.shape[3:5])
    pixels = ((rows + 1) * 127.5).clamp(0, 255).byte().reshape(height, width, 3)
    Image.fromarray(np.asarray(pixels.cpu())).save(target)


def train(arguments: argparse.Namespace) -> None:
    torch.manual_seed(arguments.seed)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    device, video = torch.device(arguments.device), arguments.kind == "video"
    atlas, _ = load_atlas(arguments.atlas, device)
    generator = torch.Generator(device).manual_seed(arguments.seed)
    model = (video_autoencoder() if video else image_autoencoder()).to(device)
    if arguments.resume:
        load_parts({"vae": model}, arguments.resume / f"{arguments.kind}-vae")
    else:
        initialise(model)
        quieten(model)
    coder = WholeClip(model) if video else Stills(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-4)
    average = Average({"vae": model}, 0.998)

    def step(fine: bool = False) -> torch.Tensor:
        count, side = (arguments.batch // 4, SIDE) if fine else (arguments.batch, SIDE // 2)
        loss = loss_of(coder, random_crops(atlas, generator, count, side, video))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    half = False
    if device.type == "cuda":
        for group in optimizer.param_groups:
            group["lr"] = 1e-5
        half, layout = fastest(step, model, video)
        reshape(model, layout)
    clock = Clock(arguments.seconds)
    while (share := clock.share) < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(arguments.rate, clock.steps, share, warmup=200, decay_from=0.5)
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = step(fine=share > FINE_FROM)
        average.update(clock.steps)
        clock.steps += 1
        if clock.steps % arguments.log_every == 0:
            print(
                f"{arguments.kind} {clock.steps} loss {loss.item():.4f} {clock.pace():.1f} ms/step",
                flush=True,
            )
    average.swap()
    save_parts({"vae": model}, arguments.out / f"{arguments.kind}-vae")
    report = measure(coder, atlas, video, arguments.seed, half, rounds=8 if device.type == "cuda" else 1)
    save_sheet(report.pop("last"), arguments.out / f"{arguments.kind}-vae.png")
    report |= {
        "steps": clock.steps,
        "seconds": arguments.seconds,
        "loss": loss.item(),
        "seed": arguments.seed,
    }
    (arguments.out / f"{arguments.kind}-vae.json").write_text(json.dumps(report, indent=2))
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("video", "image"))
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--log-every", type=int, default=100)
    parser.add_argument("--resume", type=Path, help="folder of an earlier run to start from")
    parser.add_argument("--atlas", type=Path, default=Path(".pebble/sprites.npz"))
    parser.add_argument("--out", type=Path, default=Path(".pebble/run"))
    train(parser.parse_args())
