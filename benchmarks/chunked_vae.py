"""Time and memory of decoding whole, in tiles and in chunks, for autoencoders of full size, in JSON rows.

Weights are random: time and memory are right, pictures mean nothing. Errors are relative to the whole decode,
where that fits. Rows are printed as they are measured.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diffusers
import torch
from machine import about
from torch import Tensor

import skipstone
from skipstone.metrics.media import pixels_of
from skipstone.metrics.mp4 import Mp4
from skipstone.pipelines.vae.kept_plans import found
from skipstone.pipelines.vae.own_loops import loop_of
from skipstone.pipelines.vae.side import decoding

Row = dict[str, Any]

FEW = 3
"""The latent frames of a decode that warms up."""

LENGTHS = (25, 50)
"""Latent frames, to see how the peak grows with the length."""


@dataclass(frozen=True)
class Model:
    """One autoencoder and one video.

    Args:
        makes: the video, for people.
        kind: the class in diffusers.
        latents: their shape.
        chunks: the chunks that are tried; None for as many as fit.
        settings: what its configuration has that is not the default.
        is_tiled: whether diffusers has tiles for it that work.
        parts: what is measured where nothing is asked for.
    """

    makes: str
    kind: str
    latents: tuple[int, ...]
    chunks: tuple[int | None, ...] = (1, 2, None)
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_tiled: bool = True
    parts: tuple[str, ...] = ("ways", "rounding")


LONG = ("ways", "lengths", "rounding")

MODELS = {
    "cosmos": Model(
        "1280 x 704, 121 frames", "AutoencoderKLCosmos", (1, 16, 16, 88, 160), is_tiled=False, parts=LONG
    ),
    "ltx-2": Model(
        "1280 x 704, 481 frames", "AutoencoderKLLTX2Video", (1, 128, 61, 22, 40), (2, 4, None),
        {"decoder_causal": False}, parts=LONG,
    ),
    "wan": Model(
        "832 x 480, 257 frames", "AutoencoderKLWan", (1, 16, 65, 60, 104), (None,), is_tiled=False,
        parts=("ways", "mp4", "lengths"),
    ),
    "mochi": Model("848 x 480, 163 frames", "AutoencoderKLMochi", (1, 12, 28, 60, 106)),
    "hunyuan-1.5": Model(
        "1280 x 720, 121 frames", "AutoencoderKLHunyuanVideo15", (1, 32, 31, 45, 80), (1, 2)
    ),
    "hunyuan-1.5-480p": Model(
        "848 x 480, 121 frames", "AutoencoderKLHunyuanVideo15", (1, 32, 31, 30, 53), (1,),
        parts=("ways", "lengths"),
    ),
}  # fmt: skip

PARTS = ("ways", "lengths", "mp4", "rounding")


class Bench:
    """Measure one model.

    Args:
        model: the model.
        device: ``cuda`` or ``cpu``.
        tiny: whether to decode tiny videos, to try the program out.
    """

    def __init__(self, model: Model, device: str, tiny: bool) -> None:
        self._model = model
        self._device = device
        self._tiny = tiny
        self._vae = made(model, device)

    def rows(self, parts: tuple[str, ...]) -> Iterator[Row]:
        """A row for each thing that is measured."""
        yield from self._trial()
        measures: dict[str, Callable[[], Iterator[Row]]] = {
            "ways": self._ways, "lengths": self._lengths, "mp4": self._mp4, "rounding": self._rounding,
        }  # fmt: skip
        for part in parts:
            for row in measures[part]():
                yield {"part": part, **row}

    def _trial(self) -> Iterator[Row]:
        """The plan, where it has to be found."""
        side = decoding(self._vae)
        if loop_of(self._vae) is None:
            begin = time.perf_counter()
            plan = found(side).plan or {}
            seconds = round(time.perf_counter() - begin, 1)
            yield {"part": "trial", "units": len(plan), "seconds": seconds}

    def _ways(self) -> Iterator[Row]:
        """Decoding whole, in tiles and in chunks."""
        latents = self._latents(self._model.latents[2])
        whole, row = self._decode(latents)
        yield {"way": "whole", **row}
        if self._model.is_tiled:
            self._vae.enable_tiling()
            tiled, row = self._decode(latents)
            yield {"way": "tiles", **row, "error": _error(tiled, whole)}
            self._vae.disable_tiling()
        for chunk in self._model.chunks:
            with skipstone.decode_in_chunks(self._vae, chunk) as handle:
                video, row = self._decode(latents)
                way = f"chunks of {chunk}" if chunk else "chunks that fit"
                yield {"way": way, **row, "error": _error(video, whole), "decode": str(handle.last_call)}

    def _lengths(self) -> Iterator[Row]:
        """The peak of a stream for two lengths; frames leave the device as they come."""
        for length in LENGTHS:
            self._stream(self._latents(FEW), 1)
            row = self._guarded(lambda length=length: self._stream(self._latents(length), 1))
            yield {"latents": length, **row[1]}

    def _mp4(self) -> Iterator[Row]:
        """To a file: decode and then write, or write while frames come."""
        latents = self._latents(self._model.latents[2])
        with TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            self._decode(latents[:, :, :FEW])
            yield {"way": "decode, then write", **self._guarded(lambda: self._then_written(latents, path))[1]}
            self._stream(latents[:, :, :FEW], None)
            first, row = self._guarded(lambda: self._written_as_it_comes(latents, path))
            yield {"way": "write as frames come", **row, "seconds_to_first_frames": first}

    def _rounding(self) -> Iterator[Row]:
        """How far bfloat16 takes a small video from float32, whole and in chunks."""
        small = self._latents(7)[..., :8, :8]
        in_bf16 = self._decoded(small)
        with skipstone.decode_in_chunks(self._vae, 1):
            chunked = self._decoded(small)
        self._vae.float()
        exact = self._decoded(small.float())
        with skipstone.decode_in_chunks(self._vae, 1):
            exact_chunked = self._decoded(small.float())
        self._vae.bfloat16()
        yield {
            "whole_to_float32": _error(in_bf16, exact), "chunks_to_float32": _error(chunked, exact),
            "chunks_to_whole": _error(chunked, in_bf16), "in_float32": _error(exact_chunked, exact),
        }  # fmt: skip

    def _then_written(self, latents: Tensor, path: Path) -> None:
        video = self._decoded(latents)
        with Mp4(path, fps=16) as file:
            file.append(_pixels(video))

    def _written_as_it_comes(self, latents: Tensor, path: Path) -> float:
        begin, first = time.perf_counter(), 0.0
        with Mp4(path, fps=16) as file:
            for frames in skipstone.stream_decode(self._vae, latents):
                file.append(_pixels(frames))
                first = first or round(time.perf_counter() - begin, 3)
        return first

    def _stream(self, latents: Tensor, chunk: int | None) -> None:
        for frames in skipstone.stream_decode(self._vae, latents, chunk):
            frames.cpu()

    def _decode(self, latents: Tensor) -> tuple[Tensor | None, Row]:
        """The video on the CPU, and what it took after a shorter decode of the same size."""
        self._guarded(lambda: self._decoded(latents[:, :, :FEW]))
        return self._guarded(lambda: self._decoded(latents))

    def _decoded(self, latents: Tensor) -> Tensor:
        with torch.no_grad():
            video: Tensor = self._vae.decode(latents, return_dict=False)[0]
            return video.cpu()

    def _guarded(self, run: Callable[[], Any]) -> tuple[Any, Row]:
        """What a run gives, its time and its peak; a row that says so where memory does not suffice."""
        gc.collect()
        if self._device == "cuda":
            torch.cuda.empty_cache()
        peak, result, problem = Peak(self._device), None, None
        begin = time.perf_counter()
        try:
            with peak:
                result = run()
        except torch.OutOfMemoryError:
            problem = "out of memory"
        except RuntimeError as error:  # Convolutions refuse tensors that are too large.
            problem = str(error).partition("\n")[0][:100]
        seconds = round(time.perf_counter() - begin, 3)
        if problem:
            return None, {"problem": problem, "seconds": None, "peak_gib": None}
        return result, {"seconds": seconds, "peak_gib": peak.gib}

    def _latents(self, frames: int) -> Tensor:
        batch, channels, _, height, width = self._model.latents
        frames, height, width = (min(frames, 5), 2, 2) if self._tiny else (frames, height, width)
        noise = torch.Generator().manual_seed(0)
        latents = torch.randn(batch, channels, frames, height, width, generator=noise)
        return latents.to(self._device, torch.bfloat16)


class Peak:
    """The peak of a device's memory, above what was in use before; runs inside may measure peaks, too."""

    def __init__(self, device: str) -> None:
        self._is_cuda = device == "cuda"
        self._most = 0

    def __enter__(self) -> None:
        if self._is_cuda:
            self._reset = torch.cuda.reset_peak_memory_stats
            torch.cuda.reset_peak_memory_stats = self._note_and_reset  # type: ignore[assignment]
            self._before = torch.cuda.memory_allocated()
            self._reset()

    def __exit__(self, *_: object) -> None:
        if self._is_cuda:
            self._most = max(self._most, torch.cuda.max_memory_allocated())
            torch.cuda.reset_peak_memory_stats = self._reset

    @property
    def gib(self) -> float | None:
        return round((self._most - self._before) / 2**30, 2) if self._is_cuda else None

    def _note_and_reset(self, *device: Any) -> None:
        self._most = max(self._most, torch.cuda.max_memory_allocated())
        self._reset(*device)


def made(model: Model, device: str) -> Any:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    torch.manual_seed(0)
    with torch.device(device):
        vae = getattr(diffusers, model.kind)(**model.settings).eval().requires_grad_(False)
    torch.set_default_dtype(before)
    return vae


def _pixels(frames: Tensor) -> Any:
    return pixels_of((frames[0].permute(1, 2, 3, 0) + 1) / 2, 1)


def _error(video: Tensor | None, whole: Tensor | None) -> float | None:
    if video is None or whole is None:
        return None
    return float((video.float() - whole.float()).norm() / whole.float().norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=tuple(MODELS), default=list(MODELS))
    parser.add_argument("--parts", nargs="+", choices=PARTS, help="by default those that suit the model")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small videos, to try the program out")
    parser.add_argument("--rows", type=Path, required=True, help="a file to add the rows to")
    asked = parser.parse_args()
    with asked.rows.open("a") as file:
        for name in asked.models:
            model = MODELS[name]
            for row in Bench(model, asked.device, asked.tiny).rows(tuple(asked.parts or model.parts)):
                facts = {"model": name, "kind": model.kind, "makes": model.makes}
                line = json.dumps({**facts, **row, **about(asked.device)})
                print(line, file=file, flush=True)
                print(line, flush=True)


if __name__ == "__main__":
    main()
