"""Measuring on a user's own pipeline what a method needs to know of the model."""

from typing import Any

from skipstone.cachers.magcache import MagCache, MagnitudeRecorder
from skipstone.pipelines.attach import attach


def calibrate(pipe: Any, /, *args: Any, **kwargs: Any) -> MagCache:
    """Run a pipeline once, uncached, and give the MagCache with the magnitude ratios of its model.

    Args:
        pipe: a diffusers pipeline without a cache.
        args: the pipeline's own, such as a prompt.
        kwargs: likewise; the number of steps should be that of later runs.

    Raises:
        ValueError: the run had fewer than two steps, or its residuals could not be read.
    """
    recorder = MagnitudeRecorder()
    with attach(pipe, recorder):
        pipe(*args, **kwargs)
    if not recorder.seen:
        raise ValueError(
            "no residuals were seen: calibrate on a run of at least two steps, of a model whose blocks are "
            "a stack"
        )
    return MagCache(ratios=recorder.ratios)
