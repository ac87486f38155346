"""Turn the int8 rows of `train_stream.py` into the folder of pebble-stream, which has only a transformer."""

import argparse
import json
import shutil
from pathlib import Path

from causal_pass import Layout
from diffusers import WanTransformer3DModel
from train_stream import MOST_NOISE
from weights import restore

from skipstone.disk.int8_rows import save_rows
from skipstone.pipelines.bundled import INDEX
from skipstone.pipelines.bundled.rows import FILE
from skipstone.pipelines.causal import settings


def assemble(weights: Path, video: Path, folder: Path) -> None:
    """Write the folder.

    Args:
        weights: what the training has written.
        video: the folder of the model whose other parts are used.
        folder: the one to write, new or not.
    """
    own = folder / "transformer"
    own.mkdir(parents=True, exist_ok=True)
    shutil.copy(video / INDEX, folder)
    shutil.copy(video / "transformer/config.json", own)
    transformer = WanTransformer3DModel.from_config(WanTransformer3DModel.load_config(own))
    restore({"transformer": transformer}, weights)
    save_rows(transformer.state_dict(), own / FILE)
    (folder / settings.FILE).write_text(json.dumps(causal(Layout()), indent=2) + "\n")


def causal(layout: Layout) -> dict[str, float]:
    """How a stream runs a model that was trained in these chunks."""
    return {
        "chunk": layout.frames,
        "window": layout.window * layout.frames,
        "sink": layout.sink * layout.frames,
        "context_timestep": 1000 * MOST_NOISE,
        "context_noise": MOST_NOISE,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    bundled = Path("pebble/skipstone_pebble")
    parser.add_argument("--weights", type=Path, default=Path(".pebble/run/transformer.safetensors"))
    parser.add_argument("--video", type=Path, default=bundled / "pebble-video")
    parser.add_argument("--out", type=Path, default=bundled / "pebble-stream")
    arguments = parser.parse_args()
    assemble(arguments.weights, arguments.video, arguments.out)
