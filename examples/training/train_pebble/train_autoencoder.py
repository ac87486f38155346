"""Train the video or the image autoencoder on freshly drawn scenes for a given time."""

import argparse
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderKLWan
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from models import image_autoencoder, video_autoencoder
from motions import CLIP, STILL
from PIL import Image
from restoring import load_parts
from scenes import FRAMES, SIDE, clip_times, draw, draw_batch, load_atlas, pixel_grid, render
from torch import Tensor, nn
from training import Average, Clock, Optimizer, learning_rate, recorded, save_parts
from whole_clip import WholeClip

KL_WEIGHT = 3e-5

Autoencoder = AutoencoderKL | AutoencoderKLWan
Encode = Callable[[Tensor], DiagonalGaussianDistribution]
Decode = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor], Tensor]


def random_stills(atlas: Tensor, generator: torch.Generator, count: int) -> Tensor:
    """One frame each of random scenes, at any time of theirs: clips of one frame."""
    times = torch.rand(count, 1, device=atlas.device, generator=generator)
    return render(draw_batch(count, len(atlas), generator), atlas, times)


def random_clips(
    atlas: Tensor, generator: torch.Generator, count: int, side: int = SIDE, frames: int = FRAMES
) -> Tensor:
    """Random windows of random scenes: with small ones a step sees many scenes."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(count, *shape, device=atlas.device, generator=generator)

    first = (uniform(1) * (FRAMES - frames + 1)).long()
    rows = first + torch.arange(frames, device=atlas.device)
    times = clip_times(count, atlas.device).gather(1, rows)
    corners = (uniform(2) * (SIDE - side + 1)).floor()
    return draw(draw_batch(count, len(atlas), generator), atlas, times, pixel_grid(corners, side))


def edges(picture: Tensor) -> list[Tensor]:
    """Differences of neighbours along width, height and, where there is more than one frame, time."""
    return [picture.diff(dim=axis) for axis in (-1, -2, -3) if picture.shape[axis] > 1]


def reconstruction_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Absolute error of the pixels and of their differences, so that edges stay crisp."""
    sharpness = sum(F.l1_loss(a, b) for a, b in zip(edges(made), edges(wanted), strict=True))
    return F.l1_loss(made, wanted) + sharpness


class Stills:
    """The image autoencoder behind the same two methods as `WholeClip`, on clips of one frame."""

    def __init__(self, autoencoder: AutoencoderKL, precision: torch.dtype) -> None:
        self.autoencoder = autoencoder
        self._cast = partial(torch.autocast, autoencoder.device.type, precision)

    def encode(self, clips: Tensor) -> DiagonalGaussianDistribution:
        with self._cast():
            return self.autoencoder.encode(clips[:, :, 0]).latent_dist

    def decode(self, latents: Tensor) -> Tensor:
        with self._cast():
            return self.autoencoder.decode(latents).sample[:, :, None]


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


def hidden_weights(model: Autoencoder) -> list[nn.Parameter]:
    """The weights of the convolutions between the first and the last ones."""
    ends = {model.encoder.conv_in, model.decoder.conv_out}
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Conv3d)]
    return [
        layer.weight
        for layer in layers
        if layer not in ends and layer.out_channels <= layer.weight[0].numel()
    ]


def optimizer_of(model: Autoencoder) -> Optimizer:
    hidden = hidden_weights(model)
    chosen = {id(weight) for weight in hidden}
    others = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    return Optimizer(others, (0.9, 0.99), 1e-4, hidden)


def loss_with(encode: Encode, decode: Decode) -> Loss:
    """Reconstruction from a sampled latent, plus a slight pull of the latents to a normal law."""

    def loss_of(clips: Tensor) -> Tensor:
        posterior = encode(clips)
        made = decode(posterior.sample()).float()
        divergence = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).float().mean()
        return reconstruction_loss(made, clips) + KL_WEIGHT * divergence

    return loss_of


@torch.no_grad()
def measure(
    coder: WholeClip | Stills, atlas: Tensor, video: bool, seed: int, rounds: int
) -> dict[str, object]:
    """Latent statistics and PSNR over whole clips that no training step has seen."""
    generator = torch.Generator(atlas.device).manual_seed(seed + 1)
    latents, errors = [], []
    for _ in range(rounds):
        batch = draw_batch(32, len(atlas), generator)
        times = clip_times(32, atlas.device, FRAMES if video else 1)
        clips = render(batch, atlas, times, CLIP if video else STILL)
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


def save_sheet(pairs: Tensor, target: Path) -> None:
    """Each original above its reconstruction; a clip shows every eighth frame."""
    rows = pairs[:, :, :, ::8].permute(0, 1, 4, 3, 5, 2)
    height, width = math.prod(rows.shape[:3]), math.prod(rows.shape[3:5])
    pixels = ((rows + 1) * 127.5).clamp(0, 255).byte().reshape(height, width, 3)
    Image.fromarray(np.asarray(pixels.cpu())).save(target)


def in_last_channels(model: Autoencoder) -> None:
    """Put the convolution weights into the memory layout that tensor cores read."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def new_model(arguments: argparse.Namespace) -> Autoencoder:
    """A fresh network, or the one of an earlier run."""
    model = video_autoencoder() if arguments.kind == "video" else image_autoencoder()
    if arguments.resume:
        load_parts({"vae": model}, arguments.resume / f"{arguments.kind}-vae")
    else:
        initialise(model)
        quieten(model)
    model.to(arguments.device)
    in_last_channels(model)
    return model


def train(arguments: argparse.Namespace) -> None:
    torch.manual_seed(arguments.seed)
    device, video = torch.device(arguments.device), arguments.kind == "video"
    atlas, _ = load_atlas(arguments.atlas, device)
    generator = torch.Generator(device).manual_seed(arguments.seed)
    model = new_model(arguments)
    coder = WholeClip(model, torch.bfloat16) if video else Stills(model, torch.bfloat16)
    optimizer, average = optimizer_of(model), Average({"vae": model}, 0.998)
    loss_of = loss_with(coder.encode, coder.decode)

    def update(clips: Tensor) -> Tensor:
        return optimizer.step(loss_of(clips))

    window = {"side": arguments.side, "frames": arguments.frames} if video else {}
    new_batch = partial(random_clips if video else random_stills, atlas, generator, arguments.batch, **window)
    clock = Clock(arguments.seconds)
    step = recorded(update, [new_batch()])
    while (share := clock.share) < 1 and clock.steps < arguments.max_steps:
        rate = learning_rate(arguments.rate, clock.steps, share, warmup=200, decay_from=0.5)
        optimizer.rate.fill_(rate)
        loss = step(new_batch())
        average.update(clock.steps)
        clock.steps += 1
        if clock.steps % arguments.log_every == 0:
            print(
                f"{arguments.kind} {clock.steps} loss {loss.item():.4f} {clock.pace():.1f} ms/step",
                flush=True,
            )
    average.swap()
    save_parts({"vae": model}, arguments.out / f"{arguments.kind}-vae")
    report = measure(coder, atlas, video, arguments.seed, rounds=8 if device.type == "cuda" else 1)
    save_sheet(report.pop("last"), arguments.out / f"{arguments.kind}-vae.png")
    settings = {
        key: getattr(arguments, key) for key in ("seconds", "batch", "side", "frames", "rate", "seed")
    }
    report |= settings | {"steps": clock.steps}
    (arguments.out / f"{arguments.kind}-vae.json").write_text(json.dumps(report, indent=2))
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("video", "image"))
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--batch", type=int, default=4, help="clips or stills a step")
    parser.add_argument("--side", type=int, default=SIDE, help="of the windows of clips, in pixels")
    parser.add_argument("--frames", type=int, default=FRAMES, help="of the windows of clips")
    parser.add_argument("--rate", type=float, default=7e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--log-every", type=int, default=100)
    parser.add_argument("--max-steps", type=int, default=10**9)
    parser.add_argument("--resume", type=Path, help="folder of an earlier run to start from")
    parser.add_argument("--atlas", type=Path, default=Path(".pebble/sprites.npz"))
    parser.add_argument("--out", type=Path, default=Path(".pebble/run"))
    train(parser.parse_args())
