"""Turn token ids into what the transformers attend to, exactly as the pipelines do."""

import torch
import torch.nn.functional as F
from transformers import CLIPTextModel, PreTrainedTokenizerBase, T5EncoderModel, UMT5EncoderModel

CAPTION_TOKENS = 32
CLIP_TOKENS = 77


def tokenize(
    tokenizer: PreTrainedTokenizerBase, captions: list[str], length: int = CAPTION_TOKENS
) -> torch.Tensor:
    """Padded ids; no caption of ours may be cut."""
    ids = tokenizer(captions, padding="max_length", max_length=length)["input_ids"]
    if any(len(row) > length for row in ids):
        raise ValueError(f"a caption is longer than {length} tokens")
    return torch.tensor(ids, dtype=torch.int32)


def wan_conditioning(encoder: UMT5EncoderModel, ids: torch.Tensor, length: int) -> torch.Tensor:
    """The encoded tokens, then zeros up to `length`."""
    mask = (ids != encoder.config.pad_token_id).long()
    encoded = encoder(ids.long(), mask).last_hidden_state * mask[..., None]
    return F.pad(encoded, (0, 0, 0, length - ids.shape[1]))


def flux_conditioning(
    t5: T5EncoderModel, clip: CLIPTextModel, t5_ids: torch.Tensor, clip_ids: torch.Tensor, length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """T5 states of the text with its padding, unmasked, and CLIP's pooled state."""
    padded = F.pad(t5_ids.long(), (0, length - t5_ids.shape[1]), value=t5.config.pad_token_id)
    return t5(padded)[0], clip(clip_ids.long()).pooler_output
