"""A tiny model, and ways to sample it as workflows do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from comfyui.stand_in import BaseModel, Guider, Patcher, Sampler, condition
from comfyui.stand_in_models import Flow, TinyTransformer, context
from comfyui.stand_in_samplers import sample_euler
from torch import Tensor

from skipstone.comfyui import NODE_CLASS_MAPPINGS

STEPS = 16

FALLING = torch.tensor([*torch.logspace(1.1, -1.5, STEPS).tolist(), 0.0])
"""Noise levels of models that noise is added to."""


@dataclass
class Bench:
    """Samples a model: by default a picture of eight by eight with guidance, as a workflow would.

    Args:
        patcher: the model.
    """

    patcher: Patcher
    positive: list[dict[str, Any]] = field(default_factory=lambda: [condition(context=context(1))])
    negative: list[dict[str, Any]] | None = field(default_factory=lambda: [condition(context=context(2))])
    sampler: Any = sample_euler
    sampler_options: dict[str, Any] = field(default_factory=dict)
    sigmas: Tensor = field(default_factory=lambda: torch.linspace(1, 0, STEPS + 1))
    cfg: float = 3.0
    size: Sequence[int] = (1, 4, 8, 8)
    options: dict[str, Any] = field(default_factory=dict)
    most_at_once: int = 8

    def sample(self, patcher: Patcher | None = None, seed: int = 0, **given: Any) -> Tensor:
        """The latents of one run."""
        made = (patcher or self.patcher).clone()
        made.model_options.update(self.options)
        guider = Guider(made, self.positive, self.negative, self.cfg)
        guider.most_at_once = self.most_at_once
        torch.manual_seed(seed)
        sampler = Sampler(self.sampler, **self.sampler_options)
        return guider.sample(torch.randn(self.size), sampler, self.sigmas, **given)

    def calls(self, patcher: Patcher | None = None, **given: Any) -> int:
        """How many calls of the model a run computes."""
        model: Any = self.patcher.model.diffusion_model
        before = model.calls
        self.sample(patcher, **given)
        return int(model.calls - before)

    def faster(self, speedup: float = 2.0, patcher: Patcher | None = None) -> Patcher:
        """The model from the node that plans for a speed."""
        (made,) = NODE_CLASS_MAPPINGS["SkipstonePlanForSpeed"]().attach(patcher or self.patcher, speedup)
        assert isinstance(made, Patcher)
        return made

    def planned(self, speedup: float = 2.0) -> tuple[Patcher, Tensor]:
        """The model after a recorded run, and what that run gave."""
        made = self.faster(speedup)
        return made, self.sample(made)


def said(patcher: Patcher, **given: Any) -> str:
    """What the node that tells it says of a model."""
    made = NODE_CLASS_MAPPINGS["SkipstoneWhatHappened"]().tell(patcher, {"samples": None}, **given)
    text: str = made["result"][0]
    assert made["ui"]["text"] == [text]
    return text


def tiny_model(seed: int = 0, sampling: Any = None, blocks: int = 2) -> Patcher:
    """A tiny transformer with random weights."""
    torch.manual_seed(seed)
    model = TinyTransformer(blocks).eval().requires_grad_(False)
    return Patcher(BaseModel(model, sampling or Flow()))
