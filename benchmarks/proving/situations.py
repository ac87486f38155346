"""The situations that plans are proven in: a model, a solver, steps, guidance and precision."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import diffusers
import loading
import torch
from kinds import KINDS

OWN = "own"
DIFFUSION = {
    "DDIM": ("DDIMScheduler", {"clip_sample": False}),
    "Euler": ("EulerDiscreteScheduler", {}),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", {}),
    "UniPC": ("UniPCMultistepScheduler", {}),
    "Heun": ("HeunDiscreteScheduler", {}),
}
FLOW = {
    "Euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "DPM++ 2M": (
        "DPMSolverMultistepScheduler",
        {"prediction_type": "flow_prediction", "use_flow_sigmas": True},
    ),
    "UniPC": ("UniPCMultistepScheduler", {"prediction_type": "flow_prediction", "use_flow_sigmas": True}),
}
SOLVERS: dict[str, tuple[str, ...]] = {
    "unet-epsilon": ("Euler", "DPM++ 2M", "UniPC", "Heun"),
    "pixart": ("DDIM", "Euler", "UniPC"),
    "sd3": ("DPM++ 2M", "UniPC"),
    "sd3-few-steps": (),
    "flux": (),
    "flux-distilled": (),
    "ltx": (),
    "cogvideox": ("DDIM", "DPM++ 2M"),
    "wan-experts": ("Euler", "DPM++ 2M"),
}
"""Beside each model's own."""


@dataclass(frozen=True)
class Situation:
    """One way to run a model.

    Args:
        model: a key of `KINDS`.
        solver: ``own``, or a name in `DIFFUSION` or `FLOW`.
        steps: how many.
        guidance: times the model's own scale; 0 for none.
        dtype: ``float32`` or ``bfloat16``.
    """

    model: str
    solver: str = OWN
    steps: int = 50
    guidance: float = 1.0
    dtype: str = "float32"

    @property
    def label(self) -> str:
        return " ".join(str(value) for value in asdict(self).values())

    def pipeline(self, device: str) -> Any:
        """The pipeline, ready to be called."""
        pipe = loading.load(self.model, device, getattr(torch, self.dtype))
        if self.solver != OWN:
            is_flow = "flow" in KINDS[self.model].says
            cls, changes = (FLOW if is_flow else DIFFUSION)[self.solver]
            config = dict(pipe.scheduler.config) | changes
            config |= {"use_dynamic_shifting": False} if is_flow else {}
            config |= (
                {"flow_shift": config.get("shift") or config.get("flow_shift") or 3.0} if is_flow else {}
            )
            config |= {"shift": config["flow_shift"]} if is_flow else {}
            pipe.scheduler = getattr(diffusers, cls).from_config(config)
        return pipe

    def call(self) -> dict[str, Any]:
        """The arguments of the pipeline's call beside prompt and noise."""
        kind = KINDS[self.model]
        call = dict(kind.call) | {"num_inference_steps": self.steps, "output_type": "np"}
        for name in (kind.guidance, "guidance_scale_2"):
            if name in call:
                call[name] = max(1.0, call[name] * self.guidance)
        return call


def situations(model: str) -> Iterator[Situation]:
    """All situations of a model, the most usual ones first."""
    if model == "sd3-few-steps":
        yield from (Situation(model, steps=steps) for steps in (8, 4))
        return
    yield from (Situation(model, steps=steps) for steps in (50, 20, 28))
    yield from (Situation(model, solver) for solver in SOLVERS[model])
    yield Situation(model, dtype="bfloat16")
    yield Situation(model, guidance=2.0)
    if model != "flux-distilled":
        yield Situation(model, guidance=0.0)
    yield from (Situation(model, solver, 20) for solver in SOLVERS[model][:1])
    yield Situation(model, steps=20, dtype="bfloat16")
