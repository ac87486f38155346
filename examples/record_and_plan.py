"""Record one run, plan from it, keep the plan, follow it. Usage: record_and_plan.py [STEPS]"""

import sys

import skipstone

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 50
pipe = skipstone.load("pebble-image")

record = skipstone.record(pipe, "a rocket on a black background", num_inference_steps=steps)
plan = record.plan(computed=steps // 2)  # or speedup=2.0, or quality=35.0 in dB
print(plan.explain())
plan.save("plan.json")

# Later, or in another program: only the plan is needed.
with skipstone.attach(pipe, skipstone.load_plan("plan.json")) as cache:
    pipe("a snail on a green background", num_inference_steps=steps)
    print(cache.last_run)
