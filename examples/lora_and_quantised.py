"""Plan for a LoRA on weights in 8 bits, recorded as it will run. Usage: lora_and_quantised.py [STEPS]

Needs: pip install peft torchao
"""

import sys

from peft import LoraConfig
from torchao.quantization import Int8WeightOnlyConfig, quantize_

import skipstone

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 50
pipe = skipstone.load("pebble-image")
quantize_(pipe.transformer, Int8WeightOnlyConfig())

# Stands for pipe.load_lora_weights(...): a LoRA that is random.
pipe.transformer.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_v"], init_lora_weights=False))

record = skipstone.record(pipe, "a rocket on a black background", num_inference_steps=steps)
plan = record.plan(computed=steps // 2)
print(plan.explain())
with skipstone.attach(pipe, plan) as cache:
    pipe("a snail on a green background", num_inference_steps=steps).images[0].save("snail.png")
    print(cache.last_run)
