"""Orthogonalised momentum for the weights of hidden layers.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024).
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
MOMENTUM = 0.95


def orthogonalised(matrices: Tensor) -> Tensor:
    """Each of the matrices (n, rows, columns) near the closest one with orthonormal rows or columns."""
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalised(matrices.mT).mT
    first, third, fifth = QUINTIC
    matrices = matrices.bfloat16()
    matrices = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = matrices @ matrices.mT
        matrices = first * matrices + (third * gram + fifth * gram @ gram) @ matrices
    return matrices


class Muon:
    """Steps of equal size in every direction of a weight, instead of one for every number of it.

    Args:
        parameters: weights of linear layers and convolutions (outputs, ...); those of one shape go together.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        groups: dict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
        for parameter in self.parameters:
            groups[tuple(parameter.flatten(1).shape)].append(parameter)
        self._groups = list(groups.values())
        self._momenta = [
            torch.zeros(len(group), *shape, device=group[0].device)
            for shape, group in zip(groups, self._groups, strict=True)
        ]

    @torch.no_grad()
    def step(self, rate: Tensor) -> None:
        for group, momentum in zip(self._groups, self._momenta, strict=True):
            slopes = torch.stack([parameter.grad.flatten(1) for parameter in group])
            momentum.lerp_(slopes, 1 - MOMENTUM)
            outputs, inputs = slopes.shape[1:]
            scale = max(1.0, outputs / inputs) ** 0.5
            moves = orthogonalised(slopes.lerp(momentum, MOMENTUM)).float() * rate * scale
            for parameter, move in zip(group, moves, strict=True):
                parameter.sub_(move.view_as(parameter))
