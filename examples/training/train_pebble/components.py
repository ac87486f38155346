"""How well a linear autoencoder could do: PSNR of the principal components of blocks of clips."""

import argparse
from pathlib import Path

import torch
from scenes import clip_times, draw_batch, load_atlas, render
from torch import Tensor


def blocks(clips: Tensor, side: int, frames: int) -> Tensor:
    """Clips cut into blocks of ``side x side`` pixels and ``frames`` frames, one a row."""
    count, channels, length, height, width = clips.shape
    cut = clips.reshape(count, channels, length // frames, frames, height // side, side, width // side, side)
    return cut.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(0, 3)


def psnr_of_components(rows: Tensor, counts: list[int]) -> dict[int, float]:
    """PSNR in dB of the rows projected onto their first principal components; values are in [-1, 1]."""
    centred = rows.double() - rows.double().mean(0)
    energies = torch.linalg.eigvalsh(centred.T @ centred / len(centred)).flip(0)
    errors = {count: energies[count:].sum() / rows.shape[1] / 4 for count in counts}
    return {count: round(float(-10 * error.log10()), 2) for count, error in errors.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--atlas", type=Path, default=Path(".pebble/sprites.npz"))
    arguments = parser.parse_args()
    device = torch.device("cpu")
    atlas, names = load_atlas(arguments.atlas, device)
    scenes = draw_batch(arguments.scenes, len(names), torch.Generator().manual_seed(0))
    clips = render(scenes, atlas, clip_times(arguments.scenes, device))[:, :, 1:]
    for side, frames, counts in ((8, 4, [16, 32, 64]), (4, 4, [8, 16, 32]), (4, 1, [8])):
        print(
            f"{side} x {side} pixels, {frames} frames:",
            psnr_of_components(blocks(clips, side, frames), counts),
        )
