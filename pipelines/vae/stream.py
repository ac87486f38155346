"""Decode a video and give its frames as they are ready, in memory that does not grow with its length."""

import warnings
from collections.abc import Callable, Generator, Hashable, Iterator
from typing import Any

import torch
from torch import Tensor

from skipstone.declared import Positive, checked
from skipstone.notice import Notice
from skipstone.pipelines.vae.chunk_sizes import ChunkSizes
from skipstone.pipelines.vae.chunked import LOST, Chunked, Video, installed, outputs
from skipstone.pipelines.vae.device_memory import give_back
from skipstone.pipelines.vae.kept_plans import Found, found
from skipstone.pipelines.vae.own_loop import why_as_written
from skipstone.pipelines.vae.own_loops import Loop, frames_of, loop_of
from skipstone.pipelines.vae.side import Side, decoding
from skipstone.pipelines.vae.units import LostPartError, video_of, with_video
from skipstone.pipelines.vae.verdicts import OTHERWISE, TRIED, is_right, size_of

CHANGED = "tiling or slicing was changed while a video is streamed; change it before the stream"
"""Why a stream ends."""

Run = Callable[[Tensor], Tensor]
"""Decodes latents as the user does."""


@checked
def stream_decode(
    vae: Any, latents: Tensor, chunk: Positive | None = None, **decode: Any
) -> Iterator[Tensor]:
    """Decode latents and give the frames as they are ready; together they are what decoding them whole gives.

    The memory of the device does not grow with the length: where an attention sees all frames, keys and
    values wait in the host's memory, if it is a CUDA device. No gradients are computed. Where the decoder
    cannot run in chunks, and for tiles that it blends over time, all frames come in one piece, and a warning
    says why.

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
        RuntimeError: while frames are given, the decoder was changed, or tiling or slicing.
    """
    return stream_call(vae, chunk, latents, (), decode)


def stream_call(
    vae: Any, chunk: int | None, latents: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[Tensor]:
    """What `stream_decode` does, for a call of decode with these other arguments."""
    side = decoding(vae)
    _check(latents, chunk)

    def run(latents: Tensor) -> Tensor:
        frames: Tensor = side.run(latents, *args, **kwargs)
        return frames

    loop = loop_of(side.vae)
    if loop is not None:
        return _by_loop(side, loop, latents, run)
    trial = found(side)
    if trial.plan is None:
        return _whole(side, latents, run, trial.why)
    size = size_of(side.kind, latents, "stream", *args, *kwargs.values())
    return _Stream(side, trial, latents, run, size).frames(ChunkSizes(chunk))


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
def _by_loop(side: Side, loop: Loop, latents: Tensor, run: Run) -> Iterator[Tensor]:
    why = why_as_written(side, loop, latents)
    if why is None:
        yield from frames_of(side.vae, loop, latents)
    else:
        yield from _whole(side, latents, run, why)


@torch.no_grad()
def _whole(side: Side, latents: Tensor, run: Run, why: str) -> Iterator[Tensor]:
    name = type(side.vae).__name__
    warnings.warn(f"{name} gives all frames in one piece: {why}", Notice, stacklevel=2)
    yield run(latents)


class _Stream:
    """One video on its way through an autoencoder's own decode, chunk by chunk.

    The autoencoder is called with each chunk, so that what it does around its decoder stays as it is: to
    scale, to slice a batch, to divide into tiles and to blend them, to move its weights. Its decoder goes on
    with the video of each of the calls.

    Args:
        side: the side that decodes.
        trial: what its trial has shown.
        latents: the video.
        run: decodes latents as the user does.
        size: what a verdict on chunks of this size holds for.
    """

    def __init__(self, side: Side, trial: Found, latents: Tensor, run: Run, size: Hashable) -> None:
        self._side = side
        self._plan = trial.plan or {}
        self._dropped = trial.dropped
        self._latents = latents
        self._run = run
        self._size = size

    @torch.no_grad()
    def frames(self, sizes: ChunkSizes) -> Iterator[Tensor]:
        """The frames, as they are ready."""
        with installed(self._side.coder, self._plan) as chunked:
            why = self._why_whole(chunked)
            if why is None:
                why = yield from self._in_chunks(chunked, sizes)
            if why is not None:
                yield from _whole(self._side, self._latents, self._run, why)

    def _in_chunks(self, chunked: Chunked, sizes: ChunkSizes) -> Generator[Tensor, None, str | None]:
        """The frames chunk by chunk; returns why there are none, where chunks would be wrong."""
        given = 0
        while True:
            try:
                for frames in self._after(given, chunked, sizes):
                    given += frames.shape[2]
                    yield frames
                return None
            except LostPartError as lost:
                if given:
                    raise
                return str(lost)
            except torch.OutOfMemoryError:
                if not sizes.halve():
                    raise
            give_back()
            warnings.warn(sizes.notes[-1], Notice, stacklevel=2)

    def _after(self, given: int, chunked: Chunked, sizes: ChunkSizes) -> Iterator[Tensor]:
        """The frames after so many that were given before the memory did not suffice."""
        passes = _Passes(self._run, chunked, self._dropped)
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
        few = self._latents[:, :, :TRIED]

        def ours() -> Tensor:
            passes = _Passes(self._run, chunked, self._dropped)
            return torch.cat(list(passes.of(torch.split(few, 1, dim=2))), dim=2)

        def whole() -> Tensor:
            with chunked.instead(chunked.forward):
                return self._run(few)

        try:
            return None if is_right(self._size, ours, whole) else OTHERWISE
        except LostPartError as lost:
            return str(lost)


class _Passes:
    """Call an autoencoder's decode with chunks of latents.

    Args:
        decode: decodes latents as the user does.
        chunked: the decoder.
        dropped: how many frames the autoencoder drops of each call.
    """

    def __init__(self, decode: Run, chunked: Chunked, dropped: int) -> None:
        self._decode = decode
        self._chunked = chunked
        self._dropped = dropped
        self._videos = [Video()]
        self._begun: set[int] = set()
        self._first: list[tuple[int, ...]] = []
        self._calls: list[tuple[int, ...]] = []

    def of(self, chunks: Iterator[Tensor] | tuple[Tensor, ...]) -> Iterator[Tensor]:
        """The frames of the chunks of a video."""
        return outputs(self._videos[0], chunks, self._give)

    def _give(self, chunk: Tensor) -> Tensor:
        self._calls = []
        try:
            with self._chunked.instead(self._run):
                frames = self._decode(chunk)
        finally:
            self._first = self._first or self._calls
        if not self._calls:
            raise LostPartError(LOST.format("the decoder"))
        if self._calls != self._first:
            raise RuntimeError(CHANGED)
        return frames

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        """A call of the decoder, which goes on with one of the videos."""
        number, (video, *_) = len(self._calls), args
        # All but the frames: tiles and slices are smaller.
        self._calls.append((*video.shape[:2], *video.shape[3:]))
        if self._first and self._calls != self._first[: number + 1]:
            raise RuntimeError(CHANGED)
        if number == len(self._videos):
            self._videos.append(Video())
        output = self._chunked.pass_of(self._videos[number], *args, **kwargs)
        if number in self._begun and self._dropped:
            frames = video_of(output)
            gone = frames[:, :, :1].expand(-1, -1, self._dropped, -1, -1)
            output = with_video(output, torch.cat([gone, frames], dim=2))
        self._begun.add(number)
        return output
