"""Tell the conditions of a model's call apart: prompts, areas, context windows, passes with other patches."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skipstone.pipelines.model.outputs import floats_in, refilled


@dataclass(frozen=True)
class Condition:
    """One condition of a call.

    Args:
        uuid: ComfyUI's own id of it, new in each run.
        is_uncond: whether it is a negative one. An area's negative one has the id of the positive one.
        window: the frames of its context window; None for all.
        patches: the names of the patches that the model has in this call.
        visit: how often its step was visited before, from 1; samplers of higher order do so twice.
    """

    uuid: Hashable
    is_uncond: bool
    window: Hashable
    patches: Hashable
    visit: int

    @property
    def name(self) -> str:
        return "uncond" if self.is_uncond else "cond"


def conditions_of(options: Mapping[str, Any], visit: int) -> list[Condition]:
    """The conditions of a call, in the order of their parts of the batch; empty if they cannot be told.

    Args:
        options: the call's transformer options.
        visit: as of `Condition`.
    """
    uuids, marks = options.get("uuids") or (), options.get("cond_or_uncond") or ()
    window = options.get("context_window")
    frames = None if window is None else getattr(window, "index_list", None)
    unknown = window is not None and frames is None
    if unknown or len(uuids) != len(marks) or None in uuids:
        return []
    shared = None if frames is None else tuple(frames), _patches(options), visit
    found = [Condition(uuid, mark == 1, *shared) for uuid, mark in zip(uuids, marks, strict=True)]
    return found if len(set(found)) == len(found) else []


def parts_of(value: Any, count: int) -> list[Any]:
    """A batch's parts, one for each condition; empty if it cannot be divided so."""
    whole = list(floats_in(value))
    if not whole or any(one.ndim == 0 or len(one) % count for one in whole):
        return []
    parts = [one.chunk(count) for one in whole]
    return [refilled(value, (part[n] for part in parts)) for n in range(count)]


def together(parts: list[Any]) -> Any:
    """The batch of some parts."""
    each = zip(*map(floats_in, parts), strict=True)
    return refilled(parts[0], (torch.cat(several) for several in each))


def layout_of(args: tuple[Any, ...], count: int) -> Hashable:
    """Shape, type and device of a part of a call's first argument, the latents."""
    tensors: Iterator[Tensor] = floats_in(args[:1])
    return tuple((len(one) // count, one.shape[1:], one.dtype, one.device) for one in tensors)


def _patches(options: Mapping[str, Any]) -> Hashable:
    """The names of a call's patches; passes without attention or layers differ in them alone."""
    added = ((name, len(patches)) for name, patches in options.get("patches", {}).items())
    replaced = options.get("patches_replace", {}).items()
    return frozenset(added), frozenset(f"{kind} {place}" for kind, places in replaced for place in places)
