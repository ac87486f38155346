"""Draw a contact sheet of proving models: a row of pictures, or of each clip's middle frames, for each."""

import argparse
from pathlib import Path

import loading
import numpy as np
import torch
from kinds import KINDS
from PIL import Image

PROMPTS = (
    "a green apple{} on a blue background",
    "a banana{} on a red background",
    "a cherry blossom{} on a white background",
    "a rocket{} on a black background",
    "a pizza slice{} on a teal background",
    "a panda face{} on a pink background",
    "a penguin{} on a purple background",
    "a yellow star{} on a purple background",
    "a soccer ball{} on a checkered green and white background",
    "a bell{} on an orange to blue gradient background",
    "a butterfly{} on a striped red and white background",
    "a cactus{} on a yellow background",
)


def names() -> list[str]:
    """The objects that the models know."""
    from skipstone.pipelines import bundled

    return (bundled.folder("pebble-image") / "objects.txt").read_text().splitlines()[::3]


def prompts(moving: bool) -> list[str]:
    """Twelve prompts of known objects."""
    known, does = names(), (" spins", " bounces", " slides left", " grows") if moving else ("",)
    return [
        prompt.replace(prompt.split("{}")[0], f"a {known[(5 * n) % len(known)]}").format(does[n % len(does)])
        for n, prompt in enumerate(PROMPTS)
    ]


def row(name: str, device: str, steps: int | None) -> np.ndarray:
    """The pictures of one model side by side."""
    kind = KINDS[name]
    call = {"num_inference_steps": steps or 25, **kind.call}
    if "negative_prompt" in call:
        call["negative_prompt"] = [call["negative_prompt"]] * len(PROMPTS)
    made = loading.load(name, device)(
        prompts(kind.moving), output_type="np", generator=torch.Generator().manual_seed(0), **call
    )[0]
    if not kind.moving:
        return np.concatenate(list(made), 1)
    return np.concatenate([np.concatenate(list(made[:, frame]), 1) for frame in (0, 8, 16)], 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("names", nargs="*", default=list(KINDS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int)
    arguments = parser.parse_args()
    for name in arguments.names:
        print(name, prompts(KINDS[name].moving))
    rows = np.concatenate([row(name, arguments.device, arguments.steps) for name in arguments.names])
    Image.fromarray((rows * 255).round().astype(np.uint8)).save(arguments.target)


if __name__ == "__main__":
    main()
