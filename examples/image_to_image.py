"""Change a picture: of fewer steps, some are skipped as usual. Usage: image_to_image.py [STEPS]"""

import sys

from diffusers import FluxImg2ImgPipeline

import skipstone

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 50
pipe = skipstone.load("pebble-image")
picture = pipe("a rocket on a black background", num_inference_steps=steps).images[0]

# Another pipeline of the same models.
change = FluxImg2ImgPipeline(**pipe.components)
width, height = picture.size
with skipstone.attach(change, "seacache", threshold=0.3) as cache:
    changed = change(
        "a rocket on a blue background",
        image=picture,
        strength=0.7,  # the last 70% of the steps
        num_inference_steps=steps,
        true_cfg_scale=4.0,
        negative_prompt="",
        height=height,
        width=width,
    ).images[0]
    print(cache.last_run)
changed.save("changed.png")
