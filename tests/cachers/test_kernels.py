"""Kernels give what their references do, and the references take over wherever there is no kernel."""

import os
import subprocess
import sys
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from skipstone.cachers.kernels import dispatch, operations
from skipstone.cachers.kernels import reference as plain
from skipstone.cachers.kernels.layout import layout_of
from support.pairwise import pairwise

CASES = Path(__file__).parents[1] / "support" / "kernel_cases.py"


def run_cases(**environment: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", str(CASES)]
    done = subprocess.run(
        command, env={**os.environ, **environment}, cwd=CASES.parent.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_kernels_agree_with_their_references_in_the_interpreter() -> None:
    pytest.importorskip("triton", minversion="3.3", reason="Triton 3.2 takes no tuples of tensors")
    run_cases(TRITON_INTERPRET="1")


@pytest.mark.gpu
def test_kernels_agree_with_their_references_on_a_gpu() -> None:
    run_cases(TRITON_INTERPRET="0")


@pytest.fixture
def as_if_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are asked to work on tensors of the CPU, which they cannot."""
    monkeypatch.setattr(operations, "suits", lambda tensors: True)
    monkeypatch.setattr(dispatch, "broken", set())


OPERATIONS: dict[str, Any] = {
    "reuse": lambda x: operations.reuse(x, [x, 3 * x], [2.0, -1.0]),
    "restore": lambda x: operations.restore(x, [plain.quantise(x, torch.int8)], [2.0]),
    "adjust": lambda x: operations.adjust(x, x, x[0, 0], x[0, 0]),
    "distance": lambda x: operations.distance(x, 2 * x),
    "quantise": lambda x: operations.quantise(x, torch.int8).values.float(),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.usefixtures("as_if_on_a_gpu")
def test_a_kernel_that_does_not_work_is_one_line_in_the_log(
    name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = torch.arange(1.0, 13.0).reshape(2, 2, 3)
    got = [OPERATIONS[name](given) for _ in range(3)]
    monkeypatch.undo()
    assert all(torch.equal(one, OPERATIONS[name](given)) for one in got)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.messages[0].startswith(f"{name} runs in plain torch")


@pytest.mark.usefixtures("as_if_on_a_gpu")
def test_without_triton_the_reference_runs(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "skipstone.cachers.kernels.reuse", raising=False)
    ones = torch.ones(1, 4)
    assert torch.equal(operations.reuse(ones, [ones, ones], [1.0, 2.0]), 4 * ones)
    assert len(caplog.records) == 1


def test_out_of_memory_is_no_reason_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(name: str) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(dispatch, "import_module", full)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        dispatch.attempt("reuse", torch.ones(1))
    assert not dispatch.broken


def test_kernels_are_for_cuda_alone() -> None:
    assert not dispatch.suits([torch.ones(2, 2)])
    assert not dispatch.suits([torch.ones(2, 2, device="meta")])


def test_what_has_no_weight_is_not_read() -> None:
    ones, nan = torch.ones(1, 4), torch.full((1, 4), float("nan"))
    assert torch.equal(operations.reuse(ones, [nan, ones], [0.0, 1.0]), 2 * ones)
    assert operations.reuse(ones, [nan], [0.0]) is ones


@pytest.mark.parametrize("shape", [(1, 300), (2, 3, 64), (3, 5, 7)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("eight", "error"), [(torch.float8_e4m3fn, 0.035), (torch.int8, 0.01)])
def test_eight_bits(eight: torch.dtype, error: float, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    kept = operations.quantise(tensor, eight)
    back = plain.dequantise(kept)
    assert (back.dtype, back.shape) == (dtype, tensor.shape)
    assert (back.float() - tensor.float()).norm() <= error * tensor.float().norm()
    assert kept.nbytes == tensor.numel() + 4 * -(-tensor.numel() // 128)


def test_a_large_channel_leaves_the_others_their_precision_in_int8() -> None:
    tensor = torch.randn(2, 200, 8, generator=torch.Generator().manual_seed(0))
    tensor[..., 3] *= 1e4
    kept = operations.quantise(tensor, torch.int8)
    error = (plain.dequantise(kept) - tensor).norm(dim=(0, 1)) / tensor.norm(dim=(0, 1))
    assert (error < 0.01).all()
    assert kept.nbytes == tensor.numel() + 4 * (2 * 2 * 8)


def test_a_constant_channel_is_not_rounded_to_one_side_in_fp8() -> None:
    """Its tokens lie beside different neighbours, so that their scales and errors differ."""
    tensor = torch.randn(1, 512, 128, generator=torch.Generator().manual_seed(0))
    tensor[..., 3] = 0.77
    error = plain.dequantise(operations.quantise(tensor, torch.float8_e4m3fn)) - tensor
    assert error[..., 3].mean().abs() < 0.3 * error[..., 3].abs().mean()


def pairs(*tensors: Tensor) -> Any:
    return layout_of(tensors), layout_of(tensors, merge=False)


def test_layouts() -> None:
    contiguous = torch.empty(2, 3, 4)
    merged, apart = pairs(contiguous, contiguous)
    assert (merged.samples, merged.elements) == (1, 24)
    assert (apart.samples, apart.elements, apart.strides) == (2, 12, (12, 12))
    sliced = torch.empty(2, 5, 4)[:, :3]
    merged, apart = pairs(contiguous, sliced)
    assert merged == apart
    assert (merged.samples, merged.strides) == (2, (12, 20))
    turned = torch.empty(2, 4, 3).transpose(1, 2)
    assert pairs(turned, turned) == pairs(contiguous, contiguous)
    assert pairs(turned, contiguous) == (None, None)
    assert pairs(torch.empty(2, 6, 4)[:, ::2], torch.empty(2, 6, 4)[:, ::2]) == (None, None)
    assert pairs(contiguous, torch.empty(2, 4, 3)) == (None, None)
    assert pairs(torch.empty(1, 4).expand(2, 4), torch.empty(2, 4))[0].strides == (0, 4)


@pytest.mark.usefixtures("as_if_on_a_gpu")
def test_one_snapshot_is_left_to_torch(caplog: pytest.LogCaptureFixture) -> None:
    given = torch.arange(6.0)[None]
    assert torch.equal(operations.reuse(given, [given], [2.0]), 3 * given)
    assert not caplog.records


def test_any_two_values_meet_in_some_case() -> None:
    values = ("ab", "cdef", (1, 2, 3))
    cases = pairwise(*values)
    for one, other in combinations(range(3), 2):
        assert {(case[one], case[other]) for case in cases} == set(product(values[one], values[other]))
    assert len(cases) < 2 * 4 * 3
