"""Autoencoders that go over a video chunk by chunk themselves: the same chunks, one at a time.

What they remember belongs to the decode here, and not to the model, so that two threads do not mix theirs.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.pipelines.run.turns import turn

Loop = Callable[[Any, Tensor], Iterator[Tensor]]
"""Gives the frames of latents, chunk after chunk; the first argument is the autoencoder."""


def loop_of(vae: Any) -> Loop | None:
    """How an autoencoder goes over a video; None if it decodes whole videos."""
    return LOOPS.get(type(vae).__name__)


def frames_of(vae: Any, loop: Loop, latents: Tensor) -> Iterator[Tensor]:
    """The frames of latents, chunk after chunk, with each sample on its own where the autoencoder slices."""
    bring_in(vae)
    samples = torch.split(latents, 1) if getattr(vae, "use_slicing", False) else (latents,)
    for pieces in zip(*(loop(vae, sample) for sample in samples), strict=True):
        yield torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def bring_in(vae: Any) -> None:
    """Let an autoencoder that is offloaded come to its device, as its own decode would."""
    hook = getattr(vae, "_hf_hook", None)
    if hook is not None and hasattr(hook, "pre_forward"):
        hook.pre_forward(vae)


def is_tiled(vae: Any) -> bool:
    """Whether an autoencoder divides pictures into tiles, which it does outside of its loop."""
    return bool(getattr(vae, "use_tiling", False))


def _wan(vae: Any, latents: Tensor) -> Iterator[Tensor]:
    return wan_frames(vae, (latents,))


def wan_frames(vae: Any, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
    """One latent frame at a time; a list of what each convolution keeps goes along.

    Args:
        vae: the autoencoder.
        chunks: consecutive latents of one video.
    """
    kept: list[Any] = [None] * sum(1 for _ in vae.decoder.modules())
    patch = getattr(vae.config, "patch_size", None)
    latents = (one for chunk in chunks for one in torch.split(vae.post_quant_conv(chunk), 1, dim=2))
    for number, one in enumerate(latents):
        marks = {"first_chunk": True} if number == 0 and _has_first_chunk(vae.decoder) else {}
        frames = vae.decoder(one, feat_cache=kept, feat_idx=[0], **marks)
        if patch is not None:
            frames = import_module(type(vae).__module__).unpatchify(frames, patch_size=patch)
        yield torch.clamp(frames, min=-1.0, max=1.0)


def _has_first_chunk(decoder: nn.Module) -> bool:
    return "first_chunk" in inspect.signature(type(decoder).forward).parameters


def _cogvideox(vae: Any, latents: Tensor) -> Iterator[Tensor]:
    """Two latent frames at a time, and what is left over in the first chunk."""
    size, frames = vae.num_latent_frames_batch_size, latents.shape[2]
    kept = None
    for chunk in _first_longer(latents, size + frames % size, size):
        given = chunk if vae.post_quant_conv is None else vae.post_quant_conv(chunk)
        made, kept = vae.decoder(given, conv_cache=kept)
        yield made


SEGMENT = 16
"""How many frames KVAE and Kandinsky make at a time."""


def _kvae(vae: Any, latents: Tensor) -> Iterator[Tensor]:
    kept, size = vae._make_decoder_cache(), SEGMENT // vae.config.temporal_compress_times
    for chunk in _first_longer(latents, size + 1, size):
        yield vae.decoder(chunk, kept)


def _kandinsky(vae: Any, latents: Tensor) -> Iterator[Tensor]:
    kept, size = vae.decoder.make_cache(), SEGMENT // vae.temporal_compression_ratio
    for chunk in _first_longer(latents, size + 1, size):
        yield vae.decoder(chunk, kept)


def _magvit(vae: Any, latents: Tensor) -> Iterator[Tensor]:
    """One latent frame at a time; what the modules remember is put into them for each."""
    kept: dict[str, Any] = {}
    for chunk in _first_longer(vae.post_quant_conv(latents), 1, vae.num_latent_frames_batch_size):
        with turn(vae):
            try:
                _remember(vae, kept)
                frames = vae.decoder(chunk)
                kept = {name: part.prev_features for name, part in _remembering(vae)}
            finally:
                _remember(vae, {})
        yield frames


def _remembering(vae: Any) -> Iterator[tuple[str, Any]]:
    return ((name, part) for name, part in vae.named_modules() if hasattr(part, "prev_features"))


def _remember(vae: Any, kept: dict[str, Any]) -> None:
    for name, part in _remembering(vae):
        part.prev_features = kept.get(name)


def _first_longer(latents: Tensor, first: int, size: int) -> Iterator[Tensor]:
    """Chunks of one size after a first one of another."""
    yield latents[:, :, :first]
    if latents.shape[2] > first:
        yield from torch.split(latents[:, :, first:], size, dim=2)


LOOPS: dict[str, Loop] = {
    "AutoencoderKLWan": _wan,
    "AutoencoderKLQwenImage": _wan,
    "AutoencoderKLCogVideoX": _cogvideox,
    "AutoencoderKLKVAEVideo": _kvae,
    "Kandinsky6SRVAE": _kandinsky,
    "AutoencoderKLMagvit": _magvit,
}
"""By the name of the class in diffusers."""
