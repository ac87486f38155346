"""Compare two methods with the uncached image of the same seed. Usage: compare_two_methods.py [STEPS]"""

import sys

import torch

import skipstone
from skipstone import metrics

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 50
pipe = skipstone.load("pebble-image")


def picture() -> torch.Tensor:
    """``(1, height, width, 3)``, values in [0, 1]."""
    noise = torch.Generator().manual_seed(0)
    made = pipe(
        "a rocket on a black background", num_inference_steps=steps, generator=noise, output_type="np"
    )
    return torch.from_numpy(made.images)


uncached = picture()
for method in (skipstone.SeaCache(0.3), skipstone.FORA(interval=2)):
    with skipstone.attach(pipe, method) as cache:
        compared = metrics.compare(picture(), uncached, metrics=("psnr", "ssim", "lpips"))
        print(f"{method}: {cache.last_run.skipped_steps} steps skipped, {compared}")
