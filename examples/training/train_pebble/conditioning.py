"""Turn token ids into what the transformers attend to, exactly as the pipelines do."""

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.transformers.transformer_wan import (
    WanAttention,
    WanAttnProcessor,
    WanTransformer3DModel,
)
from torch import Tensor, nn
from transformers import CLIPTextModel, PreTrainedTokenizerBase, T5EncoderModel, UMT5EncoderModel

CAPTION_TOKENS = 32
CLIP_TOKENS = 77
PADDED_TOKENS = 512
"""The pipelines pad every caption to this length."""
STAND_INS = 8
"""Zero tokens that stand for all the padding beyond `CAPTION_TOKENS`."""


class _Lookup(torch.autograd.Function):
    """Rows of a table; the gradient is a matrix product, for CUDA's own is suspected of illegal accesses."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.rows = len(table)
        return F.embedding(ids, table)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (ids,) = ctx.saved_tensors
        chosen = ids.flatten()[:, None] == torch.arange(ctx.rows, device=ids.device)
        return chosen.to(gradient.dtype).T @ gradient.flatten(0, -2), None


def prepare_encoder(encoder: nn.Module) -> None:
    """Keep a text encoder to operations that are known to train well on CUDA."""
    encoder.set_attn_implementation("eager")
    for table in encoder.modules():
        if isinstance(table, nn.Embedding):
            table.forward = partial(_Lookup.apply, table.weight)


def tokenize(
    tokenizer: PreTrainedTokenizerBase, captions: list[str], length: int = CAPTION_TOKENS
) -> torch.Tensor:
    """Padded ids; no caption of ours may be cut."""
    ids = tokenizer(captions, padding="max_length", max_length=length)["input_ids"]
    if any(len(row) > length for row in ids):
        raise ValueError(f"a caption is longer than {length} tokens")
    return torch.tensor(ids, dtype=torch.int32)


def wan_conditioning(encoder: UMT5EncoderModel, ids: Tensor) -> Tensor:
    """The encoded tokens, then zeros that stand for the padding."""
    mask = ids != encoder.config.pad_token_id
    # In its additive form: from the short form the encoder decides on the CPU, which no recording allows.
    blocked = torch.where(mask, 0.0, torch.finfo(torch.float32).min)[:, None, None]
    encoded = encoder(ids.long(), blocked).last_hidden_state * mask[..., None]
    return F.pad(encoded, (0, 0, 0, STAND_INS))


class WeighsStandIns(WanAttnProcessor):
    """Attention to text in which each zero token at the end weighs as much as the padding it stands for.

    The padding is hundreds of equal tokens: so many equal keys are one key with a larger logit.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.bias = torch.zeros(1, 1, 1, CAPTION_TOKENS + STAND_INS, device=device)
        self.bias[..., CAPTION_TOKENS:] = math.log((PADDED_TOKENS - CAPTION_TOKENS) / STAND_INS)

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        bias = self.bias.to(hidden_states.dtype)
        return super().__call__(attn, hidden_states, encoder_hidden_states, bias, rotary_emb)


def weigh_stand_ins(transformer: WanTransformer3DModel) -> None:
    """Let a transformer's attention to text take what `wan_conditioning` makes."""
    weighs = WeighsStandIns(transformer.device)
    for block in transformer.blocks:
        block.attn2.set_processor(weighs)


def flux_conditioning(
    t5: T5EncoderModel, clip: CLIPTextModel, t5_ids: Tensor, clip_ids: Tensor
) -> tuple[Tensor, Tensor]:
    """T5 states of the text with its padding, unmasked, and CLIP's pooled state."""
    padded = F.pad(t5_ids.long(), (0, PADDED_TOKENS - t5_ids.shape[1]), value=t5.config.pad_token_id)
    # Masks in their additive form again, the same as the encoders would make.
    count, length = clip_ids.shape
    seen = torch.zeros(count, 1, 1, PADDED_TOKENS, device=padded.device)
    lowest = torch.finfo(torch.float32).min
    past = torch.full((length, length), lowest, device=padded.device).triu(1).expand(count, 1, -1, -1)
    return t5(padded, seen)[0], clip(clip_ids.long(), past).pooler_output
