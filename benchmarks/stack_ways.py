"""What people put beside a cache: compilers, weights of 8 bits, offloading, adapters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Way:
    """One part of a stack, or several.

    Args:
        put: puts it on a model, for a device; it returns what has to be done after each run, if anything.
        attach: arguments of `skipstone.attach` that belong to it.
    """

    put: Callable[[nn.Module, str], Callable[[], object] | None]
    attach: Mapping[str, Any] = field(default_factory=dict)


def nothing(model: nn.Module, device: str) -> None:
    """The model as it is."""


def quantised(kind: str, model: Any, device: str) -> None:
    """The weights of linear layers in 8 bits, by torchao; its settings for compilers search for minutes."""
    from torchao import quantization

    quantization.quantize_(model, getattr(quantization, kind)(set_inductor_config=False))


def compiled_blocks(model: Any, device: str) -> None:
    model.compile_repeated_blocks()


def compiled_whole(model: Any, device: str) -> None:
    model.compile()


def cudnn_attention(model: Any, device: str) -> None:
    model.set_attention_backend("_native_cudnn")


def model_offload(model: nn.Module, device: str) -> Callable[[], object]:
    """The model waits in the memory of the host between runs."""
    from accelerate import cpu_offload_with_hook

    _, hook = cpu_offload_with_hook(model.to("cpu"), device)
    offload: Callable[[], object] = hook.offload
    return offload


def group_offload(model: Any, device: str) -> None:
    """Each block comes while the one before it is computed."""
    import torch

    model.to("cpu")
    model.enable_group_offload(
        onload_device=torch.device(device), offload_device=torch.device("cpu"), offload_type="block_level",
        num_blocks_per_group=1, use_stream=device == "cuda",
    )  # fmt: skip


def swapped_adapter(model: Any, device: str) -> None:
    """An adapter of rank 16 whose weights were exchanged in place."""
    from peft import LoraConfig, get_peft_model_state_dict

    targets = ["to_q", "to_k", "to_v"]
    model.add_adapter(LoraConfig(r=16, target_modules=targets, init_lora_weights=False), "style")
    weights = {name: -value for name, value in get_peft_model_state_dict(model, adapter_name="style").items()}
    model.load_lora_adapter(weights, adapter_name="style", hotswap=True, prefix=None)


def chunked_vae(model: nn.Module, device: str) -> Callable[[], object]:
    """A video is decoded in chunks after each run, by Wan's autoencoder; a small one on a CPU."""
    import torch
    from chunked_vae import MODELS, made

    import skipstone

    if not type(model).__name__.startswith("Wan"):
        raise ValueError("an image is not decoded in chunks")
    side = (60, 104) if device == "cuda" else (2, 2)
    latents = torch.randn(1, 16, 9, *side).to(device, torch.bfloat16)
    vae = made(MODELS["wan"], device)
    return lambda: sum(frames.shape[2] for frames in skipstone.stream_decode(vae, latents))


def all_of(*parts: Callable[[nn.Module, str], object]) -> Callable[[nn.Module, str], None]:
    """Several parts, one after the other."""

    def put(model: nn.Module, device: str) -> None:
        for part in parts:
            part(model, device)

    return put


int8_weights = partial(quantised, "Int8WeightOnlyConfig")
fp8 = partial(quantised, "Float8DynamicActivationFloat8WeightConfig")
INT8 = {"snapshots": "int8"}

WAYS: dict[str, Way] = {
    "plan alone": Way(nothing),
    "blocks compiled": Way(compiled_blocks),
    "compiled whole": Way(compiled_whole),
    "int8 weights": Way(int8_weights),
    "int8 weights, blocks compiled": Way(all_of(int8_weights, compiled_blocks)),
    "fp8, blocks compiled": Way(all_of(fp8, compiled_blocks)),
    "cuDNN attention": Way(cudnn_attention),
    "model offload": Way(model_offload),
    "group offload": Way(group_offload),
    "swapped adapter": Way(swapped_adapter),
    "int8 snapshots": Way(nothing, INT8),
    "chunked VAE": Way(chunked_vae),
    "fp8, blocks compiled, cuDNN attention, int8 snapshots": Way(
        all_of(fp8, cudnn_attention, compiled_blocks), INT8
    ),
}
"""By what a table calls them."""
