"""Where this diffusers can bring offloaded weights."""

import diffusers
import pytest
from packaging.version import Version

on_any_device = pytest.mark.skipif(
    Version(diffusers.__version__) < Version("0.41"),
    reason="this diffusers brings groups to accelerators only",
)
