"""Load a proving model, or write it as an ordinary diffusers folder."""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "examples/training/train_pebble")]

from kinds import KINDS  # noqa: E402
from weights import restore  # noqa: E402

WEIGHTS = HERE / "weights"


def load(name: str, device: str = "cpu", dtype: torch.dtype = torch.float32, folder: Path = WEIGHTS) -> Any:
    """A proving model's pipeline.

    Args:
        name: a key of `KINDS`.
        device: where it runs.
        dtype: of its networks.
        folder: of the weights.
    """
    kind = KINDS[name]
    networks = kind.networks()
    restore(networks, folder / f"{name}.safetensors")
    for network in networks.values():
        network.eval().requires_grad_(False)
    pipe = kind.pipeline(networks).to(device, dtype)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(KINDS))
    parser.add_argument("folder", type=Path, help="where the diffusers folder goes")
    arguments = parser.parse_args()
    load(arguments.name).save_pretrained(arguments.folder)


if __name__ == "__main__":
    main()
