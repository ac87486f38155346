"""Records of tiny pipelines."""

from typing import Any

import torch

import skipstone
from support import tiny
from support.tiny_pipelines import PIPELINES
from support.toy import ToyPipeline


def recorded(name: str, **kwargs: Any) -> skipstone.Record:
    case = PIPELINES[name].make() if name in PIPELINES else tiny.PIPELINES[name]()
    generator = torch.Generator().manual_seed(0)
    asked = {"generator": generator, "output_type": "latent", **kwargs}
    return skipstone.record(case.pipe, **{**case.kwargs, **asked})


class Listening(ToyPipeline):
    """Takes and ignores what real pipelines are asked for."""

    def __call__(self, inputs: Any, steps: int | None = None, output_type: str = "pil", **kwargs: Any) -> Any:
        return [torch.stack(super().__call__(inputs, steps, **kwargs))]
