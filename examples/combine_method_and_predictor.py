"""Combine any method with any predictor and any wrapper. Usage: combine_method_and_predictor.py [STEPS]"""

import sys

import skipstone
from skipstone import FirstBlock, SeaCache, Taylor, Warmup, WithPredictor

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 50
pipe = skipstone.load("pebble-image")

# By name with a plus, and the hyper-parameters of both:
with skipstone.attach(pipe, "fora+taylor", interval=2, order=1) as cache:
    pipe("a rocket on a black background", num_inference_steps=steps)
    print(cache.last_run)

# Or as objects, which can be nested and reused:
for method in (Warmup(FirstBlock(0.3), steps=2), WithPredictor(SeaCache(0.3), Taylor(order=1))):
    with skipstone.attach(pipe, method) as cache:
        pipe("a rocket on a black background", num_inference_steps=steps)
        print(cache.last_run)
