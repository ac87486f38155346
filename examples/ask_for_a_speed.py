"""Ask for a speed: the first run is recorded, later ones are planned. Usage: ask_for_a_speed.py [STEPS]"""

import sys

import skipstone

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 50
pipe = skipstone.load("pebble-image")

with skipstone.attach(pipe, speedup=2.0) as cache:
    for prompt in ("a rocket on a black background", "a snail on a green background"):
        pipe(prompt, num_inference_steps=steps)
        print(f"{prompt}: {cache.last_run}")

# The record is kept in the user's cache folder. Run this program again, and its first run is planned too.
