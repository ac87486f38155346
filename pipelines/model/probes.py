"""Read a method's probe from a model without running its blocks."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.cachers.contract.words import Probe
from skipstone.pipelines.model.calls import Call, parameters_of
from skipstone.pipelines.model.own_thread import in_this_thread
from skipstone.pipelines.model.spread_weights import gathered


class _SeenError(Exception):
    """Carries the first attention's input out of a block that need not continue."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def is_attention(module: nn.Module) -> bool:
    """Whether a module is an attention layer, judged by its class name."""
    return _names_attention(type(module).__name__)


@functools.cache
def _names_attention(name: str) -> bool:
    return "attn" in name.lower() or "attention" in name.lower()


def modulated_input(call: Call) -> Tensor | None:
    """The block's input after its first norm and modulation, which its first attention takes.

    The block runs up to that attention and stops there, which costs a norm and a modulation. It runs
    uncompiled; a compiled block stays compiled.

    Returns:
        A tensor of the main stream's size, or None if no attention of the block takes one.
    """
    like = call.main()
    stop = in_this_thread(_stopper(like))
    hooks = [
        module.register_forward_pre_hook(stop, with_kwargs=True)
        for module in call.block.modules()
        if module is not call.block and is_attention(module)
    ]
    try:
        with gathered(call.block, call.block):
            call.block.forward(*call.args, **call.kwargs)
    except _SeenError as seen:
        return seen.tensor
    finally:
        for hook in hooks:
            hook.remove()
    return None


def _stopper(like: Tensor) -> Any:
    def stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del module
        for value in (kwargs.get("hidden_states"), *args, *kwargs.values()):
            if isinstance(value, Tensor) and same_size(value, like):
                raise _SeenError(value)

    return stop


def same_size(value: Tensor, like: Tensor) -> bool:
    """Whether a tensor has the stream's size, possibly with batch and tokens swapped."""
    return value.shape[-1:] == like.shape[-1:] and value.numel() == like.numel()


def model_input(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """A copy of the latents that the model denoises, ``(batch, channels, *grid)``.

    Latents packed into tokens are unpacked if the model takes the tokens' positions; otherwise they are a
    grid of one axis.
    """
    names = parameters_of(model)
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    found = (_latents(given.get(name)) for name in names)
    latents = next((one.detach().clone() for one in found if one is not None), None)
    return None if latents is None else _channels_first(model, latents, kwargs.get("img_ids"))


def model_output(model: nn.Module, output: Any) -> Tensor | None:
    """The model's output as latents, ``(batch, channels, *grid)``."""
    value = output[0] if isinstance(output, tuple) else getattr(output, "sample", output)
    latents = _latents(value)
    return None if latents is None else _channels_first(model, latents, None)


def _latents(value: Any) -> Tensor | None:
    """A tensor of latents; lists of samples, as in Z-Image, are stacked."""
    if isinstance(value, (list, tuple)):
        parts = [part for part in value if isinstance(part, Tensor)]
        alike = len(parts) == len(value) and len({part.shape for part in parts}) == 1
        value = torch.stack(parts) if alike else None
    is_latents = isinstance(value, Tensor) and value.is_floating_point() and value.ndim >= 2
    return value if is_latents else None


def _channels_first(model: nn.Module, latents: Tensor, positions: Any) -> Tensor:
    if latents.ndim == 3:
        return _spread(latents.transpose(1, 2), positions)
    config = getattr(model, "config", None)
    # Most video models take (batch, channels, frames, height, width), Kandinsky channels last.
    if latents.ndim == 5 and hasattr(config, "in_visual_dim"):
        return latents.movedim(-1, 1)
    # CogVideoX takes frames before channels.
    channels = getattr(config, "in_channels", None)
    frames_first = latents.ndim == 5 and latents.shape[1] != channels and latents.shape[2] == channels
    return latents.transpose(1, 2) if frames_first else latents


def _spread(tokens: Tensor, positions: Any) -> Tensor:
    """Unpack ``(batch, channels, tokens)`` into rows and columns, by the tokens' ``(index, row, column)``."""
    if not isinstance(positions, Tensor):
        return tokens
    rows, columns = (int(n) + 1 for n in positions.reshape(-1, positions.shape[-1])[:, -2:].amax(0).tolist())
    return tokens.reshape(*tokens.shape[:2], rows, columns) if rows * columns == tokens.shape[2] else tokens


def time_embeddings(model: nn.Module, timesteps: Sequence[float]) -> Tensor | None:
    """The model's time embedding at each timestep, ``(steps, dim)`` float32 on the CPU.

    It depends only on the timestep, so the probes of a whole run are read before the run.

    Returns:
        The embeddings, or None for a model without diffusers' ``Timesteps`` and ``TimestepEmbedding``.
    """
    sinusoids = _first(model, "Timesteps")
    embedding = _first(model, "TimestepEmbedding")
    if sinusoids is None or embedding is None:
        return None
    with torch.no_grad(), gathered(model, embedding):
        weight = next(embedding.parameters())
        times = torch.tensor(timesteps, device=weight.device)
        embedded: Tensor = embedding(sinusoids(times).to(weight.dtype))
    return embedded.float().cpu()


def time_projections(model: nn.Module, timesteps: Sequence[float]) -> Tensor | None:
    """The projected time embedding of Wan's blocks at each timestep, ``(steps, 6 * dim)``, likewise.

    Returns:
        The projections, or None for a model without a linear ``time_proj`` after its time embedding.
    """
    embeddings = time_embeddings(model, timesteps)
    named = (module for name, module in model.named_modules() if name.endswith("time_proj"))
    projection = next((module for module in named if isinstance(module, nn.Linear)), None)
    if embeddings is None or projection is None:
        return None
    with torch.no_grad(), gathered(model, projection):
        active = nn.functional.silu(embeddings.to(projection.weight.device, projection.weight.dtype))
        projected: Tensor = projection(active)
    return projected.float().cpu()


OF_THE_TIME: dict[Probe, Callable[[nn.Module, Sequence[float]], Tensor | None]] = {
    Probe.TIME_EMBEDDING: time_embeddings,
    Probe.TIME_PROJECTION: time_projections,
}
"""The functions that read a whole run's probes, for those that depend only on the timestep."""


def _first(model: nn.Module, class_name: str) -> nn.Module | None:
    return next((m for m in model.modules() if type(m).__name__ == class_name), None)
