"""Train the tokenizers on the captions and save them where the model folders expect them."""

import argparse
import json
import math
import random
from collections import Counter
from pathlib import Path

import torch
from captions import image_caption, video_caption
from scenes import describe, draw_batch, load_atlas
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

CLIP_PIECES = 1536
PRINTABLE = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def corpus(atlas: Path, count: int = 60_000, seed: int = 0) -> list[str]:
    """Captions of drawn scenes."""
    _, names = load_atlas(atlas, torch.device("cpu"))
    chooser = random.Random(seed)
    scenes = describe(draw_batch(count, len(names), torch.Generator().manual_seed(seed)), names)
    return [(video_caption, image_caption)[index % 2](scene, chooser) for index, scene in enumerate(scenes)]


def unigram_pieces(captions: list[str]) -> list[tuple[str, float]]:
    """The T5 vocabulary: specials, the captions' words, then characters and bytes that spell the rest."""
    words = Counter(word for caption in captions for word in caption.split())
    learnt = [(f"▁{word}", math.log(count / words.total())) for word, count in words.most_common()]
    spelling = [(character, -20.0) for character in ["▁", *PRINTABLE]]
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return specials + learnt + spelling + [(byte, -30.0) for byte in BYTES]


def t5_tokenizer(captions: list[str]) -> PreTrainedTokenizerFast:
    """A unigram tokenizer that ends every text with </s> and falls back to bytes."""
    tokenizer = Tokenizer(models.Unigram(unigram_pieces(captions), unk_id=2, byte_fallback=True))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=512,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    )


def save_t5(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save under the class name that every transformers release knows."""
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config = {**config, "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def clip_tokenizer(captions: list[str], folder: Path) -> CLIPTokenizer:
    """A byte-level BPE tokenizer in CLIP's form; `folder` receives vocab.json and merges.txt."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = alphabet + [f"{letter}</w>" for letter in alphabet] + ["<|startoftext|>", "<|endoftext|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=CLIP_PIECES,
        special_tokens=[AddedToken(token) for token in specials],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner.train_from_iterator(captions, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    model = json.loads(learner.to_str())["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--atlas", type=Path, default=Path(".pebble/sprites.npz"))
    parser.add_argument("--bundled", type=Path, default=Path("pebble/skipstone_pebble"))
    arguments = parser.parse_args()
    captions = corpus(arguments.atlas)
    t5 = t5_tokenizer(captions)
    save_t5(t5, arguments.bundled / "pebble-video/tokenizer")
    save_t5(t5, arguments.bundled / "pebble-image/tokenizer_2")
    folder = arguments.bundled / "pebble-image/tokenizer"
    clip_tokenizer(captions, folder).save_pretrained(folder)


if __name__ == "__main__":
    main()
