"""Each kernel against its reference in float64: on a GPU, or with ``TRITON_INTERPRET=1`` on a CPU.

`test_kernels.py` runs these in a process of their own: Triton reads that variable when it is imported.
"""

import os
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from skipstone.cachers.kernels import adjust, distance, quantise, reference, restore, reuse
from skipstone.cachers.kernels.grouping import FEWEST, GROUP, grouping_of
from skipstone.cachers.kernels.layout import layout_of
from skipstone.cachers.kernels.reference import Quantised
from support.pairwise import pairwise

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"

SHAPES = [(1, 1), (2, 7), (1, 3, 5), (2, 65, 64), (3, 1, 4097)]

# Half a unit in the last place, but the interpreter cuts bfloat16 off.
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 4e-3 if DEVICE == "cuda" else 8e-3, torch.float16: 5e-4}
"""The relative error that storing a result once can make."""

# Numbers in fp8 have three bits after the first. Where rounding up carries, the interpreter forgets that.
FP8_ROUNDING = 1 / 15 if DEVICE == "cuda" else 0.51
"""The same for fp8."""

FP8_MEAN_ROUNDING = 0.04 if DEVICE == "cuda" else 0.1
"""The relative error of a whole tensor in fp8."""

DTYPES = tuple(ROUNDING)


def named(value: Any) -> str:
    """A value in the name of a case."""
    return str(value).replace("torch.", "")


def combined(names: str, *dimensions: Sequence[Any]) -> pytest.MarkDecorator:
    """All combinations on a GPU; in the slow interpreter those in which any two values meet."""
    some = pairwise if DEVICE == "cpu" else product
    return pytest.mark.parametrize(names.split(), list(some(*dimensions)), ids=named)


dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=named)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def drawn(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(DEVICE, dtype)


def unwritten(like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    return torch.empty_like(like, dtype=dtype).fill_(float("nan"))


def transposed(tensor: Tensor) -> Tensor:
    """The same numbers, stored with the last two axes of each sample swapped."""
    return tensor.transpose(-1, -2).contiguous().transpose(-1, -2) if tensor.ndim > 2 else tensor


def sliced(tensor: Tensor) -> Tensor:
    """The same numbers, stored with gaps between the samples."""
    return torch.cat([tensor, tensor], dim=1)[:, : tensor.shape[1]]


def assert_close(got: Tensor, expected: Tensor, tolerance: float) -> None:
    error = (got.double() - expected).norm() / expected.norm().clamp(min=1e-30)
    assert error <= tolerance, f"relative error {error:.2e}"


STORED: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": Tensor.contiguous,
    "transposed": transposed,
    "sliced": sliced,
}


@combined("shape dtype count", SHAPES, DTYPES, (1, 3, 6))
def test_reuse(shape: tuple[int, ...], dtype: torch.dtype, count: int) -> None:
    base, *snapshots = (drawn(shape, dtype, n) for n in range(count + 1))
    weights = [1.5 - n for n in range(count)]
    out = unwritten(base)
    layout = layout_of((out, base, *snapshots))
    assert layout is not None
    reuse.reuse(layout, out, base, snapshots, weights)
    expected = reference.reuse(base.double(), [one.double() for one in snapshots], weights)
    assert_close(out, expected, ROUNDING[dtype])
    reuse.reuse(layout, base, base, snapshots, weights)
    assert torch.equal(base, out)


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("others", STORED)
def test_reuse_of_tensors_that_are_not_contiguous(stored: str, others: str) -> None:
    base = STORED[stored](drawn((2, 6, 40), torch.float32))
    snapshots = [STORED[others](drawn((2, 6, 40), torch.float32, n)) for n in (1, 2)]
    out = unwritten(base)
    layout = layout_of((out, base, *snapshots))
    if ("transposed" in (stored, others)) and stored != others:
        assert layout is None
        return
    assert layout is not None
    reuse.reuse(layout, out, base, snapshots, [2.0, -1.0])
    assert_close(out, base.double() + 2 * snapshots[0].double() - snapshots[1].double(), 1e-6)


def test_reuse_adds_float32_parts_to_a_half_precise_base() -> None:
    base, parts = drawn((2, 3, 9), torch.bfloat16), [drawn((2, 3, 9), torch.float32, n) for n in (1, 2)]
    layout = layout_of((out := unwritten(base), base, *parts))
    assert layout is not None
    reuse.reuse(layout, out, base, parts, [1.2, 1.0])
    assert_close(out, base.double() + 1.2 * parts[0].double() + parts[1].double(), ROUNDING[torch.bfloat16])


@dtypes
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 5, 3), (1, 3, 200), (2, 7, 4100)], ids=str)
def test_adjust(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    base, residual = (drawn(shape, dtype, n) for n in range(2))
    scale, shift = (drawn(shape[-1:], dtype, n) for n in (3, 4))
    out = unwritten(base)
    adjust.adjust(out, base, residual, scale, shift)
    expected = reference.adjust(base.double(), residual.double(), scale.double(), shift.double())
    assert_close(out, expected, ROUNDING[dtype])


@combined("shape dtype order", SHAPES, DTYPES, (1, 2))
def test_distance(shape: tuple[int, ...], dtype: torch.dtype, order: int) -> None:
    check_distance("contiguous", order, shape, dtype)


@shapes
@pytest.mark.parametrize("stored", ["transposed", "sliced"])
def test_distance_of_tensors_that_are_not_contiguous(stored: str, shape: tuple[int, ...]) -> None:
    check_distance(stored, 1, shape, torch.float32)


def check_distance(stored: str, order: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    current, before = (STORED[stored](drawn(shape, dtype, n)) for n in (0, 1))
    out = torch.full((shape[0],), float("nan"), device=DEVICE)
    layout = layout_of((current, before), merge=False)
    assert layout is not None
    distance.distance(layout, out, current, before, order)
    moved, size = (current.double() - before.double()).flatten(1), before.double().flatten(1)
    assert_close(out, moved.norm(order, dim=1) / size.norm(order, dim=1), 1e-6)
    again = torch.empty_like(out)
    distance.distance(layout, again, current, before, order)
    assert torch.equal(again, out)


@pytest.mark.parametrize(("current", "before"), [(1.0, 0.0), (float("nan"), 1.0), (float("inf"), 1.0)])
def test_a_distance_that_means_nothing_is_not_finite(current: float, before: float) -> None:
    tensors = [torch.full((2, 70), value, device=DEVICE) for value in (current, before)]
    layout = layout_of(tensors, merge=False)
    assert layout is not None
    distance.distance(layout, out := torch.zeros(2, device=DEVICE), *tensors, 1)
    assert not out.isfinite().any()


def quantised(tensor: Tensor, eight: torch.dtype) -> Quantised:
    values = torch.empty_like(tensor, dtype=eight).fill_(float("nan") if eight.is_floating_point else 99)
    scales = torch.full(grouping_of(tensor, eight).shape, float("nan"), device=DEVICE)
    into = Quantised(values, scales, tensor.dtype)
    quantise.quantise(into, tensor)
    return into


BY_CHANNEL = [(1, FEWEST, 2), (1, GROUP, 2), (2, 5 * GROUP // 2, 70), (3, GROUP, 130)]
"""Shapes whose channels have scales of their own in int8."""

EIGHTS = tuple(reference.LARGEST)

in_eights = pytest.mark.parametrize("eight", EIGHTS, ids=named)


@combined(
    "shape dtype form", [*SHAPES, *BY_CHANNEL], DTYPES, list(product(EIGHTS, ("contiguous", "transposed")))
)
def test_quantise(shape: tuple[int, ...], dtype: torch.dtype, form: tuple[torch.dtype, str]) -> None:
    eight, stored = form
    tensor = STORED[stored](drawn(shape, dtype))
    got, expected = quantised(tensor, eight), reference.quantise(tensor.double(), eight)
    assert got.values.stride() == tensor.stride()
    torch.testing.assert_close(got.scales, expected.scales, rtol=1e-5, atol=0)
    back, exact = reference.dequantise(got, torch.float64), tensor.double()
    # Steps are even: of int8 all of them, of fp8 those next to zero, 2**-9 of the scale.
    share, step = (0.0, 0.501) if eight == torch.int8 else (FP8_ROUNDING, 2**-9)
    assert ((back - exact).abs() <= share * exact.abs() + step * got.scales.max()).all()
    if tensor.numel() > 100:
        assert_close(back, exact, 0.01 if eight == torch.int8 else FP8_MEAN_ROUNDING)


@in_eights
def test_quantise_nothing(eight: torch.dtype) -> None:
    assert not reference.dequantise(quantised(torch.zeros(1, 3, device=DEVICE), eight)).any()


@in_eights
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_quantise_what_is_not_finite(value: float, eight: torch.dtype) -> None:
    tensor = drawn((1, GROUP), torch.float32)
    tensor[0, 3] = value
    for made in (quantised(tensor, eight), reference.quantise(tensor, eight)):
        assert not reference.dequantise(made).isfinite().all()


@combined(
    "shape dtype form",
    [(1, 1), (1, 3, 5), (2, 4, 64), (1, 3, 4097), *BY_CHANNEL],
    DTYPES,
    list(product(EIGHTS, (1, 3))),
)
def test_restore(shape: tuple[int, ...], dtype: torch.dtype, form: tuple[torch.dtype, int]) -> None:
    eight, count = form
    check_restore("contiguous", eight, shape, dtype, count)


@pytest.mark.parametrize("shape", [(2, 4, 64), BY_CHANNEL[-1]], ids=str)
@in_eights
@pytest.mark.parametrize("stored", ["transposed", "sliced"])
def test_restore_to_tensors_that_are_not_contiguous(
    stored: str, eight: torch.dtype, shape: tuple[int, ...]
) -> None:
    check_restore(stored, eight, shape, torch.float32, 2)


def check_restore(
    stored: str, eight: torch.dtype, shape: tuple[int, ...], dtype: torch.dtype, count: int
) -> None:
    base = STORED[stored](drawn(shape, dtype))
    snapshots = [torch.empty_like(base).copy_(drawn(shape, dtype, n + 1)) for n in range(count)]
    kept = [reference.quantise(one, eight) for one in snapshots]
    weights = [1.5 - n for n in range(count)]
    out = unwritten(base)
    layout = layout_of((out, base, *(one.values for one in kept)), merge=not kept[0].grouping.by_channel)
    assert layout is not None
    restore.restore(layout, out, base, kept, weights)
    parts = [reference.dequantise(one, torch.float64) for one in kept]
    assert_close(out, reference.reuse(base.double(), parts, weights), ROUNDING[dtype])


def test_offsets_beyond_32_bits() -> None:
    if DEVICE == "cpu":
        pytest.skip("needs 13 GiB")
    base = torch.ones(1, 2**31 + 4099, device=DEVICE, dtype=torch.bfloat16)
    snapshots = [torch.ones_like(base)]
    layout: Any = layout_of((base, base, *snapshots))
    reuse.reuse(layout, base, base, snapshots, [2.0])
    assert base[0, 0] == 3
    assert base[0, -1] == 3
