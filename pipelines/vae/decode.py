"""Decode videos in chunks of latent frames, exactly as if whole and in constant memory."""

import weakref
from collections.abc import Hashable, Sequence
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
from skipstone.pipelines.vae.planner import EDGE, NotChunkedError, Plan, find_plan
from skipstone.pipelines.vae.units import video_of, with_video

OWN_LOOP = 5
"""How many latent frames show whether an autoencoder decodes in chunks by itself."""

TRIED = 2
"""How many latent frames of a real video are decoded whole, too, once for each size."""


_chunked: "weakref.WeakSet[nn.Module]" = weakref.WeakSet()
"""The decoders that decode in chunks."""


_plans: dict[str, Plan] = {}
"""What was found by trial, by the class and the configuration of the autoencoder."""


@dataclass(frozen=True)
class DecodeStats:
    """One call of a decoder.

    Args:
        chunks: in how many chunks the video was decoded.
        why_whole: why it was decoded as a whole; None if it was not.
    """

    chunks: int
    why_whole: str | None = None

    def __str__(self) -> str:
        return f"{self.chunks} chunks" if self.why_whole is None else f"whole: {self.why_whole}"


@checked
def decode_in_chunks(vae: Any, chunk: Positive = 1) -> "ChunkedDecode":
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
        A handle with what the last decode was like. As a context manager it restores the autoencoder.

    Raises:
        TypeError: there is no video autoencoder.
        ValueError: a chunk below 1; the autoencoder has a loop of its own over frames, or a part of it needs
            later frames or all frames at once; it is compiled, its weights are away, or it decodes in chunks
            already.
    """
    found = getattr(vae, "vae", vae)
    decoder = getattr(found, "decoder", None)
    config = dict(getattr(found, "config", {}))
    channels = config.get("latent_channels", config.get("z_dim"))
    if not isinstance(decoder, nn.Module) or channels is None:
        raise TypeError(f"expected a video autoencoder or a pipeline that has one, got {type(vae).__name__}")
    name = type(found).__name__
    _refuse(found, decoder, channels)
    kind = digest([name, config])
    try:
        # What a decoder remembers follows from how it is built, not from its weights.
        plan = _plans[kind] = _plans.get(kind) or find_plan(decoder, channels)
    except NotChunkedError as why:
        raise ValueError(f"{name} cannot be decoded in chunks: {why}") from None
    return ChunkedDecode(decoder, plan, chunk)


def _refuse(vae: Any, decoder: nn.Module, channels: int) -> None:
    name = type(vae).__name__
    if compiles(decoder):
        raise ValueError(f"{name} is compiled: decode in chunks without compiling its decoder")
    if any(weight.is_meta for weight in decoder.parameters()):
        raise ValueError(f"{name} has no weights now: decode in chunks before sequential offload is enabled")
    if decoder in _chunked:
        raise ValueError(f"{name} decodes in chunks already; remove() that first")
    calls: list[None] = []
    hook = decoder.register_forward_pre_hook(lambda *_: calls.append(None))
    weight = next(decoder.parameters())
    device = getattr(getattr(vae, "_hf_hook", None), "execution_device", None) or weight.device
    latents = torch.zeros(1, channels, OWN_LOOP, EDGE, EDGE, dtype=weight.dtype, device=device)
    try:
        with torch.no_grad():
            vae.decode(latents)
    except (RuntimeError, ValueError) as error:
        raise TypeError(f"expected a video autoencoder, got {name}, which cannot decode frames") from error
    finally:
        hook.remove()
    if len(calls) != 1:
        raise ValueError(f"{name} calls its decoder several times for one video: it has a way of its own")


class ChunkedDecode:
    """A decoder that decodes in chunks, until `remove`.

    Args:
        decoder: the decoder.
        plan: the units of its parts by name.
        chunk: how many latent frames to decode at a time.

    ``last_decode`` tells how the last video was decoded; None before the first one.
    """

    def __init__(self, decoder: nn.Module, plan: Plan, chunk: int) -> None:
        self.last_decode: DecodeStats | None = None
        self._decoder = decoder
        self._chunk = chunk
        self._right: dict[Hashable, bool] = {}
        self._chunked = Chunked(decoder, plan)
        self._forward = decoder.forward
        self._swap = Swap(decoder, self._decode)
        _chunked.add(decoder)

    def remove(self) -> None:
        """Restore the decoder; a second call does nothing."""
        self._swap.undo()
        self._chunked.remove()
        _chunked.discard(self._decoder)

    def __enter__(self) -> "ChunkedDecode":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    def _decode(self, latents: Tensor, *args: Any, **kwargs: Any) -> Any:
        """The decoder's output for a whole video."""
        why = self._why_whole(latents, args, kwargs)
        if why is not None:
            self.last_decode = DecodeStats(1, why)
            return self._forward(latents, *args, **kwargs)
        chunks = torch.split(latents, self._chunk, dim=2)
        output = self._in_chunks(chunks, args, kwargs)
        self.last_decode = DecodeStats(len(chunks))
        return output

    def _in_chunks(self, chunks: Sequence[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        video, found, output = Video(), [], None
        for chunk in chunks:
            with self._chunked.chunk(video):
                output = self._forward(chunk, *args, **kwargs)
            found.append(video_of(output))
        return with_video(output, torch.cat(found, dim=2))

    def _why_whole(self, latents: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        if latents.shape[2] <= self._chunk:
            return "it has no more frames than a chunk"
        size = latents.shape[3:], latents.dtype, latents.device
        if size not in self._right:
            few = latents[:1, :, :TRIED]
            ours = self._in_chunks(torch.split(few, 1, dim=2), args, kwargs)
            self._right[size] = alike(video_of(ours), video_of(self._forward(few, *args, **kwargs)))
        return None if self._right[size] else "chunks of this size gave another video"
