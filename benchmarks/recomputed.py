"""A causal video whose prefix is computed again on each step, in one pass over all of its chunks."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from skipstone.pipelines.causal.attention import Attend, KeysValues, Rotary, SelfAttentions, rotated
from skipstone.pipelines.causal.settings import CausalSettings
from skipstone.pipelines.clips.stream import noised


class OnePass:
    """Let each chunk attend to the frames that it saw when it was made, and to itself.

    Args:
        sizes: the frames of the chunks.
        settings: those of the model.
        tokens: of a frame.
    """

    def __init__(self, sizes: Sequence[int], settings: CausalSettings, tokens: int) -> None:
        self._sizes, self._tokens = sizes, tokens
        self._held = list(held_at_each_chunk(sizes, settings.window, settings.sink))

    def mixed(self, layer: int, query: Tensor, new: KeysValues, rotary: Rotary, attend: Attend) -> Tensor:
        outputs, begin = [], 0
        for frames, held in zip(self._sizes, self._held, strict=True):
            own = range(begin, begin + frames)
            seen = [*held, *own]
            places = (rotary[0][:, : len(seen) * self._tokens], rotary[1][:, : len(seen) * self._tokens])
            last = (places[0][:, -frames * self._tokens :], places[1][:, -frames * self._tokens :])
            keys = rotated(self._of(new.keys, seen), places)
            queries = rotated(self._of(query, list(own)), last)
            outputs.append(attend(queries, KeysValues(keys, self._of(new.values, seen))))
            begin += frames
        return torch.cat(outputs, dim=1)

    def _of(self, tokens: Tensor, frames: Sequence[int]) -> Tensor:
        """The tokens of these frames."""
        return torch.cat([tokens[:, n * self._tokens : (n + 1) * self._tokens] for n in frames], dim=1)


def held_at_each_chunk(sizes: Sequence[int], window: int | None, sink: int) -> list[list[int]]:
    """The frames that each chunk sees before itself, one by one."""
    found: list[list[int]] = []
    held: list[int] = []
    for frames in sizes:
        found.append(list(held))
        begin = sum(sizes[: len(found) - 1])
        held += range(begin, begin + frames)
        while window is not None and len(held) > window:
            del held[sink]
    return found


@torch.no_grad()
def recomputed(
    pipe: Any,
    texts: Sequence[Tensor],
    sizes: Sequence[int],
    settings: CausalSettings,
    *,
    steps: int,
    guidance_scale: float,
    height: int,
    width: int,
    generator: torch.Generator,
) -> Tensor:
    """The latents of a video as a stream makes them, without anything kept between two calls of the model.

    Args:
        pipe: a `WanPipeline`.
        texts: the embeddings of the prompt, and of the negative prompt if there is guidance.
        sizes: the latent frames of the chunks.
        settings: those of the model.
        steps: of each chunk.
        guidance_scale: the guidance scale.
        height: in pixels.
        width: in pixels.
        generator: of the noise.
    """
    attentions, model = SelfAttentions(pipe.transformer), pipe.transformer
    made: list[Tensor] = []
    seen: list[Tensor] = []
    _, patch_height, patch_width = model.config.patch_size
    for number, size in enumerate(sizes, 1):
        scheduler = copy.deepcopy(pipe.scheduler)
        scheduler.set_timesteps(steps, device=texts[0].device)
        frames = (size - 1) * pipe.vae_scale_factor_temporal + 1
        channels, device = model.config.in_channels, texts[0].device
        chunk = pipe.prepare_latents(
            len(texts[0]), channels, height, width, frames, torch.float32, device, generator
        )
        tokens = chunk.shape[3] // patch_height * (chunk.shape[4] // patch_width)
        rule = OnePass(sizes[:number], settings, tokens)
        for t in scheduler.timesteps:
            video = torch.cat([*seen, chunk], dim=2).to(model.dtype)
            times = torch.full(
                (len(video), video.shape[2] * tokens), settings.context_timestep, device=device
            )
            times[:, -size * tokens :] = t
            with attentions.by(rule):
                found = [model(video, times, text, return_dict=False)[0][:, :, -size:] for text in texts]
            velocity = found[0]
            if len(found) > 1:
                velocity = found[1] + guidance_scale * (found[0] - found[1])
            chunk = scheduler.step(velocity, t, chunk, return_dict=False)[0]
        made.append(chunk)
        seen.append(noised(chunk, settings.context_noise, generator) if settings.context_noise else chunk)
    attentions.remove()
    return torch.cat(made, dim=2)
