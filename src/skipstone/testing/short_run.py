"""A short run of a pipeline, which is the same every time."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.pipelines.model.models import models_of


@dataclass
class ShortRun:
    """A pipeline and the arguments of a short run of it.

    Args:
        pipe: the pipeline.
        kwargs: what it is called with, beside the generator and the output's type.
    """

    pipe: Any
    kwargs: dict[str, Any]

    def __call__(self, **kwargs: Any) -> Tensor:
        """Run from the same noise, and return the latents."""
        generator = torch.Generator().manual_seed(0)
        output = self.pipe(**{**self.kwargs, "generator": generator, "output_type": "latent", **kwargs})
        latents: Tensor = output[0]
        return latents

    @cached_property
    def uncached(self) -> Tensor:
        """The latents without a method; ask for them before one is attached."""
        return self()

    @property
    def model(self) -> nn.Module:
        """The first of the models that are called on its steps."""
        return next(iter(models_of(self.pipe).values()))

    @property
    def steps(self) -> int:
        """How many steps it is asked for."""
        steps: int = self.kwargs["num_inference_steps"]
        return steps
