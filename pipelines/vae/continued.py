"""Decode a video whose latents are made while its first frames are shown."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from skipstone.pipelines.vae.own_loop import why_as_written
from skipstone.pipelines.vae.own_loops import bring_in, is_tiled, loop_of, wan_frames
from skipstone.pipelines.vae.side import Side, decoding

CLASS = "AutoencoderKLWan"

EDGE = 8
"""The sides of the corner of the latents that is decoded by the class itself, too."""


def decoder_of(vae: Any) -> Side:
    """The side of Wan's autoencoder, or of a pipeline's, that decodes.

    Raises:
        TypeError: there is none.
        ValueError: it decodes in tiles.
    """
    side = decoding(vae)
    if type(side.vae).__name__ != CLASS:
        raise TypeError(f"expected an {CLASS} to go on from chunk to chunk, got {type(side.vae).__name__}")
    if is_tiled(side.vae):
        raise ValueError("tiles cannot go on from chunk to chunk: call pipe.vae.disable_tiling() first")
    return side


@torch.no_grad()
def decode_on(side: Side, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
    """The frames of a video, each as soon as the latents of its chunk are there.

    Args:
        side: from `decoder_of`.
        chunks: consecutive latents, ``(batch, channels, frames, height, width)``, as ``decode`` takes them.

    Returns:
        An iterator of frames, ``(batch, 3, frames, height, width)``; together they are what decoding all
        latents gives.

    Raises:
        RuntimeError: frames that are decoded one by one differ from those that the class itself decodes.
    """
    yield from wan_frames(side.vae, _prepared(side, chunks))


def _prepared(side: Side, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
    loop = loop_of(side.vae)
    assert loop is not None
    for number, chunk in enumerate(chunks):
        latents = side.here(chunk)
        # A corner tells as much, and the first frames need not wait for it.
        why = why_as_written(side, loop, latents[..., :EDGE, :EDGE]) if number == 0 else None
        if why is not None:
            raise RuntimeError(f"{CLASS} cannot go on from chunk to chunk: {why}")
        # Making a chunk may have sent it away.
        bring_in(side.vae)
        yield latents
