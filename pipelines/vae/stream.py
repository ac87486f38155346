"""Decode a video and give its frames as they are ready, in memory that does not grow with its length."""

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from skipstone.declared import Positive, checked
from skipstone.notice import Notice
from skipstone.pipelines.vae.chunk_sizes import ChunkSizes
from skipstone.pipelines.vae.chunked import Chunked, Video, installed, outputs
from skipstone.pipelines.vae.device_memory import give_back
from skipstone.pipelines.vae.kept_plans import found
from skipstone.pipelines.vae.own_loop import why_as_written
from skipstone.pipelines.vae.own_loops import Loop, frames_of, loop_of
from skipstone.pipelines.vae.planner import Plan
from skipstone.pipelines.vae.side import Side, decoding
from skipstone.pipelines.vae.units import video_of, with_video
from skipstone.pipelines.vae.verdicts import OTHERWISE, TRIED, is_right, size_of


@checked
def stream_decode(
    vae: Any, latents: Tensor, chunk: Positive | None = None, **decode: Any
) -> Iterator[Tensor]:
    """Decode latents and give the frames as they are ready; together they are what decoding them whole gives.

    The memory does not grow with the length, but for keys and values where an attention sees all frames. No
    gradients are computed. Where the decoder cannot run in chunks, and for tiles that it blends over time,
    all frames come in one piece, and a warning says why.

    Source: the causal cache of WF-VAE, arXiv:2411.17459.
    Difference: as of `decode_in_chunks`.

    Args:
        vae: a video autoencoder of diffusers, or a pipeline that has one.
        latents: ``(batch, channels, frames, height, width)``, as its ``decode`` takes them.
        chunk: how many latent frames to decode at a time, from 1; None begins with one and goes on as
            `decode_in_chunks` does. An autoencoder with chunks of its own keeps these.
        decode: other arguments of its ``decode``, such as ``temb``.

    Returns:
        An iterator of frames, ``(batch, 3, frames, height, width)``.

    Raises:
        TypeError: there is no video autoencoder.
        ValueError: latents that are no videos, or a chunk below 1 or longer than they are.
    """
    side = decoding(vae)
    _check(latents, chunk)
    loop = loop_of(side.vae)
    if loop is not None:
        return _by_loop(side, loop, latents)
    trial = found(side)
    if trial.plan is None:
        return _whole(side, latents, decode, trial.why)
    return _Stream(side, trial.plan, trial.dropped, latents, decode).frames(ChunkSizes(chunk))


def _check(latents: Tensor, chunk: int | None) -> None:
    if latents.ndim != 5:
        shape = tuple(latents.shape)
        raise ValueError(
            f"latents must be (batch, channels, frames, height, width), got {shape}: give those of a video"
        )
    frames = latents.shape[2]
    if chunk is not None and chunk > frames:
        raise ValueError(f"chunk must be at most the {frames} latent frames that there are, got {chunk}")


@torch.no_grad()
def _by_loop(side: Side, loop: Loop, latents: Tensor) -> Iterator[Tensor]:
    why = why_as_written(side, loop, latents)
    if why is None:
        yield from frames_of(side.vae, loop, latents)
    else:
        yield from _whole(side, latents, {}, why)


@torch.no_grad()
def _whole(side: Side, latents: Tensor, decode: dict[str, Any], why: str) -> Iterator[Tensor]:
    name = type(side.vae).__name__
    warnings.warn(f"{name} gives all frames in one piece: {why}", Notice, stacklevel=2)
    yield side.run(latents, **decode)


class _Stream:
    """One video on its way through an autoencoder's own decode, chunk by chunk.

    The autoencoder is called with each chunk, so that what it does around its decoder stays as it is: to
    scale, to slice a batch, to divide into tiles and to blend them, to move its weights. Its decoder goes on
    with the video of each of the calls.

    Args:
        side: the side that decodes.
        plan: the units of the decoder's parts.
        dropped: how many frames the autoencoder drops from the beginning of what its decoder makes.
        latents: the video.
        decode: other arguments of decode.
    """

    def __init__(self, side: Side, plan: Plan, dropped: int, latents: Tensor, decode: dict[str, Any]) -> None:
        self._side = side
        self._plan = plan
        self._dropped = dropped
        self._latents = latents
        self._decode = decode

    @torch.no_grad()
    def frames(self, sizes: ChunkSizes) -> Iterator[Tensor]:
        """The frames, as they are ready."""
        with installed(self._side.coder, self._plan) as chunked:
            why = self._why_whole(chunked)
            if why is not None:
                yield from _whole(self._side, self._latents, self._decode, why)
                return
            given = 0
            while True:
                try:
                    for frames in self._after(given, chunked, sizes):
                        given += frames.shape[2]
                        yield frames
                    return
                except torch.OutOfMemoryError:
                    if not sizes.halve():
                        raise
                give_back()
                warnings.warn(sizes.notes[-1], Notice, stacklevel=2)

    def _after(self, given: int, chunked: Chunked, sizes: ChunkSizes) -> Iterator[Tensor]:
        """The frames after so many that were given before the memory did not suffice."""
        passes = _Passes(self._side, chunked, self._dropped, self._decode)
        for frames in passes.of(sizes.split(self._latents, self._side.step)):
            new = frames[:, :, min(given, frames.shape[2]) :]
            given -= frames.shape[2] - new.shape[2]
            if new.shape[2]:
                yield new

    def _why_whole(self, chunked: Chunked) -> str | None:
        vae = self._side.vae
        if getattr(vae, "use_framewise_decoding", False):
            return "it blends tiles over time"
        is_sliced = getattr(vae, "use_slicing", False) and len(self._latents) > 1
        if chunked.looks_ahead and (is_sliced or getattr(vae, "use_tiling", False)):
            return "slices and tiles of a decoder that looks ahead are not ready at the same time"
        few = self._latents[:1, :, :TRIED]

        def ours() -> Tensor:
            passes = _Passes(self._side, chunked, self._dropped, self._decode)
            return torch.cat(list(passes.of(torch.split(few, 1, dim=2))), dim=2)

        def whole() -> Tensor:
            with chunked.instead(chunked.forward):
                made: Tensor = self._side.run(few, **self._decode)
                return made

        size = size_of(self._side.kind, few, "stream", *self._decode.values())
        return None if is_right(size, ours, whole) else OTHERWISE


class _Passes:
    """Call an autoencoder's decode with chunks of latents.

    Args:
        side: the side that decodes.
        chunked: its decoder.
        dropped: how many frames the autoencoder drops of each call.
        decode: other arguments of decode.
    """

    def __init__(self, side: Side, chunked: Chunked, dropped: int, decode: dict[str, Any]) -> None:
        self._side = side
        self._chunked = chunked
        self._dropped = dropped
        self._decode = decode
        self._videos = [Video()]
        self._begun: set[int] = set()
        self._call = 0

    def of(self, chunks: Iterator[Tensor] | tuple[Tensor, ...]) -> Iterator[Tensor]:
        """The frames of the chunks of a video."""
        return outputs(self._videos[0], chunks, self._give)

    def _give(self, chunk: Tensor) -> Tensor:
        self._call = 0
        with self._chunked.instead(self._run):
            frames: Tensor = self._side.run(chunk, **self._decode)
            return frames

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        """A call of the decoder, which goes on with one of the videos."""
        number, self._call = self._call, self._call + 1
        if number == len(self._videos):
            self._videos.append(Video())
        output = self._chunked.pass_of(self._videos[number], *args, **kwargs)
        if number in self._begun and self._dropped:
            frames = video_of(output)
            gone = frames[:, :, :1].expand(-1, -1, self._dropped, -1, -1)
            output = with_video(output, torch.cat([gone, frames], dim=2))
        self._begun.add(number)
        return output
