"""Time and memory of decoding whole, in tiles and in chunks, for autoencoders of full size, in JSON rows.

Weights are random: time and memory are right, pictures mean nothing. Errors are relative to the whole decode,
where that fits.
"""

import argparse
import gc
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from machine import about
from torch import Tensor

import skipstone


@dataclass(frozen=True)
class Size:
    """One autoencoder and one video.

    Args:
        makes: the video, for people.
        kind: the class in diffusers; its configuration is the default one.
        latents: their shape.
    """

    makes: str
    kind: str
    latents: tuple[int, ...]


SIZES = {
    "hunyuan-1.5-480p": Size("848 x 480, 121 frames", "AutoencoderKLHunyuanVideo15", (1, 32, 31, 30, 53)),
    "hunyuan-1.5-720p": Size("1280 x 720, 121 frames", "AutoencoderKLHunyuanVideo15", (1, 32, 31, 45, 80)),
    "mochi": Size("848 x 480, 163 frames", "AutoencoderKLMochi", (1, 12, 28, 60, 106)),
    "cosmos": Size("1280 x 704, 121 frames", "AutoencoderKLCosmos", (1, 16, 16, 88, 160)),
}


def rows(size: Size, device: str, tiny: bool) -> Iterator[dict[str, Any]]:
    """A row for each way to decode."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        vae = getattr(diffusers, size.kind)().eval().requires_grad_(False)
    torch.set_default_dtype(before)
    shape = (*size.latents[:2], 3, 2, 2) if tiny else size.latents
    latents = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(device, torch.bfloat16)
    whole, row = _decoded(vae, latents, device)
    yield {"way": "whole", **row}
    for chunk in (1, 2):
        begin = time.perf_counter()
        with skipstone.decode_in_chunks(vae, chunk) as handle:
            trial = time.perf_counter() - begin
            video, row = _decoded(vae, latents, device)
            again, row = _decoded(vae, latents, device)
        del again
        yield {
            "way": f"chunks of {chunk}", **row, "trial_seconds": round(trial, 2),
            "error": _error(video, whole), "decode": str(handle.last_call),
        }  # fmt: skip
    vae.enable_tiling()
    video, row = _decoded(vae, latents, device)
    yield {"way": "tiles", **row, "error": _error(video, whole)}


def _decoded(vae: Any, latents: Tensor, device: str) -> tuple[Tensor | None, dict[str, Any]]:
    """The video on the CPU, and what it took; without a video where memory did not suffice."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    begin = time.perf_counter()
    try:
        with torch.no_grad():
            video = vae.decode(latents).sample.cpu()
    except torch.OutOfMemoryError:
        return None, {"seconds": None, "peak_gib": None}
    seconds = time.perf_counter() - begin
    peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None
    return video, {"seconds": round(seconds, 3), "peak_gib": None if peak is None else round(peak, 2)}


def _error(video: Tensor | None, whole: Tensor | None) -> float | None:
    if video is None or whole is None:
        return None
    return float((video.float() - whole.float()).norm() / whole.float().norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="+", choices=tuple(SIZES))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small videos, to try the program out")
    parser.add_argument("--rows", type=Path, required=True, help="a file to add the rows to")
    asked = parser.parse_args()
    with asked.rows.open("a") as file:
        for name in asked.sizes:
            size = SIZES[name]
            for row in rows(size, asked.device, asked.tiny):
                facts = {"size": name, "kind": size.kind, "makes": size.makes}
                line = json.dumps({**facts, **row, **about(asked.device)})
                print(line, file=file, flush=True)
                print(line, flush=True)


if __name__ == "__main__":
    main()
