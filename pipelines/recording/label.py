"""The progress bar of a pipeline, for runs that the user did not call."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

BAR = "_progress_bar_config"
"""Where diffusers keeps what `set_progress_bar_config` was given."""


@contextmanager
def labelled(pipe: Any, title: str) -> Iterator[None]:
    """Let the bar of a run have a title, and go when the run is over: the next one takes its line."""
    before = vars(pipe).get(BAR)
    setattr(pipe, BAR, {"desc": title, "leave": False, **(before or {})})
    try:
        yield
    finally:
        if before is None:
            delattr(pipe, BAR)
        else:
            setattr(pipe, BAR, before)
