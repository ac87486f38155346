"""Adapters with random weights."""

from typing import Any

import torch

from support import tiny


def lora(pipe: tiny.Tiny, seed: int, name: str, **options: Any) -> None:
    """Give the transformer an adapter with random weights."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for block in range(len(pipe.pipe.transformer.blocks)):
        for part, size in (("lora_A", (2, 24)), ("lora_B", (24, 2))):
            key = f"blocks.{block}.attn1.to_q.{part}.weight"
            state[f"transformer.{key}"] = torch.randn(size, generator=generator)
    pipe.pipe.transformer.load_lora_adapter(state, prefix="transformer", adapter_name=name, **options)
