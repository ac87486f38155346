"""Reading a gate's probe out of a model without running its blocks."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.pipelines.outputs import floats_in
from skipstone.pipelines.streams import Call


class _SeenError(Exception):
    """Carries the first attention's input out of a block that need not go on."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def is_attention(module: nn.Module) -> bool:
    """Whether a module is an attention layer, by its class name."""
    return "attn" in (name := type(module).__name__.lower()) or "attention" in name


def modulated_input(call: Call) -> Tensor | None:
    """The block's input after its first norm and modulation: what its first attention is given.

    The block runs up to that attention and is left there, which costs a norm and a modulation. It runs
    uncompiled: a compiled block stays as it was compiled.

    Returns:
        A tensor of the main stream's size, or None when no attention of the block takes one.
    """
    like = call.main()
    hooks = [
        module.register_forward_pre_hook(_stopper(like), with_kwargs=True)
        for module in call.block.modules()
        if module is not call.block and is_attention(module)
    ]
    try:
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
            if isinstance(value, Tensor) and _same_size(value, like):
                raise _SeenError(value)

    return stop


def _same_size(value: Tensor, like: Tensor) -> bool:
    """Whether a tensor is the stream's, possibly with batch and tokens swapped."""
    return value.shape[-1:] == like.shape[-1:] and value.numel() == like.numel()


def model_input(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """A copy of what the model is to denoise: the first tensor among its arguments, in signature order.

    Returns:
        ``(batch, ...)``, or None for a call without tensors.
    """
    names = list(inspect.signature(type(model).forward).parameters)
    order = sorted(kwargs, key=lambda name: names.index(name) if name in names else len(names))
    given = floats_in([*args, *(kwargs[name] for name in order)])
    return next((tensor.detach().clone() for tensor in given), None)


def time_embeddings(model: nn.Module, timesteps: Sequence[float]) -> Tensor | None:
    """The model's time embedding at each timestep, ``(steps, dim)`` float32 on the CPU.

    It depends on nothing but the timestep, so a whole run's probes are read at once, before the run.

    Returns:
        The embeddings, or None for a model without diffusers' ``Timesteps`` and ``TimestepEmbedding``.
    """
    sinusoids = _first(model, "Timesteps")
    embedding = _first(model, "TimestepEmbedding")
    if sinusoids is None or embedding is None:
        return None
    weight = next(embedding.parameters())
    times = torch.tensor(timesteps, device=weight.device)
    with torch.no_grad():
        embedded: Tensor = embedding(sinusoids(times).to(weight.dtype))
    return embedded.float().cpu()


def _first(model: nn.Module, class_name: str) -> nn.Module | None:
    return next((m for m in model.modules() if type(m).__name__ == class_name), None)
