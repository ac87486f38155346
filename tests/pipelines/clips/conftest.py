"""A pipeline for each test of streams."""

from typing import Any

import pytest

from support.tiny import wan


@pytest.fixture
def pipe() -> Any:
    return wan().pipe
