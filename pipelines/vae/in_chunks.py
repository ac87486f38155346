"""Decode and encode videos in chunks of latent frames, exactly as if whole and in constant memory."""

import weakref
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.declared import Positive, checked
from skipstone.pipelines.model.compiled import compiles
from skipstone.pipelines.model.outputs import alike
from skipstone.pipelines.planning.conditions import digest
from skipstone.pipelines.vae.chunked import Chunked, Swap, Video
from skipstone.pipelines.vae.planner import EDGE, FRAMES, NotChunkedError, Plan, find_plan
from skipstone.pipelines.vae.units import video_of, with_video

OWN_LOOP = 5
"""How many latent frames show whether an autoencoder goes in chunks by itself."""

TRIED = 2
"""How many latent frames of a real video are run whole, too, once for each size."""

RGB = 3
"""The channels of a video."""

_chunked: "weakref.WeakSet[nn.Module]" = weakref.WeakSet()
"""The decoders and encoders that run in chunks."""

_plans: dict[str, Plan] = {}
"""What was found by trial, by the class and the configuration of the autoencoder."""


@dataclass(frozen=True)
class ChunkStats:
    """One call of a decoder or an encoder.

    Args:
        chunks: in how many chunks the video was run.
        why_whole: why it was run as a whole; None if it was not.
    """

    chunks: int
    why_whole: str | None = None

    def __str__(self) -> str:
        return f"{self.chunks} chunks" if self.why_whole is None else f"whole: {self.why_whole}"


@dataclass(frozen=True)
class Side:
    """One side of an autoencoder.

    Args:
        name: ``decode`` or ``encode``.
        coder: the decoder or the encoder.
        run: the autoencoder's method.
        channels: of its input.
        step: how many frames of its input belong to one latent frame, but for the first one.
        edge: the height and the width of the smallest input.
    """

    name: str
    coder: nn.Module
    run: Callable[[Tensor], Any]
    channels: int
    step: int
    edge: int

    def frames(self, latent: int) -> int:
        """How many frames of its input belong to so many latent frames."""
        return 1 + (latent - 1) * self.step

    def plan(self) -> Plan:
        return find_plan(self.coder, self.channels, self.frames(FRAMES), self.edge)


@checked
def decode_in_chunks(vae: Any, chunk: Positive = 1) -> "InChunks":
    """Decode videos a few latent frames at a time, with the result of decoding them whole.

    What its parts must remember of earlier frames is found by a trial on small latents, which runs a copy of
    the decoder in float64. The first decode of each size is compared with a whole one of two latent frames;
    if they differ, videos of that size are decoded whole.

    Source: the causal cache of WF-VAE, arXiv:2411.17459.
    Difference: it is found by trial for decoders that were not made for it, and holds for attention too.

    Args:
        vae: a video autoencoder of diffusers, or a pipeline that has one.
        chunk: how many latent frames to decode at a time, from 1. More take more memory.

    Returns:
        A handle with what the last call was like. As a context manager it restores the autoencoder.

    Raises:
        TypeError: there is no video autoencoder.
        ValueError: a chunk below 1; the autoencoder has a loop of its own over frames, or a part of it needs
            later frames or all frames at once; it is compiled, its weights are away, or it runs in chunks
            already.
    """
    found, config = _autoencoder(vae, "decoder")
    channels = config.get("latent_channels", config.get("z_dim"))
    if channels is None:
        raise TypeError(f"expected a video autoencoder or a pipeline that has one, got {type(vae).__name__}")
    return _in_chunks(found, config, Side("decode", found.decoder, found.decode, channels, 1, EDGE), chunk)


@checked
def encode_in_chunks(vae: Any, chunk: Positive = 1) -> "InChunks":
    """Encode videos a few latent frames at a time, with the result of encoding them whole.

    As of `decode_in_chunks`. A video whose length is not one more than a multiple of the autoencoder's
    temporal compression is encoded whole.

    Args:
        vae: a video autoencoder of diffusers, or a pipeline that has one.
        chunk: how many latent frames to make at a time, from 1. More take more memory.

    Returns:
        A handle with what the last call was like. As a context manager it restores the autoencoder.

    Raises:
        TypeError: there is no video autoencoder, or it does not say how much it compresses.
        ValueError: as of `decode_in_chunks`.
    """
    found, config = _autoencoder(vae, "encoder")
    names = ("temporal_compression_ratio", "spatial_compression_ratio")
    step, space = (getattr(found, name, None) or config.get(name) for name in names)
    if step is None or space is None:
        raise TypeError(f"{type(found).__name__} does not say how much it compresses time and space")
    side = Side("encode", found.encoder, found.encode, RGB, step, EDGE * space)
    return _in_chunks(found, config, side, chunk)


def _autoencoder(vae: Any, side: str) -> tuple[Any, dict[str, Any]]:
    """The autoencoder, and its configuration."""
    found = getattr(vae, "vae", vae)
    if not isinstance(getattr(found, side, None), nn.Module):
        raise TypeError(f"expected a video autoencoder or a pipeline that has one, got {type(vae).__name__}")
    return found, dict(getattr(found, "config", {}))


def _in_chunks(vae: Any, config: dict[str, Any], side: Side, chunk: int) -> "InChunks":
    name = type(vae).__name__
    _refuse(vae, side)
    kind = digest([name, config, side.name])
    try:
        # What its parts remember follows from how it is built, not from its weights.
        plan = _plans[kind] = _plans.get(kind) or side.plan()
    except NotChunkedError as why:
        raise ValueError(f"{name} cannot {side.name} in chunks: {why}") from None
    return InChunks(side, plan, chunk)


def _refuse(vae: Any, side: Side) -> None:
    name, coder = type(vae).__name__, side.coder
    if compiles(coder):
        raise ValueError(f"{name} is compiled: {side.name} in chunks without compiling it")
    if any(weight.is_meta for weight in coder.parameters()):
        raise ValueError(f"{name} has no weights now: go in chunks before sequential offload is enabled")
    if coder in _chunked:
        raise ValueError(f"{name} runs in chunks already; remove() that first")
    if _calls(vae, side) != 1:
        raise ValueError(f"{name} goes over a video several times by itself: it has a way of its own")


def _calls(vae: Any, side: Side) -> int:
    """How often the decoder or encoder is called for one video."""
    calls: list[None] = []
    hook = side.coder.register_forward_pre_hook(lambda *_: calls.append(None))
    weight = next(side.coder.parameters())
    device = getattr(getattr(vae, "_hf_hook", None), "execution_device", None) or weight.device
    shape = (1, side.channels, side.frames(OWN_LOOP), side.edge, side.edge)
    try:
        with torch.no_grad():
            side.run(torch.zeros(shape, dtype=weight.dtype, device=device))
    except (RuntimeError, ValueError) as error:
        name = type(vae).__name__
        why = f"expected a video autoencoder, got {name}, which cannot {side.name} frames"
        raise TypeError(why) from error
    finally:
        hook.remove()
    return len(calls)


class InChunks:
    """A decoder or an encoder that runs in chunks, until `remove`.

    Args:
        side: it.
        plan: the units of its parts by name.
        chunk: how many latent frames to run at a time.

    ``last_call`` tells how the last video was run; None before the first one.
    """

    def __init__(self, side: Side, plan: Plan, chunk: int) -> None:
        self.last_call: ChunkStats | None = None
        self._side = side
        self._chunk = chunk
        self._right: dict[Hashable, bool] = {}
        self._chunked = Chunked(side.coder, plan)
        self._forward = side.coder.forward
        self._swap = Swap(side.coder, self._run)
        _chunked.add(side.coder)

    def remove(self) -> None:
        """Restore the decoder or encoder; a second call does nothing."""
        self._swap.undo()
        self._chunked.remove()
        _chunked.discard(self._side.coder)

    def __enter__(self) -> "InChunks":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    def _run(self, video: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The output for a whole video."""
        why = self._why_whole(video, args, kwargs)
        if why is not None:
            self.last_call = ChunkStats(1, why)
            return self._forward(video, *args, **kwargs)
        chunks = self._split(video, self._chunk)
        output = self._in_turn(chunks, args, kwargs)
        self.last_call = ChunkStats(len(chunks))
        return output

    def _split(self, video: Tensor, chunk: int) -> Sequence[Tensor]:
        first, others = video.tensor_split([self._side.frames(chunk)], dim=2)
        return (first, *torch.split(others, chunk * self._side.step, dim=2))

    def _in_turn(self, chunks: Sequence[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        memory, found, output = Video(), [], None
        for chunk in chunks:
            with self._chunked.chunk(memory):
                output = self._forward(chunk, *args, **kwargs)
            found.append(video_of(output))
        return with_video(output, torch.cat(found, dim=2))

    def _why_whole(self, video: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        frames, step = video.shape[2], self._side.step
        if frames <= self._side.frames(self._chunk):
            return "it has no more frames than a chunk"
        if (frames - 1) % step:
            return f"its {frames} frames are not one more than a multiple of {step}"
        size = video.shape[3:], video.dtype, video.device
        if size not in self._right:
            few = video[:1, :, : self._side.frames(TRIED)]
            ours = self._in_turn(self._split(few, 1), args, kwargs)
            self._right[size] = _same(video_of(ours), video_of(self._forward(few, *args, **kwargs)))
        return None if self._right[size] else "chunks of this size gave another video"


def _same(ours: Tensor, whole: Tensor) -> bool:
    """Whether two videos are equal up to rounding; some norms compute in float32 whatever is asked for."""
    narrow = torch.float32 if whole.dtype is torch.float64 else whole.dtype
    return alike(ours.to(narrow), whole.to(narrow))
