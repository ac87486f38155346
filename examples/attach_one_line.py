"""One line attaches a method; the handle says what the last run did. Usage: attach_one_line.py [STEPS]"""

import sys

import torch

import skipstone

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 50
pipe = skipstone.load("pebble-image")  # or any diffusers pipeline of an image or video model

with skipstone.attach(pipe, "teacache", threshold=0.3) as cache:
    picture = pipe(
        "a rocket on a black background",
        num_inference_steps=steps,
        generator=torch.Generator().manual_seed(0),
    ).images[0]
    stats = cache.last_run

picture.save("rocket.png")
print(stats)  # in one line
print(stats.strip)  # a character for each step: # computed, . skipped
print(stats.reasons)  # why steps were computed
