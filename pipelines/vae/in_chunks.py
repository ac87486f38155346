"""Decode and encode videos in chunks of latent frames, exactly as if whole and in constant memory."""

import warnings
import weakref
from collections.abc import Hashable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.declared import Positive, checked
from skipstone.notice import Notice
from skipstone.pipelines.vae.chunk_sizes import ChunkSizes, halving
from skipstone.pipelines.vae.chunked import Video, installed, outputs
from skipstone.pipelines.vae.handle import AsWritten, ChunkStats, InChunks
from skipstone.pipelines.vae.kept_plans import Found, found
from skipstone.pipelines.vae.own_loop import OwnLoop
from skipstone.pipelines.vae.own_loops import loop_of
from skipstone.pipelines.vae.side import Side, autoencoder_of, decoding, encoding
from skipstone.pipelines.vae.units import LostPartError, video_of, with_video
from skipstone.pipelines.vae.verdicts import OTHERWISE, TRIED, is_right, size_of

_chunked: "weakref.WeakSet[nn.Module]" = weakref.WeakSet()
"""The decoders and encoders that run in chunks."""


@checked
def decode_in_chunks(vae: Any, chunk: Positive | None = None) -> InChunks:
    """Decode videos a few latent frames at a time, with the result of decoding them whole.

    What its parts must remember of earlier frames is found by a trial on small latents, which runs a copy of
    the decoder in float64, once: the plan is kept in the user's cache folder. The first decode of each size
    is compared with a whole one of two latent frames; if they differ, videos of that size are decoded whole.
    A decoder that compiled is run uncompiled.

    Source: the causal cache of WF-VAE, arXiv:2411.17459.
    Difference: it is found by trial for decoders that were not made for it, and holds for attention and for
    parts that look ahead, too. An autoencoder with chunks of its own keeps these, and what it remembers
    belongs to the decode.

    Args:
        vae: a video autoencoder of diffusers, or a pipeline that has one.
        chunk: how many latent frames to decode at a time, from 1; None for 2 on a CPU, and for as many as fit
            the free memory, up to 8, on a CUDA device. Where they do not fit, half as many are taken.

    Returns:
        A handle with what the last call was like. As a context manager it restores the autoencoder. Where no
        chunks can give the whole, videos are decoded as before, and a warning says which part is why.

    Raises:
        TypeError: there is no video autoencoder.
        ValueError: a chunk below 1, or it runs in chunks already.
    """
    side = decoding(vae)
    _refuse(side)
    loop = loop_of(side.vae)
    return _only(side, _in_chunks(side, chunk) if loop is None else OwnLoop(side, loop))


@checked
def encode_in_chunks(vae: Any, chunk: Positive | None = None) -> InChunks:
    """Encode videos a few latent frames at a time, with the result of encoding them whole.

    As of `decode_in_chunks`. A video whose length is not one more than a multiple of the autoencoder's
    temporal compression is encoded whole.

    Args:
        vae: a video autoencoder of diffusers, or a pipeline that has one.
        chunk: how many latent frames to make at a time, as of `decode_in_chunks`.

    Returns:
        A handle with what the last call was like. As a context manager it restores the autoencoder.

    Raises:
        TypeError: there is no video autoencoder, or it does not say how much it compresses.
        ValueError: as of `decode_in_chunks`.
    """
    with_loop = autoencoder_of(vae, "encoder")
    if loop_of(with_loop) is not None:
        return AsWritten(with_loop.encoder, "it encodes in chunks by itself")
    side = encoding(vae)
    _refuse(side)
    return _only(side, _in_chunks(side, chunk))


def _only(side: Side, handle: InChunks) -> InChunks:
    """Note that a side runs in chunks, until the handle is removed."""
    _chunked.add(side.coder)
    handle.when_removed(lambda: _chunked.discard(side.coder))
    return handle


def _refuse(side: Side) -> None:
    if side.coder in _chunked:
        raise ValueError(f"{type(side.vae).__name__} runs in chunks already; remove() that first")


def _in_chunks(side: Side, chunk: int | None) -> InChunks:
    trial = found(side)
    if trial.plan is None:
        name = type(side.vae).__name__
        warnings.warn(f"{name} cannot {side.name} in chunks: {trial.why}", Notice, stacklevel=4)
        return AsWritten(side.coder, trial.why)
    return CoderInChunks(side, trial, chunk)


class CoderInChunks(InChunks):
    """A decoder or an encoder that runs in chunks, until `remove`.

    Args:
        side: it.
        trial: what its trial has shown.
        chunk: how many latent frames to run at a time; None for as many as fit.
    """

    def __init__(self, side: Side, trial: Found, chunk: int | None) -> None:
        super().__init__()
        self._side = side
        self._notes = trial.notes
        self._asked = chunk
        self._most: dict[Hashable, int] = {}
        assert trial.plan is not None
        self._chunked = self._undo.enter_context(installed(side.coder, trial.plan))
        self._chunked.for_calls = self._run
        self._undo.callback(setattr, self._chunked, "for_calls", None)

    def _run(self, video: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The output for a whole video."""
        size = size_of(self._side.kind, video, *args, *kwargs.values())
        try:
            why = self._why_whole(size, video, args, kwargs)
            if why is None:
                return self._by_size(size, video, args, kwargs)
        except LostPartError as lost:
            why = str(lost)
        self.last_call = ChunkStats(1, why, self._notes)
        return self._chunked.forward(video, *args, **kwargs)

    def _by_size(self, size: Hashable, video: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The output for a whole video, in as large chunks as fit for its size."""
        sizes = ChunkSizes(self._asked, self._most.get(size))
        output = halving(sizes, lambda: self._joined(sizes.split(video, self._side.step), args, kwargs))
        self._most[size] = sizes.most
        self.last_call = ChunkStats(sizes.chunks, None, (*self._notes, *sizes.notes))
        return output

    def _joined(self, chunks: Iterable[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        made = list(self._in_turn(chunks, args, kwargs))
        return with_video(made[-1], torch.cat([video_of(one) for one in made], dim=2))

    def _in_turn(
        self, chunks: Iterable[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Iterator[Any]:
        video = Video()
        return outputs(video, chunks, lambda chunk: self._chunked.pass_of(video, chunk, *args, **kwargs))

    def _why_whole(
        self, size: Hashable, video: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> str | None:
        frames, step = video.shape[2], self._side.step
        if frames <= self._side.frames(self._asked or 1):
            return "it has no more frames than a chunk"
        if (frames - 1) % step:
            return f"its {frames} frames are not one more than a multiple of {step}"
        few = video[:, :, : self._side.frames(TRIED)]
        first = [few[:, :, :1], few[:, :, 1:]]

        def ours() -> Tensor:
            return video_of(self._joined(first, args, kwargs))

        def whole() -> Tensor:
            return video_of(self._chunked.forward(few, *args, **kwargs))

        return None if is_right(size, ours, whole) else OTHERWISE
