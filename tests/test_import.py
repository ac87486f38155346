"""Importing skipstone is cheap and changes nothing."""

import subprocess
import sys

HEAVY = ("diffusers", "transformers", "triton", "torchmetrics", "imageio", "accelerate")


def test_import_brings_in_nothing_heavy() -> None:
    """Nothing but torch, and what torch itself brings in."""
    program = (
        "import torch, sys; before = set(sys.modules); import skipstone; "
        "print(' '.join(m for m in set(sys.modules) - before if '.' not in m))"
    )
    brought = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert "skipstone" in brought.split()
    assert not set(brought.split()) & set(HEAVY)
