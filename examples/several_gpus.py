"""Share prompts among GPUs: accelerate launch --num_processes 2 several_gpus.py [STEPS]"""

import sys

from accelerate import PartialState

import skipstone

PROMPTS = ["a rocket on a black background", "a snail on a green background", "a cat on a blue background"]

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 50
state = PartialState()  # of this process; also where there is one
pipe = skipstone.load("pebble-image").to(state.device)
pipe.set_progress_bar_config(disable=not state.is_main_process)

share = state.split_between_processes(PROMPTS)
with skipstone.attach(pipe, "seacache", threshold=0.3) as cache, share as mine:
    for prompt in mine:
        pipe(prompt, num_inference_steps=steps).images[0].save(f"{prompt}.png")
        print(f"process {state.process_index}: {prompt}: {cache.last_run}")

state.destroy_process_group()
