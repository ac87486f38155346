"""Measuring on a user's own pipeline what a method needs to know of the model."""

from collections.abc import Iterable
from typing import Any

from skipstone.cachers.adacache import AdaCache, ChangeRecorder
from skipstone.cachers.magcache import MagCache, MagnitudeRecorder
from skipstone.cachers.teacache import IndicatorRecorder, TeaCache
from skipstone.pipelines.attach import attach
from skipstone.schedules.codebooks import measured
from skipstone.schedules.fitting import fitted
from skipstone.schedules.polynomials import Indicator


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


def fit_adacache(pipe: Any, /, *args: Any, **kwargs: Any) -> AdaCache:
    """Run a pipeline once, uncached, and give the AdaCache with a codebook measured on its model.

    Codebooks are published for Open-Sora only. How the changes seen become one is our rule, not the paper's
    (`skipstone.schedules.codebooks.measured`).

    Args:
        pipe: a diffusers pipeline without a cache.
        args: the pipeline's own, such as a prompt.
        kwargs: likewise; the number of steps should be that of later runs.

    Raises:
        ValueError: the run had fewer than three steps, its attention could not be read, or never changed.
    """
    recorder = ChangeRecorder()
    with attach(pipe, recorder) as cache:
        pipe(*args, **kwargs)
    if len(recorder.changes) < 2:
        raise ValueError(
            "no changes of an attention were seen: fit on a run of at least three steps, of a model whose "
            "blocks have one"
        )
    return AdaCache(measured(recorder.changes, recorder.motions, cache.last_run.steps))


def fit_teacache(
    pipe: Any, prompts: Iterable[Any], /, *, indicator: Indicator = "modulated-input", **kwargs: Any
) -> TeaCache:
    """Run a pipeline uncached, print how well a polynomial fits its model, and give the TeaCache with it.

    Args:
        pipe: a diffusers pipeline without a cache.
        prompts: what the runs are of, each the pipeline's first argument; the paper takes 70.
        indicator: what the polynomial shall be a function of: ``modulated-input``, ``time-embedding`` or
            ``time-projection``.
        kwargs: the pipeline's other arguments; the number of steps should be that of later runs.

    Raises:
        TypeError: one prompt in place of several.
        ValueError: the indicator could not be read, or the fit means nothing.
    """
    if isinstance(prompts, str):
        raise TypeError(f"prompts must be several, such as [{prompts!r}, ...]: a string is one prompt")
    recorder = IndicatorRecorder(indicator)
    with attach(pipe, recorder):
        for prompt in prompts:
            pipe(prompt, **kwargs)
    polynomial, quality = fitted(recorder.seen, indicator)
    print(f"TeaCache's polynomial for {indicator}: R^2 {quality:.3f} on {len(recorder.seen)} steps")
    return TeaCache(rescale=polynomial)
