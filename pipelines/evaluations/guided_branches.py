"""The branches of classifier-free guidance in a run, and the estimate of the unconditional one."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from skipstone.cachers.contract.guidance import Guidance
from skipstone.cachers.contract.words import Step
from skipstone.cachers.kernels.operations import reuse
from skipstone.pipelines.memory.halves import Half, half_of
from skipstone.pipelines.model.calls import parameters_of
from skipstone.pipelines.model.outputs import floats_in, refilled

CONDITIONAL = {"uncond": "cond", "pred_uncond": "pred_cond", "branch 1": "branch 0"}
"""From the name of an unconditional branch to that of the conditional one, which pipelines call first."""

HALF = "unconditional half"
"""The name in the statistics of the half of a batch that may be skipped."""


@dataclass(frozen=True)
class Seen:
    """A branch's output on this step, and the shape of its latents."""

    shape: torch.Size
    output: Any


@dataclass(frozen=True)
class GuidedCall:
    """One call of the model: its branch, its step and its latents."""

    name: str
    step: Step
    latents: Tensor

    @property
    def key(self) -> Hashable:
        return self.name, self.latents.shape


class GuidedBranches:
    """Follow the branches of one model, and estimate the unconditional one if the method says so.

    Args:
        guidance: the method that saves the unconditional branch.
        model: the model.
        trials: whether half of a batch can be computed alone, by the call's layout, for all runs.

    ``found`` tells whether this run has had an unconditional branch, and ``half`` which half of its batch the
    present call computes. ``parts`` counts the halves as parts of evaluations.
    """

    def __init__(self, guidance: Guidance, model: nn.Module, trials: dict[Hashable, bool]) -> None:
        self._guidance = guidance
        self._model = model
        self._seen: dict[str, Seen] = {}
        self._bands_of: dict[Hashable, list[Sequence[Tensor]]] = {}
        self._grids: dict[Hashable, tuple[int, ...]] = {}
        self._trials = trials
        self._call: GuidedCall | None = None
        self.found = False
        self.half: Half | None = None
        self.parts: Counter[tuple[str, bool]] = Counter()
        self._whole: Half | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held for reuse."""
        outputs = [tensor for seen in self._seen.values() for tensor in floats_in(seen.output)]
        bands = [band for kept in self._bands_of.values() for tensors in kept for band in tensors]
        return sum(tensor.nbytes for tensor in (*outputs, *bands))

    def new_step(self) -> None:
        """Forget the outputs of the last step."""
        self._seen.clear()

    def forget(self) -> None:
        """Drop everything for reuse."""
        self._seen.clear()
        self._bands_of.clear()

    def begin(self, name: str, step: Step, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The estimated output of the unconditional branch; None if this call is computed.

        In that case ``half`` tells whether only one half is computed.
        """
        self.half = self._whole = self._call = None
        self.parts = Counter()
        given = _named(self._model, args, kwargs)
        latents = next((value for value in given.values() if _is_latents(value)), None)
        if latents is None:
            return None
        call = self._call = GuidedCall(name, step, latents)
        if call.key not in self._grids:
            self._grids[call.key] = _grid(given)
        cond = self._conditional(call)
        saves = self._guidance.reason_to_compute(step) is None and call.key in self._bands_of
        if cond is not None:
            self.found = True
            return self._estimate(cond.output) if saves else None
        self._whole = half_of(self._model, latents)
        if self._whole is not None:
            self.found = True
            self.half = self._whole if saves and self._trials.get(call.key) else None
            self.parts[HALF, self.half is not None] += 1
        return None

    def finish(self, output: Any) -> Any:
        """What the pipeline gets from a computed call's output."""
        if self._call is None:
            return output
        if self.half is not None:
            return self.half.join(output, self._estimate(output))
        cond = self._conditional(self._call)
        if cond is not None:
            self._keep(list(floats_in(output)), list(floats_in(cond.output)))
        elif self._whole is not None:
            tensors = list(floats_in(output))
            self._keep([self._whole.other(t) for t in tensors], [self._whole.of(t) for t in tensors])
        if self._call.name in CONDITIONAL.values():
            copy = refilled(output, (tensor.detach().clone() for tensor in floats_in(output)))
            self._seen[self._call.name] = Seen(self._call.latents.shape, copy)
        return output

    @property
    def untried(self) -> Half | None:
        """How to compute half of the present batch, if this is not tried yet."""
        known = self._call is None or self._call.key in self._trials
        return None if known else self._whole

    def note_trial(self, right: bool) -> None:
        """Note whether half of the present batch can be computed alone."""
        assert self._call is not None
        self._trials[self._call.key] = right

    def _conditional(self, call: GuidedCall) -> Seen | None:
        """The conditional branch's output on this step, if the call is of the unconditional branch."""
        seen = self._seen.get(CONDITIONAL.get(call.name, ""))
        return seen if seen is not None and seen.shape == call.latents.shape else None

    def _keep(self, uncond: list[Tensor], cond: list[Tensor]) -> None:
        assert self._call is not None
        grid = self._grids[self._call.key]
        differences = [_planes(u.float() - c.float(), grid) for u, c in zip(uncond, cond, strict=True)]
        self._bands_of[self._call.key] = [self._guidance.split(one.detach()) for one in differences]

    def _estimate(self, cond: Any) -> Any:
        assert self._call is not None
        weights = self._guidance.weights(self._call.step)
        kept = self._bands_of[self._call.key]
        return refilled(
            cond, (self._added(c, p, weights) for c, p in zip(floats_in(cond), kept, strict=True))
        )

    def _added(self, cond: Tensor, bands: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
        assert self._call is not None
        planes = _planes(cond, self._grids[self._call.key])
        return _unplaned(reuse(planes, bands, weights), cond.shape)


def _named(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name, in the order of the model's parameters."""
    names = parameters_of(model)
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    return {name: given[name] for name in (*names, *given) if name in given}


def _is_latents(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.ndim >= 2


def _grid(given: Mapping[str, Any]) -> tuple[int, ...]:
    """Frames (if any), rows and columns of latents that are packed into tokens, as far as known."""
    for name in ("img_ids", "img_shapes"):
        value = given.get(name)
        while isinstance(value, (list, tuple)) and value and not isinstance(value[0], int):
            value = value[0]
        if isinstance(value, Tensor):
            last = value.reshape(-1, value.shape[-1])[:, -2:].amax(0).tolist()
            return tuple(int(n) + 1 for n in last)
        if isinstance(value, (list, tuple)):
            return tuple(value)
    sizes = [given.get(name) for name in ("num_frames", "height", "width")]
    return tuple(size for size in sizes if isinstance(size, int))


def _planes(tensor: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Packed latents ``(batch, tokens, channels)`` as ``(batch, channels, ..., height, width)``."""
    if tensor.ndim > 3:
        return tensor
    if tensor.ndim < 3:
        return tensor.unsqueeze(1)
    batch, tokens, channels = tensor.shape
    known = len(grid) > 1 and prod(grid) == tokens
    return tensor.transpose(1, 2).reshape(batch, channels, *(grid if known else (1, tokens)))


def _unplaned(planes: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `_planes`."""
    return planes.flatten(2).transpose(1, 2) if len(shape) == 3 else planes.reshape(shape)
