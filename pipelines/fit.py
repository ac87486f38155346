"""Measuring on a user's own pipeline what a method needs to know of the model."""

from collections.abc import Iterable, Mapping
from typing import Any

from skipstone.cachers.adacache import AdaCache, ChangeRecorder
from skipstone.cachers.block_caching import BlockCaching
from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import ATTENTION, LayerKind
from skipstone.cachers.magcache import MagCache, MagnitudeRecorder
from skipstone.cachers.recorders.layers import LayerRecorder, Seen, course
from skipstone.cachers.smoothcache import SmoothCache
from skipstone.cachers.teacache import IndicatorRecorder, TeaCache
from skipstone.pipelines.attach import attach
from skipstone.schedules.published.codebooks import measured
from skipstone.schedules.published.fitting import fitted
from skipstone.schedules.published.polynomials import Indicator


def fit_magcache(pipe: Any, /, *args: Any, **kwargs: Any) -> MagCache:
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
            "no residuals were seen: fit on a run of at least two steps, of a model whose blocks are a stack"
        )
    return MagCache(ratios=recorder.ratios)


def fit_adacache(pipe: Any, /, *args: Any, **kwargs: Any) -> AdaCache:
    """Run a pipeline once, uncached, and give the AdaCache with a codebook measured on its model.

    Codebooks are published for Open-Sora only. How the changes seen become one is our rule, not the paper's
    (`skipstone.schedules.published.codebooks.measured`).

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
    recorder = IndicatorRecorder(indicator)
    _record(pipe, recorder, prompts, kwargs)
    polynomial, quality = fitted(recorder.seen, indicator)
    print(f"TeaCache's polynomial for {indicator}: R^2 {quality:.3f} on {len(recorder.seen)} steps")
    return TeaCache(rescale=polynomial)


def fit_block_caching(
    pipe: Any, prompts: Iterable[Any], /, *, threshold: float = 0.5, **kwargs: Any
) -> BlockCaching:
    """Run a pipeline uncached and give the BlockCaching that knows how its model's blocks change.

    Args:
        pipe: a diffusers pipeline without a cache.
        prompts: what the runs are of, each the pipeline's first argument; the paper takes 32, twice each.
        threshold: that of the method.
        kwargs: the pipeline's other arguments; the number of steps and the scheduler must be those of later
            runs.

    Raises:
        TypeError: one prompt in place of several.
        ValueError: no prompt, or a model without blocks.
    """
    recorder = LayerRecorder(frozenset({LayerKind.BLOCK}))
    steps = _record(pipe, recorder, prompts, kwargs)
    changes = {name: course([seen], 1, steps) for (_, name), seen in recorder.seen.items()}
    return BlockCaching(threshold, changes)


def fit_smoothcache(
    pipe: Any, prompts: Iterable[Any], /, *, threshold: float = 0.15, lookahead: int = 3, **kwargs: Any
) -> SmoothCache:
    """Run a pipeline uncached and give the SmoothCache that knows how its model's kinds of layers change.

    Args:
        pipe: a diffusers pipeline without a cache.
        prompts: what the runs are of, each the pipeline's first argument; the paper takes 10.
        threshold: that of the method.
        lookahead: how many steps may be skipped in a row at most, from 1. While it measures, what every layer
            gives is held for as many steps.
        kwargs: the pipeline's other arguments; the number of steps and the scheduler must be those of later
            runs.

    Raises:
        TypeError: one prompt in place of several.
        ValueError: no prompt, a lookahead below 1, or a model without such layers.
    """
    if lookahead < 1:
        raise ValueError(f"lookahead must be a whole number >= 1, got {lookahead}")
    recorder = LayerRecorder(ATTENTION | {LayerKind.FEED_FORWARD}, lookahead)
    steps = _record(pipe, recorder, prompts, kwargs)
    by_kind: dict[LayerKind, list[Seen]] = {}
    for (kind, _), seen in recorder.seen.items():
        by_kind.setdefault(kind, []).append(seen)
    lags = range(1, min(lookahead, steps - 1) + 1)
    errors = {kind: tuple(course(seen, lag, steps) for lag in lags) for kind, seen in by_kind.items()}
    return SmoothCache(threshold, errors)


def _record(pipe: Any, recorder: Cacher[Any], prompts: Iterable[Any], kwargs: Mapping[str, Any]) -> int:
    """Run a pipeline once for each prompt, and give the number of its steps.

    Raises:
        TypeError: one prompt in place of several.
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
