"""The scale-shift adjustment of Block Caching: a learned correction of the residuals of skipped blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import Correction, Probe, Step
from skipstone.cachers.contract.wrapper import Wrapper
from skipstone.cachers.kernels.operations import adjust

RETRAIN = "train it on this model and schedule"


class ScaleShift(nn.Module):
    """Scale and shift each channel of a block's residual, by one linear layer on the time embedding.

    Source: Block Caching, arXiv:2312.03209, section 3.3.
    Difference: training starts from the identity, which the paper leaves open. It is trained by least
    squares, not by gradient descent (``examples/training/train_scale_shift.py``). Its target is the residual
    of the teacher's block, not its output: aimed at outputs, each block would correct the same error again.
    On the bundled models it gains little (their README files have the figures).

    Args:
        embedding: size of the model's time embedding.
        channels: for each block's name, the number of channels of each stream that passes through it.
    """

    def __init__(self, embedding: int, channels: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        self.linears = nn.ModuleDict(
            {
                _key(block, stream): _identity(embedding, size)
                for block, sizes in channels.items()
                for stream, size in enumerate(sizes)
            }
        )

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> "ScaleShift":
        """The module that a state dict was taken from.

        Raises:
            ValueError: it was taken from another module.
        """
        channels: dict[str, list[int]] = {}
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        weights = [name for name in sorted(shapes) if name.endswith(".weight") and len(shapes[name]) == 2]
        for name in weights:
            block = name.removeprefix("linears.").rpartition("/")[0].replace("/", ".")
            channels.setdefault(block, []).append(shapes[name][0] // 2)
        # Nothing is allocated before all shapes are right.
        with torch.device("meta"):
            module = cls(shapes[weights[0]][1] if weights else 0, channels)
        if shapes != {name: tuple(value.shape) for name, value in module.state_dict().items()}:
            raise ValueError("the weights of an adjustment should be of scales and shifts for each stream")
        module.load_state_dict({name: value.float() for name, value in state.items()}, assign=True)
        return module.requires_grad_(False)

    def __contains__(self, block: str) -> bool:
        return _key(block, 0) in self.linears

    def layer(self, block: str, stream: int) -> nn.Linear:
        """The linear layer that returns the scales and then the shifts of one stream of a block.

        Raises:
            ValueError: nothing was learned for it.
        """
        key = _key(block, stream)
        if key not in self.linears:
            raise ValueError(f"the adjustment was not trained for stream {stream} of {block}: {RETRAIN}")
        linear = self.linears[key]
        assert isinstance(linear, nn.Linear)
        return linear

    def forward(self, base: Tensor, residual: Tensor, block: str, stream: int, embedding: Tensor) -> Tensor:
        """Add the adjusted residual to one stream of a block, ``(batch, tokens, channels)``.

        Args:
            base: what enters the block.
            residual: the estimate of what the block adds.
            block: the block's name in the model.
            stream: the number of the block's stream, from 0.
            embedding: the model's time embedding, ``(1, embedding)``.

        Raises:
            ValueError: it was trained for a model of other sizes.
        """
        linear = self.layer(block, stream)
        trained, here = tuple(linear.weight.shape), (2 * base.shape[-1], embedding.shape[-1])
        if trained != here:
            raise ValueError(f"the adjustment of {block} has weights {trained}, not {here}: {RETRAIN}")
        scale, shift = linear(embedding.to(linear.weight)).to(residual)[0].chunk(2)
        return adjust(base, residual, scale, shift)


def _key(block: str, stream: int) -> str:
    """A name without dots, which separate modules."""
    return f"{block.replace('.', '/')}/{stream}"


def _identity(embedding: int, channels: int) -> nn.Linear:
    """A layer that returns a scale of 1 and a shift of 0 for every embedding."""
    linear = nn.Linear(embedding, 2 * channels)
    nn.init.zeros_(linear.weight)
    linear.bias.data = torch.cat([torch.ones(channels), torch.zeros(channels)])
    return linear


@dataclass
class State:
    """The state of the block's own rule, and the time embedding of this step."""

    inner: Any
    embedding: Tensor | None = None


@dataclass(frozen=True)
class Adjusted(Wrapper):
    """Adjust the estimated residual of one block.

    Args:
        cacher: the block's own rule.
        adjustment: the learned scales and shifts.
        block: the block's name in the model.
    """

    name: ClassVar[str] = "adjusted"
    probe = Probe.TIME_EMBEDDING

    adjustment: ScaleShift
    block: str

    def new_state(self) -> State:
        return State(super().new_state())

    def inner(self, state: State) -> Any:
        return state.inner

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: State) -> str | None:
        state.embedding = probe
        return super().reason_to_compute(probe, step, state)

    def correction(self, state: State) -> Correction | None:
        if state.embedding is None:
            return None
        embedding = state.embedding

        def correct(residual: Tensor, base: Tensor, stream: int) -> Tensor:
            mended: Tensor = self.adjustment(base, residual, self.block, stream, embedding)
            return mended

        return correct


def adjusted(rule: Cacher[Any], adjustment: ScaleShift, block: str) -> Adjusted:
    """A block's rule with an adjustment.

    Raises:
        ValueError: nothing was learned for this block.
    """
    if block not in adjustment:
        raise ValueError(f"the adjustment was not trained for {block}: {RETRAIN}")
    return Adjusted(rule, adjustment, block)
