"""A page that shows what a speed costs: two pictures of one prompt, one of them faster. It works offline.

    pip install "skipstone[pebble,demo]"
    python examples/demo.py

It records one picture at its start, which takes a minute without a GPU.
"""

import os
from dataclasses import replace
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio
import torch

import skipstone
from skipstone import metrics
from skipstone.pictures import strip

FASTEST = 6.0


class Demo:
    """One pipeline, and plans for it from one recorded run.

    Args:
        pipe: the pipeline.
        prompt: the prompt to begin with, which is recorded too.
        arguments: those of each call beside the prompt.
    """

    def __init__(self, pipe: Any, prompt: str, **arguments: Any) -> None:
        self.pipe, self.prompt, self.arguments = pipe, prompt, arguments
        # Without its judge, a plan is made at once and is not tried.
        self.record = replace(skipstone.record(pipe, prompt, **arguments), judge=None)

    def compare(self, prompt: str, speed: float, seed: float) -> tuple[Any, Any, str]:
        """The picture with every step, the one by a plan, and what the plan was expected to do and did."""
        plan = self.record.plan(speedup=speed)
        whole, uncached = self._made(self.record.plan(speedup=1), prompt, seed)
        fast, seen = self._made(plan, prompt, seed)
        found = metrics.compare(fast, whole, metrics=("psnr",)).scores["psnr"].value
        expected = "unknown" if plan.expected_psnr is None else f"{plan.expected_psnr:.1f} dB"
        rows = {
            "steps computed": f"{seen.strip.count('#')} of {seen.steps}",
            "speed": f"expected {plan.speedup:.2f}x, measured {uncached.seconds / seen.seconds:.2f}x",
            "PSNR": f"expected {expected}, measured {found:.1f} dB",
        }
        cells = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows.items())
        return whole, fast, f'<div id="strip" style="zoom: 2">{strip(seen.strip)}</div><table>{cells}</table>'

    def _made(self, plan: skipstone.Plan, prompt: str, seed: float) -> tuple[Any, skipstone.RunStats]:
        """A picture by a plan, and what the run did."""
        generator = torch.Generator().manual_seed(int(seed))
        with skipstone.attach(self.pipe, plan) as cache:
            return self.pipe(prompt, generator=generator, **self.arguments).images[0], cache.last_run

    def page(self) -> gradio.Blocks:
        """The page."""
        with gradio.Blocks(title="skipstone", analytics_enabled=False) as page:
            gradio.Markdown("# What does a speed cost?")
            with gradio.Row():
                prompt = gradio.Textbox(self.prompt, label="Prompt", elem_id="prompt")
                seed = gradio.Number(0, label="Seed", precision=0, minimum=0)
            speed = gradio.Slider(1, FASTEST, 2.5, step=0.1, label="Times faster", elem_id="speed")
            button = gradio.Button("Draw both", variant="primary", elem_id="draw")
            with gradio.Row():
                whole = gradio.Image(label="Every step computed", elem_id="whole", format="png", height=300)
                fast = gradio.Image(label="By the plan", elem_id="fast", format="png", height=300)
            facts = gradio.HTML(elem_id="facts")
            button.click(self.compare, [prompt, speed, seed], [whole, fast, facts], concurrency_limit=1)
        return page


if __name__ == "__main__":
    demo = Demo(skipstone.load("pebble-image"), "a rocket on a black background")
    demo.page().launch(server_name="127.0.0.1")
