"""Turn a bundled video model back into the checkpoints that a training resumes from."""

import argparse
import json
from pathlib import Path

from diffusers import WanPipeline
from training import save_parts


def disassemble(pipeline: WanPipeline, run: Path) -> None:
    """Write the transformer with its text encoder, and the autoencoder with its latent statistics."""
    save_parts({"transformer": pipeline.transformer, "text_encoder": pipeline.text_encoder}, run / "video")
    save_parts({"vae": pipeline.vae}, run / "video-vae")
    config = pipeline.vae.config
    statistics = {"mean": config.latents_mean, "std": config.latents_std}
    (run / "video-vae.json").write_text(json.dumps(statistics, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("pebble/skipstone_pebble/pebble-video"))
    parser.add_argument("--run", type=Path, default=Path(".pebble/run"))
    arguments = parser.parse_args()
    disassemble(WanPipeline.from_pretrained(arguments.folder, local_files_only=True), arguments.run)
