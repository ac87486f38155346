"""Turn the checkpoints of the trainings into two ordinary diffusers folders in bf16."""

import argparse
import json
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, FluxPipeline, WanPipeline
from models import (
    IMAGE_SHIFT,
    VIDEO_SHIFT,
    clip_text_encoder,
    image_text_encoder,
    image_transformer,
    scheduler,
    video_text_encoder,
    video_transformer,
)
from restoring import load_image_autoencoder, load_parts, load_video_autoencoder
from scenes import load_atlas
from transformers import AutoTokenizer


def video_pipeline(run: Path, tokenizers: Path) -> WanPipeline:
    """The video model out of the checkpoints in `run`."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizers / "pebble-video/tokenizer")
    modules = {"transformer": video_transformer(), "text_encoder": video_text_encoder(len(tokenizer))}
    load_parts(modules, run / "video")
    return WanPipeline(
        tokenizer=tokenizer, vae=load_video_autoencoder(run), scheduler=scheduler(VIDEO_SHIFT), **modules
    )


def image_pipeline(run: Path, tokenizers: Path) -> FluxPipeline:
    """The image model out of the checkpoints in `run`."""
    clip = AutoTokenizer.from_pretrained(tokenizers / "pebble-image/tokenizer")
    t5 = AutoTokenizer.from_pretrained(tokenizers / "pebble-image/tokenizer_2")
    modules = {
        "transformer": image_transformer(),
        "text_encoder": clip_text_encoder(len(clip), clip.bos_token_id, clip.eos_token_id),
        "text_encoder_2": image_text_encoder(len(t5)),
    }
    load_parts(modules, run / "image")
    return FluxPipeline(
        tokenizer=clip,
        tokenizer_2=t5,
        vae=load_image_autoencoder(run),
        scheduler=scheduler(IMAGE_SHIFT),
        **modules,
    )


def edit_json(path: Path, **changes: object) -> None:
    """Change some keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes, indent=2) + "\n")


def save(pipeline: DiffusionPipeline, folder: Path) -> None:
    """Write the weights in bf16, in a form that every recent transformers reads, in float32 unless asked."""
    pipeline.to(dtype=torch.bfloat16)
    pipeline.save_pretrained(folder)
    for encoder in folder.glob("text_encoder*/config.json"):
        edit_json(encoder, dtype="float32", torch_dtype="float32")
    unigram = ["transformers", "PreTrainedTokenizerFast"]
    key = "tokenizer_2" if (folder / "tokenizer_2").exists() else "tokenizer"
    edit_json(folder / key / "tokenizer_config.json", tokenizer_class=unigram[1])
    edit_json(folder / "model_index.json", **{key: unigram})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("video", "image"))
    parser.add_argument("--run", type=Path, default=Path(".pebble/run"))
    parser.add_argument("--atlas", type=Path, default=Path(".pebble/sprites.npz"))
    parser.add_argument("--tokenizers", type=Path, default=Path("pebble/skipstone_pebble"))
    parser.add_argument("--out", type=Path, default=Path("pebble/skipstone_pebble"))
    arguments = parser.parse_args()
    build = video_pipeline if arguments.kind == "video" else image_pipeline
    folder = arguments.out / f"pebble-{arguments.kind}"
    save(build(arguments.run, arguments.tokenizers), folder)
    _, names = load_atlas(arguments.atlas, torch.device("cpu"))
    (folder / "objects.txt").write_text("\n".join(names) + "\n")
