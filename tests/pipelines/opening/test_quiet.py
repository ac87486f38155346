"""Loading a bundled model says nothing, and leaves other libraries as loud as they were."""

import diffusers
import pytest
import transformers

import skipstone
from skipstone.quiet import quiet_libraries

LOGGINGS = (diffusers.utils.logging, transformers.utils.logging)


def how_loud() -> list[tuple[int, bool]]:
    return [(logging.get_verbosity(), logging.is_progress_bar_enabled()) for logging in LOGGINGS]


def test_libraries_are_as_loud_afterwards_as_before() -> None:
    before = how_loud()
    with quiet_libraries():
        assert how_loud() == [(logging.ERROR, False) for logging in LOGGINGS]
    assert how_loud() == before
    with pytest.raises(ValueError, match="unknown bundled model"):
        skipstone.load("pebble-music")
    assert how_loud() == before


def test_loading_writes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for logging in LOGGINGS:
        logging.enable_progress_bar()
    skipstone.load("pebble-image")
    assert capfd.readouterr() == ("", "")
