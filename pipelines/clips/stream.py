"""Make a video of any length with a causal model, and give its frames as they are ready."""

import inspect
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Any

import torch
from annotated_types import Ge, Lt
from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.make import make
from skipstone.cachers.method_names import MethodName
from skipstone.declared import Natural, Positive, checked
from skipstone.pipelines.attach import attach
from skipstone.pipelines.causal.prefix import Prefix
from skipstone.pipelines.causal.settings import CausalSettings, settings_of
from skipstone.pipelines.opening.sizes import check_sizes
from skipstone.pipelines.run.turns import turn
from skipstone.pipelines.vae.continued import decode_on, decoder_of
from skipstone.schedules.plan import Plan

PROMPTS = ("prompt", "negative_prompt", "prompt_embeds", "negative_prompt_embeds")
"""The arguments of a pipeline's call that its text encoder is for."""

OURS = {"latents", "num_frames", "num_inference_steps", "num_videos_per_prompt", "output_type", "return_dict"}
"""The arguments of a pipeline's call that a stream gives itself, or has no use for."""


@checked
def stream(
    pipe: Any,
    prompt: str | list[str] | None = None,
    frames: Positive = 400,
    *,
    chunk: Positive | None = None,
    window: Positive | None = None,
    sink: Natural | None = None,
    context_timestep: Annotated[float, Ge(0)] | None = None,
    context_noise: Annotated[float, Ge(0), Lt(1)] | None = None,
    first: Positive | None = None,
    steps: Positive | None = None,
    guidance_scale: Annotated[float, Ge(0)] | None = None,
    negative_prompt: str | list[str] | None = None,
    height: Positive | None = None,
    width: Positive | None = None,
    generator: torch.Generator | list[torch.Generator] | None = None,
    cache: MethodName | str | Cacher[Any] | Plan | None = None,
    **call: Any,
) -> Generator[Tensor, None, None]:
    """Make a video chunk by chunk with a causal Wan model, and give the frames as they are ready.

    Each chunk of frames is a call of the pipeline in which it sees the frames before it. What the model makes
    of these is computed once and kept (`block_causal`), and the autoencoder goes on where it stopped, so that
    time and memory of a chunk do not grow with the video. Between two frames the pipeline can be used as
    ever. Streams of pipelines that share a scheduler or a model take turns, chunk by chunk::

        pipe = skipstone.load("pebble-stream")
        for frames in skipstone.stream(pipe, "a red apple bounces on a blue background", frames=400):
            ...  # (1, 3, frames, height, width), values in [-1, 1]

    Source: Ca2-VDM, arXiv:2411.16375, https://github.com/Dawn-LX/CausalCache-VDM; the window with a sink is
        that of Self-Forcing, arXiv:2506.08009, https://github.com/guandeh17/Self-Forcing.
    Difference: as of `block_causal`; and a cache may skip steps within each chunk.

    Args:
        pipe: a `WanPipeline` whose transformer was trained to be causal. A file ``causal.json`` in its folder
            tells the settings from ``chunk`` to ``first``; they can be given instead, and None leaves one to
            the file.
        prompt: what the video shows; a list makes one video of each.
        frames: how many frames to make, at least those of the first chunk. The last chunk is made whole and
            cut.
        chunk: latent frames in a chunk.
        window: latent frames before a chunk that it sees, at least those of the largest chunk; None for what
            the file says, or else all.
        sink: how many of the first latent frames all chunks see, below ``window``; by default 0.
        context_timestep: the time that the model was trained to see finished frames at, up to the training
            steps of the scheduler; by default 0.
        context_noise: the level of the noise, from 0 and below 1, in what later chunks see of finished ones;
            models that were trained so do not copy small errors from chunk to chunk. By default 0.
        first: latent frames in the first chunk, by default as many as in the others.
        steps: denoising steps of each chunk. None, here and below, stands for the default of the pipeline.
        guidance_scale: the guidance scale; 1 turns guidance off.
        negative_prompt: what the video does not show.
        height: in pixels.
        width: in pixels.
        generator: of the noise, or a list with one for each video; all chunks draw from it in turn.
        cache: a method or a plan as of `attach`, for the chunks of this stream alone; each chunk is a run of
            its own. A cache that is attached already works instead.
        call: other arguments of the pipeline's call, such as ``prompt_embeds`` or ``attention_kwargs``.

    Returns:
        A generator of frames, ``(batch, 3, frames, height, width)``. When it ends, is closed or given up, the
        pipeline is as it was before.

    Raises:
        TypeError: this is not a `WanPipeline`, another autoencoder than Wan's, or an argument that the
            pipeline's call does not have.
        ValueError: nothing says that the model is causal; settings, sizes or a number of frames that it
            cannot have. On the first frame, also what `block_causal` refuses, and before each chunk what
            `attach` does.
        RuntimeError: a callback asks for a chunk of another stream within its own.
    """
    _check_pipeline(pipe, call)
    chunks = {
        "chunk": chunk, "window": window, "sink": sink, "context_timestep": context_timestep,
        "context_noise": context_noise, "first": first,
    }  # fmt: skip
    settings = settings_of(pipe, chunks)
    asked = {
        "prompt": prompt, "negative_prompt": negative_prompt, "height": height, "width": width,
        "num_inference_steps": steps, "guidance_scale": guidance_scale, "generator": generator,
    }  # fmt: skip
    options = {**_defaults(pipe), **call, **_without_none(asked)}
    making = Making(pipe, settings, options, frames, None if cache is None else make(cache))
    making.check()
    return making.frames()


def _check_pipeline(pipe: Any, call: Mapping[str, Any]) -> None:
    import diffusers

    if not isinstance(pipe, diffusers.WanPipeline):
        raise TypeError(f"expected a WanPipeline with a causal transformer, got {type(pipe).__name__}")
    if pipe.transformer is None or getattr(pipe, "transformer_2", None) is not None:
        raise ValueError(
            "expected a WanPipeline with one transformer: none with two was trained to be causal"
        )
    decoder_of(pipe)
    if ours := sorted(OURS & call.keys()):
        raise ValueError(f"a stream gives these itself: {', '.join(ours)}; it takes frames= and steps=")
    if unknown := sorted(call.keys() - inspect.signature(pipe.__call__).parameters.keys()):
        raise TypeError(f"neither stream nor {type(pipe).__name__} takes {', '.join(unknown)}: leave it out")


def _defaults(pipe: Any) -> dict[str, Any]:
    """The arguments of the pipeline's call that are not left to it."""
    names = ("height", "width", "num_inference_steps", "guidance_scale", "max_sequence_length")
    parameters = inspect.signature(pipe.__call__).parameters
    return {name: parameters[name].default for name in names}


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Making:
    """A video in the making.

    Args:
        pipe: the pipeline.
        settings: those of its model.
        call: the arguments of a pipeline's call for all of the video.
        count: how many frames to make.
        cache: what skips steps within the chunks; None for nothing.
    """

    pipe: Any
    settings: CausalSettings
    call: Mapping[str, Any]
    count: int
    cache: Cacher[Any] | None

    def check(self) -> None:
        """Refuse what the pipeline cannot make.

        Raises:
            ValueError: a number of frames, a side, or prompts that it cannot take.
        """
        fewest = self._frames_of(self.settings.begins_with)
        if self.count < fewest:
            raise ValueError(f"expected at least {fewest} frames, those of the first chunk, got {self.count}")
        check_sizes(self.pipe, {name: self.call[name] for name in ("height", "width")})
        asked = {name: self.call.get(name) for name in (*PROMPTS, "height", "width", "guidance_scale_2")}
        self.pipe.check_inputs(**asked)
        self._check_positions()

    def _check_positions(self) -> None:
        """Refuse more frames at once than the model has positions for."""
        window, most = self.settings.window, self.pipe.transformer.config.rope_max_seq_len
        before = [0, *accumulate(self._sizes)][:-1]
        held = [count if window is None else min(count, window) for count in before]
        needed = max(map(sum, zip(held, self._sizes, strict=True)))
        if needed > most:
            raise ValueError(
                f"{needed} latent frames at once, in a window and a chunk, are more than the {most} that the "
                "model has positions for: give a smaller window"
            )

    @torch.no_grad()
    def frames(self) -> Generator[Tensor, None, None]:
        """The frames, as they are ready."""
        left = self.count
        with self._turn():
            prefix = Prefix(self.pipe.transformer, self.settings.window, self.settings.sink)
        try:
            for piece in decode_on(decoder_of(self.pipe), self._latents(prefix)):
                yield piece[:, :, :left]
                left -= piece.shape[2]
                if left <= 0:
                    return
        finally:
            prefix.remove()

    def _turn(self) -> AbstractContextManager[None]:
        """A chunk's turn: the scheduler is at one of its steps, and its cache is on the model."""
        return turn(self.pipe.scheduler, self.pipe.transformer)

    @property
    def _sizes(self) -> list[int]:
        """The latent frames of each chunk."""
        latents = -(-(self.count - 1) // self.pipe.vae_scale_factor_temporal) + 1
        return list(self.settings.sizes(latents))

    def _frames_of(self, latents: int) -> int:
        """How many frames belong to the first latent frames of a video."""
        return (latents - 1) * int(self.pipe.vae_scale_factor_temporal) + 1

    def _latents(self, prefix: Prefix) -> Iterator[Tensor]:
        """The latents of each chunk, as the autoencoder takes them."""
        texts: dict[str, Tensor] = {}
        for number, size in enumerate(self._sizes, 1):
            with self._turn():
                texts = texts or self._texts()
                chunk = self._chunk(prefix, texts, size)
                if self.pipe.interrupt:  # by a callback
                    return
                if number < len(self._sizes):
                    self._commit(prefix, texts, self._seen(chunk))
            yield self._scaled(chunk)

    def _texts(self) -> dict[str, Tensor]:
        """The embeddings of each branch of guidance."""
        given = {name: self.call.get(name) for name in (*PROMPTS, "max_sequence_length")}
        guided = self.call["guidance_scale"] > 1
        texts = self.pipe.encode_prompt(**given, do_classifier_free_guidance=guided)
        named = zip(("cond", "uncond"), texts, strict=True)
        return {name: text.to(self.pipe.transformer.dtype) for name, text in named if text is not None}

    def _chunk(self, prefix: Prefix, texts: Mapping[str, Tensor], size: int) -> Tensor:
        others = {name: value for name, value in self.call.items() if name not in PROMPTS}
        cached = nullcontext() if self.cache is None else attach(self.pipe, self.cache)
        with cached, prefix.seen():
            latents: Tensor = self.pipe(
                **others, prompt_embeds=texts["cond"], negative_prompt_embeds=texts.get("uncond"),
                num_frames=self._frames_of(size), output_type="latent", return_dict=False,
            )[0]  # fmt: skip
        return latents

    def _seen(self, chunk: Tensor) -> Tensor:
        """What later chunks see of a chunk."""
        level = self.settings.context_noise
        return noised(chunk, level, self.call.get("generator")) if level else chunk

    def _commit(self, prefix: Prefix, texts: Mapping[str, Tensor], chunk: Tensor) -> None:
        """Let later chunks see this one, in each branch of guidance."""
        model, settings = self.pipe.transformer, self.settings
        options = {"attention_kwargs": self.call.get("attention_kwargs"), "return_dict": False}
        for name, text in texts.items():
            with model.cache_context(name):
                prefix.commit(chunk.to(model.dtype), settings.context_timestep, text, **options)

    def _scaled(self, chunk: Tensor) -> Tensor:
        config = self.pipe.vae.config
        each = (torch.tensor(one).view(1, -1, 1, 1, 1) for one in (config.latents_mean, config.latents_std))
        mean, std = (one.to(chunk.device, chunk.dtype) for one in each)
        return chunk * std + mean


def noised(latents: Tensor, level: float, generator: torch.Generator | None) -> Tensor:
    """Latents with noise of a level from 0 to 1, as of flow matching."""
    from diffusers.utils.torch_utils import randn_tensor

    noise: Tensor = randn_tensor(latents.shape, generator, latents.device, latents.dtype)
    return latents + level * (noise - latents)
