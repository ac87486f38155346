"""Where on a model a method works: at its own site, or at the whole output if the model lacks that site."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import Probe, Site
from skipstone.pipelines.model.blocks import block_lists
from skipstone.pipelines.model.layers import Found, layers_in
from skipstone.pipelines.model.probes import OF_THE_TIME
from skipstone.pipelines.model.unets import deep_branch, is_unet

EARLY = (Probe.NONE, Probe.MODEL_INPUT, *OF_THE_TIME)
"""The probes that are known before the model runs."""


@dataclass(frozen=True)
class Placement:
    """Where a method works on one model.

    Args:
        site: the estimated site.
        probe: the method's probe.
        remark: a note for the user.
        layers: the layers that it may skip, at `Site.LAYER`.
    """

    site: Site
    probe: Probe
    remark: str | None = None
    layers: tuple[Found, ...] = ()


def place(cacher: Cacher[Any], model: nn.Module) -> Placement:
    """Find where a method works on a model.

    Raises:
        ValueError: it cannot work on this model.
    """
    placement = _placement(cacher, model)
    of_the_time = OF_THE_TIME.get(placement.probe)
    if of_the_time is not None and of_the_time(model, [0.0]) is None:
        raise ValueError(
            f"{cacher.describe()} looks at the {placement.probe.value.replace('-', ' ')}, but "
            f"{type(model).__name__} has none; choose settings that need none"
        )
    return placement


def modules_at(placement: Placement, model: nn.Module, head_blocks: int) -> list[nn.Module]:
    """The modules of a model that an evaluation stands in for.

    Raises:
        ValueError: there are fewer layers than have to run on every step.
    """
    match placement.site:
        case Site.STACK:
            return list(block_lists(model).values())
        case Site.DEEP:
            return deep_branch(model, head_blocks)
        case Site.LAYER:
            return [found.module for found in placement.layers]
    return []


def at_output(cacher: Cacher[Any], why: str) -> Placement | None:
    """Place a stack's method at the whole output; None if its probe needs blocks.

    The blocks' inputs are not known there, so the model's input is the probe.
    """
    remark = f"{why}: the whole output is estimated instead"
    if cacher.watches_attention:
        return None
    if cacher.probe in EARLY:
        return Placement(Site.OUTPUT, cacher.probe, remark)
    if cacher.probe is Probe.MODULATED_INPUT:
        return Placement(Site.OUTPUT, Probe.MODEL_INPUT, f"{remark}, judged by the model's input")
    return None


def _placement(cacher: Cacher[Any], model: nn.Module) -> Placement:
    name = type(model).__name__
    if cacher.site is Site.DEEP and not is_unet(model):
        raise ValueError(
            f"{cacher.name} estimates the deep branch of a UNet, but {name} is not a UNet (it has no "
            "down_blocks, mid_block and up_blocks); choose another method"
        )
    if cacher.site is Site.LAYER:
        return _at_layers(cacher, model)
    if cacher.site is not Site.STACK or (not is_unet(model) and block_lists(model)):
        return Placement(cacher.site, cacher.probe)
    why = _no_stack(model)
    placement = at_output(cacher, why)
    if placement is None:
        looks_at = "a middle block's attention" if cacher.watches_attention else cacher.probe.value
        raise ValueError(
            f"{cacher.name} looks at {looks_at}, which {name} does not have: {why}; "
            "choose a method that looks at the model's input, such as teacache"
        )
    return placement


def _at_layers(cacher: Cacher[Any], model: nn.Module) -> Placement:
    name, kinds = type(model).__name__, ", ".join(sorted(kind.value for kind in cacher.layer_kinds))
    if cacher.probe is not Probe.NONE and cacher.probe not in OF_THE_TIME:
        raise ValueError(
            f"{cacher.name} looks at {cacher.probe.value}, which layers are not given; a method of layers "
            "must decide by the step"
        )
    layers = layers_in(model, cacher.layer_kinds)
    if not layers:
        raise ValueError(
            f"{cacher.name} skips layers within blocks ({kinds}), but no such layers are known in {name}; "
            "choose a method that skips whole steps, such as teacache"
        )
    return Placement(Site.LAYER, cacher.probe, layers=layers)


def _no_stack(model: nn.Module) -> str:
    name = type(model).__name__
    if is_unet(model):
        return f"{name} is a UNet, its blocks are no stack"
    modules = ", ".join(module for module, _ in model.named_children()) or "it has no modules"
    return f"{name} has no list of attention blocks among its modules ({modules})"
