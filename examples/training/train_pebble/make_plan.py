"""Record some prompts of a bundled model and write the plan that comes with it."""

import argparse

import torch

import skipstone
from skipstone.pipelines import bundled

PROMPTS = {
    "pebble-video": [
        "a penguin bounces on a yellow background",
        "a rocket slides right on a black background",
        "a pineapple spins on a blue background",
        "an owl falls on a white background",
        "a blue car rolls on a teal background",
        "a crown grows on a purple background",
    ],
    "pebble-image": ["a pizza on a teal background", "a tiger on a striped white and pink background"],
}
SEED = 99
"""Of the first prompt; each other one has the next."""

SPEEDUP = 2.5

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=PROMPTS)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    name = arguments.model
    noise = [torch.Generator().manual_seed(SEED + number) for number, _ in enumerate(PROMPTS[name])]
    pipe = skipstone.load(name).to(arguments.device)
    record = skipstone.record(pipe, PROMPTS[name], **bundled.DEFAULTS[name], generator=noise)
    plan = record.plan(speedup=SPEEDUP)
    plan.save(bundled.folder(name) / "plan.json")
    print(plan.explain())
