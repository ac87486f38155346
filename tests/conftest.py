"""What every test runs with."""

import os

# The models are tiny: more threads only get into each other's way, in the processes of tests too.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)

# No test may fail because the machine is busy.
settings.register_profile("skipstone", deadline=None)
settings.load_profile("skipstone")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked `gpu` where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
