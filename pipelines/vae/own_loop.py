"""An autoencoder with a loop of its own, whose decodes do not share what they remember."""

import threading
from typing import Any

import torch
from torch import Tensor

from skipstone.pipelines.model.class_swap import plain
from skipstone.pipelines.vae.handle import ChunkStats, InChunks
from skipstone.pipelines.vae.method_swap import swap_method
from skipstone.pipelines.vae.own_loops import Loop, frames_of, is_tiled
from skipstone.pipelines.vae.side import Side
from skipstone.pipelines.vae.verdicts import OTHERWISE, TRIED, is_right, size_of

TILED = "tiles are decoded as written"
"""Why a tiled video is."""

_trying = threading.Lock()
"""The class's own decode remembers in the model."""


class OwnLoop(InChunks):
    """Decode with the same chunks as the class itself, until `remove`.

    Args:
        side: the side that decodes.
        loop: its loop.
    """

    def __init__(self, side: Side, loop: Loop) -> None:
        super().__init__()
        self._side = side
        self._loop = loop
        self._decode = side.vae.decode
        self._undo.callback(swap_method(side.vae, self._run, "decode"))

    def _run(self, z: Tensor, return_dict: bool = True) -> Any:
        why = why_as_written(self._side, self._loop, z)
        if why is not None:
            self.last_call = ChunkStats(1, why)
            return self._decode(z, return_dict=return_dict)
        pieces = list(frames_of(self._side.vae, self._loop, z))
        self.last_call = ChunkStats(len(pieces))
        return _output(torch.cat(pieces, dim=2), return_dict)


def why_as_written(side: Side, loop: Loop, latents: Tensor) -> str | None:
    """Why an autoencoder has to decode these latents itself; None if its loop can be run here."""
    if is_tiled(side.vae):
        return TILED
    few = latents[:1, :, :TRIED]
    size = size_of(side.kind, latents)

    def ours() -> Tensor:
        return torch.cat(list(frames_of(side.vae, loop, few)), dim=2)

    def written() -> Tensor:
        made: Tensor = plain(type(side.vae)).decode(side.vae, few, return_dict=False)[0]
        return made

    with _trying:
        return None if is_right(size, ours, written) else OTHERWISE


def _output(frames: Tensor, return_dict: bool) -> Any:
    from diffusers.models.autoencoders.vae import DecoderOutput

    return DecoderOutput(sample=frames) if return_dict else (frames,)
