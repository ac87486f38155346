"""The deep branch of a UNet: everything below the outermost skip connections."""

from typing import Any

from torch import nn


def is_unet(model: nn.Module) -> bool:
    """Whether a model consists of down, mid and up blocks, like the UNets of diffusers."""
    return all(hasattr(model, name) for name in ("down_blocks", "mid_block", "up_blocks"))


def deep_branch(unet: Any, layers: int) -> list[nn.Module]:
    """The modules that are skipped if only the outermost layers run; none is inside another.

    Args:
        unet: the model.
        layers: how many layers of the first down block run. In the last up block one more runs, so that every
            filled skip connection is used.

    Raises:
        ValueError: the first down block has fewer layers.
    """
    first, last = _layers(unet.down_blocks[0]), _layers(unet.up_blocks[-1])
    if layers > len(first):
        raise ValueError(
            f"{layers} layers at either end are to run on every step, but the first down block of "
            f"{type(unet).__name__} has {len(first)}; ask for at most that many"
        )
    inside = [
        unet.mid_block,
        *unet.down_blocks[1:],
        *unet.up_blocks[:-1],
        *_downsamplers(unet.down_blocks[0]),
    ]
    outer = [*first[layers:], *last[: len(last) - layers - 1]]
    return [part for part in inside if part is not None] + [part for layer in outer for part in layer]


def _layers(block: Any) -> list[tuple[nn.Module, ...]]:
    """The layers of a block, each with its modules: a resnet, attentions, motion modules."""
    count = len(block.resnets)
    lists = [part for part in block.children() if isinstance(part, nn.ModuleList) and len(part) == count]
    sampling = (_downsamplers(block), getattr(block, "upsamplers", None))
    return list(zip(*(part for part in lists if part not in sampling), strict=True))


def _downsamplers(block: Any) -> Any:
    return getattr(block, "downsamplers", None) or []
