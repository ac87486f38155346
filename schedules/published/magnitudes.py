"""MagCache's published magnitude ratios, and the models that they were measured on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Magnitudes:
    """The ratios of successive residuals of one model; facts from MagCache's official code.

    Args:
        model: the diffusers class.
        ratios: one for each step of the measured run, from the second step on.
        config: configuration values that identify the variant of that class.
    """

    model: str
    ratios: tuple[float, ...]
    config: Mapping[str, Any] = field(default_factory=dict)


PUBLISHED: tuple[Magnitudes, ...] = (
    Magnitudes(
        "FluxTransformer2DModel",
        (1.21094, 1.11719, 1.07812, 1.0625, 1.03906, 1.03125, 1.03906, 1.02344, 1.03125, 1.02344, 0.98047,
         1.01562, 1.00781, 1.0, 1.00781, 1.0, 1.00781, 1.0, 1.0, 0.99609, 0.99609, 0.98047, 0.98828, 0.96484,
         0.95703, 0.93359, 0.89062),
        {"num_layers": 19, "num_single_layers": 38},
    ),
    Magnitudes(
        "HunyuanVideoTransformer3DModel",
        (1.0754, 1.27807, 1.11596, 1.09504, 1.05188, 1.00844, 1.05779, 1.00657, 1.04142, 1.03101, 1.00679,
         1.02556, 1.00908, 1.06949, 1.05438, 1.02214, 1.02321, 1.03019, 1.00779, 1.03381, 1.01886, 1.01161,
         1.02968, 1.00544, 1.02822, 1.00689, 1.02119, 1.0105, 1.01044, 1.01572, 1.02972, 1.0094, 1.02368,
         1.0226, 0.98965, 1.01588, 1.02146, 1.0018, 1.01687, 0.99436, 1.00283, 1.01139, 0.97122, 0.98251,
         0.94513, 0.97656, 0.90943, 0.85703, 0.75456),
        {"num_layers": 20, "num_single_layers": 40},
    ),
    Magnitudes(
        "WanTransformer3DModel",
        (1.0124, 1.00166, 0.99791, 0.99682, 0.99634, 0.99567, 0.99416, 0.99578, 0.9957, 0.99511, 0.99535,
         0.99552, 0.99541, 0.9954, 0.99489, 0.99518, 0.99484, 0.99481, 0.99415, 0.99419, 0.99396, 0.99388,
         0.99349, 0.99309, 0.9927, 0.99228, 0.99171, 0.99137, 0.99068, 0.99005, 0.98944, 0.98849, 0.98758,
         0.98644, 0.98504, 0.9836, 0.98202, 0.97977, 0.97717, 0.9741, 0.97003, 0.96538, 0.9593, 0.95086,
         0.94013, 0.92402, 0.90241, 0.86821, 0.81838),
        {"num_layers": 30, "num_attention_heads": 12, "in_channels": 16},
    ),
    Magnitudes(
        "WanTransformer3DModel",
        (1.02504, 1.00025, 0.9985, 0.99779, 0.9966, 0.99482, 0.99467, 0.99664, 0.99434, 0.99533, 0.99468,
         0.99438, 0.99516, 0.99384, 0.99404, 0.99517, 0.99409, 0.99428, 0.99347, 0.99418, 0.99271, 0.99313,
         0.99215, 0.99218, 0.99216, 0.99163, 0.99138, 0.98982, 0.98996, 0.9887, 0.98772, 0.98767, 0.98573,
         0.98501, 0.9838, 0.98177, 0.98037, 0.97678, 0.97546, 0.97184, 0.96711, 0.96349, 0.95629, 0.94926,
         0.93964, 0.92511, 0.90693, 0.8796, 0.86111),
        {"num_layers": 40, "num_attention_heads": 40, "in_channels": 16},
    ),
)  # fmt: skip


def published_ratios(model: str, config: Mapping[str, Any]) -> tuple[float, ...] | None:
    """The published ratios of a model, with a 1 for the first step, or None."""
    for entry in PUBLISHED:
        if entry.model == model and all(config.get(key) == value for key, value in entry.config.items()):
            return (1.0, *entry.ratios)
    return None


def interpolated(ratios: Sequence[float], index: int, count: int) -> float:
    """The ratio of a step in a run of any length: the nearest one."""
    if count < 2:
        return ratios[-1]
    return ratios[round(index * (len(ratios) - 1) / (count - 1))]
