"""Tiny pipelines with text encoders in folders, as a user would have them."""

from pathlib import Path
from typing import Any

import diffusers as d
import torch
import transformers as t
from tokenizers import Tokenizer, models, pre_tokenizers

from support import tiny

WORDS = ["<pad>", "</s>", "<unk>", "a", "red", "apple", "bounces", "on", "blue", "background"]


def tokenizer() -> t.PreTrainedTokenizerFast:
    words = models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>")
    inner = Tokenizer(words)
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return t.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=8
    )


def _sizes(**names: str) -> dict[str, Any]:
    return {
        names.get(name, name): n for name, n in {"d_model": 8, "d_ff": 8, "layers": 1, "heads": 2}.items()
    }


def save_wan(folder: Path) -> Path:
    """A text-to-video pipeline: sides are multiples of 16, frames a multiple of 4 plus 1."""
    torch.manual_seed(0)
    pipe = tiny.wan().pipe
    config = t.UMT5Config(vocab_size=len(WORDS), d_kv=4, **_sizes(layers="num_layers", heads="num_heads"))
    text = {"tokenizer": tokenizer(), "text_encoder": t.UMT5EncoderModel(config)}
    return _save(d.WanPipeline(**{**pipe.components, **text}), folder)


def save_flux(folder: Path) -> Path:
    """A text-to-image pipeline with true classifier-free guidance."""
    torch.manual_seed(0)
    pipe = tiny.flux().pipe
    clip = t.CLIPTextConfig(vocab_size=len(WORDS), hidden_size=8, intermediate_size=8, projection_dim=8,
                            num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=8,
                            pad_token_id=0, bos_token_id=2, eos_token_id=1)  # fmt: skip
    config = t.T5Config(vocab_size=len(WORDS), d_kv=4, **_sizes(layers="num_layers", heads="num_heads"))
    text = {
        "tokenizer": tokenizer(), "text_encoder": t.CLIPTextModel(clip),
        "tokenizer_2": tokenizer(), "text_encoder_2": t.T5EncoderModel(config),
    }  # fmt: skip
    return _save(d.FluxPipeline(**{**pipe.components, **text}), folder)


def _save(pipe: Any, folder: Path) -> Path:
    pipe.save_pretrained(folder)
    return folder
