"""Measure a method's constants on a user's own pipeline."""

from collections.abc import Iterable, Mapping
from typing import Any

from skipstone.cachers.adacache import AdaCache
from skipstone.cachers.block_caching import BlockCaching
from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import ATTENTION, LayerKind
from skipstone.cachers.magcache import MagCache
from skipstone.cachers.recorders.changes import AttentionRecorder, IndicatorRecorder, MagnitudeRecorder
from skipstone.cachers.recorders.layers import LayerRecorder, Seen, course
from skipstone.cachers.smoothcache import SmoothCache
from skipstone.cachers.teacache import TeaCache
from skipstone.declared import Positive, Threshold, checked
from skipstone.pipelines.attach import attach
from skipstone.schedules.published.codebooks import measured
from skipstone.schedules.published.fitting import fitted
from skipstone.schedules.published.polynomials import Indicator


def fit_magcache(pipe: Any, /, *args: Any, **kwargs: Any) -> MagCache:
    """Run a pipeline once, uncached, and return a `MagCache` with the magnitude ratios of its model.

    Args:
        pipe: a diffusers pipeline without a cache.
        args: positional arguments of the pipeline's call, such as a prompt.
        kwargs: keyword arguments of the call; the number of steps should be that of later runs.

    Raises:
        ValueError: the run had fewer than two steps, or its residuals could not be read.
    """
    recorder = MagnitudeRecorder()
    with attach(pipe, recorder):
        pipe(*args, **kwargs)
    if not recorder.seen:
        raise ValueError(
            "no residuals were seen: fit on a run of at least two steps, of a model whose blocks are a stack"
        )
    return MagCache(ratios=recorder.ratios)


def fit_adacache(pipe: Any, /, *args: Any, **kwargs: Any) -> AdaCache:
    """Run a pipeline once, uncached, and return an `AdaCache` with a codebook measured on its model.

    Codebooks are published for Open-Sora only. Our own rule, not the paper's, makes one from the measured
    changes (`skipstone.schedules.published.codebooks.measured`).

    Args:
        pipe: a diffusers pipeline without a cache.
        args: positional arguments of the pipeline's call, such as a prompt.
        kwargs: keyword arguments of the call; the number of steps should be that of later runs.

    Raises:
        ValueError: the run had fewer than three steps, or its attention could not be read or never changed.
    """
    recorder = AttentionRecorder()
    with attach(pipe, recorder) as cache:
        pipe(*args, **kwargs)
    if len(recorder.changes) < 2:
        raise ValueError(
            "no changes of an attention were seen: fit on a run of at least three steps, of a model whose "
            "blocks have one"
        )
    return AdaCache(measured(recorder.changes, recorder.motions, cache.last_run.steps))


@checked
def fit_teacache(
    pipe: Any, prompts: Iterable[Any], /, *, indicator: Indicator = "modulated-input", **kwargs: Any
) -> TeaCache:
    """Run a pipeline uncached, print how well a polynomial fits its model, and return a `TeaCache` with it.

    Args:
        pipe: a diffusers pipeline without a cache.
        prompts: one run each; every prompt is the call's first argument. The paper uses 70.
        indicator: the polynomial's variable: ``modulated-input``, ``time-embedding`` or ``time-projection``.
        kwargs: the other arguments of the call; the number of steps should be that of later runs.

    Raises:
        TypeError: a single prompt instead of a list.
        ValueError: the indicator could not be read, or the fit is meaningless.
    """
    recorder = IndicatorRecorder(indicator)
    _record(pipe, recorder, prompts, kwargs)
    polynomial, quality = fitted(recorder.seen, indicator)
    print(f"TeaCache's polynomial for {indicator}: R^2 {quality:.3f} on {len(recorder.seen)} steps")
    return TeaCache(rescale=polynomial)


@checked
def fit_block_caching(
    pipe: Any, prompts: Iterable[Any], /, *, threshold: Threshold = 0.5, **kwargs: Any
) -> BlockCaching:
    """Run a pipeline uncached, and return a `BlockCaching` with the measured changes of its model's blocks.

    Args:
        pipe: a diffusers pipeline without a cache.
        prompts: one run each; every prompt is the call's first argument. The paper uses 32, twice each.
        threshold: the method's threshold.
        kwargs: the other arguments of the call; the number of steps and the scheduler must be those of later
            runs.

    Raises:
        TypeError: a single prompt instead of a list.
        ValueError: no prompt, or a model without blocks.
    """
    recorder = LayerRecorder(frozenset({LayerKind.BLOCK}))
    steps = _record(pipe, recorder, prompts, kwargs)
    changes = {name: course([seen], 1, steps) for (_, name), seen in recorder.seen.items()}
    return BlockCaching(threshold, changes)


@checked
def fit_smoothcache(
    pipe: Any,
    prompts: Iterable[Any],
    /,
    *,
    threshold: Threshold = 0.15,
    lookahead: Positive = 3,
    **kwargs: Any,
) -> SmoothCache:
    """Run a pipeline uncached, and return a `SmoothCache` with the measured changes of its model's layers.

    Args:
        pipe: a diffusers pipeline without a cache.
        prompts: one run each; every prompt is the call's first argument. The paper uses 10.
        threshold: the method's threshold.
        lookahead: the most steps that may be skipped in a row, from 1. While measuring, the outputs of every
            layer are held for that many steps.
        kwargs: the other arguments of the call; the number of steps and the scheduler must be those of later
            runs.

    Raises:
        TypeError: a single prompt instead of a list.
        ValueError: no prompt, a lookahead below 1, or a model without such layers.
    """
    recorder = LayerRecorder(ATTENTION | {LayerKind.FEED_FORWARD}, lookahead)
    steps = _record(pipe, recorder, prompts, kwargs)
    by_kind: dict[LayerKind, list[Seen]] = {}
    for (kind, _), seen in recorder.seen.items():
        by_kind.setdefault(kind, []).append(seen)
    lags = range(1, min(lookahead, steps - 1) + 1)
    errors = {kind: tuple(course(seen, lag, steps) for lag in lags) for kind, seen in by_kind.items()}
    return SmoothCache(threshold, errors)


def _record(pipe: Any, recorder: Cacher[Any], prompts: Iterable[Any], kwargs: Mapping[str, Any]) -> int:
    """Run a pipeline once for each prompt; return the number of steps.

    Raises:
        TypeError: a single prompt instead of a list.
        ValueError: no prompt.
    """
    if isinstance(prompts, str):
        raise TypeError(f"prompts must be several, such as [{prompts!r}, ...]: a string is one prompt")
    with attach(pipe, recorder) as cache:
        for prompt in prompts:
            pipe(prompt, **kwargs)
    if not cache.last_run.planned_steps:
        raise ValueError("nothing was run: give at least one prompt")
    return cache.last_run.planned_steps
