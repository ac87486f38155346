"""Kernels give what their references do, and the references take over wherever there is no kernel."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

CASES = Path(__file__).parent / "kernel_cases.py"


def run_cases(**environment: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", str(CASES)]
    done = subprocess.run(
        command, env={**os.environ, **environment}, cwd=CASES.parent.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_kernels_agree_with_their_references_in_the_interpreter() -> None:
    pytest.importorskip("triton")
    run_cases(TRITON_INTERPRET="1")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_kernels_agree_with_their_references_on_a_gpu() -> None:
    run_cases(TRITON_INTERPRET="0")
