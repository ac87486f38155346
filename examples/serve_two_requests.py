"""Two requests at once with the same models, each a named run. Usage: serve_two_requests.py [STEPS]"""

import copy
import sys
from concurrent.futures import ThreadPoolExecutor

from diffusers import FluxPipeline

import skipstone

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 50
models = skipstone.load("pebble-image")
PROMPTS = ["a rocket on a black background", "a snail on a green background"]
OWN = ("scheduler", "tokenizer", "tokenizer_2")


def serve(prompt: str) -> str:
    """A pipeline that shares the models; what keeps a state or settings is its own."""
    pipe = FluxPipeline(**models.components | {name: copy.deepcopy(models.components[name]) for name in OWN})
    pipe.set_progress_bar_config(disable=True)
    with cache.run(prompt, steps=steps) as run:
        picture = pipe(prompt, num_inference_steps=steps, height=128, width=128).images[0]
    picture.save(f"{prompt}.png")
    return f"{prompt}: {run.stats}"


with skipstone.attach(models, "seacache", threshold=0.3) as cache, ThreadPoolExecutor(2) as pool:
    for line in pool.map(serve, PROMPTS):
        print(line)
