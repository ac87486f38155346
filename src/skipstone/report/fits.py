"""Measure a method's constants on the first prompt of a report."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from skipstone.pipelines.recording.fit import (
    fit_adacache,
    fit_block_caching,
    fit_magcache,
    fit_smoothcache,
    fit_teacache,
)
from skipstone.report.candidates import Candidate
from skipstone.schedules.published.codebooks import Codebook

Arguments = Mapping[str, Any]
Fit = Callable[[Candidate, Any, str, Arguments], Candidate]

SCALES = tuple(float(f"{2 ** (n / 4):.3g}") for n in range(-16, 17))
"""Factors for the levels of a measured codebook: larger ones skip more."""

LOOKAHEAD = 8
"""SmoothCache measures its errors for this many skipped steps in a row."""


def fitted(found: Candidate, pipe: Any, prompt: str, arguments: Arguments) -> Candidate:
    """Measure a candidate's constants on an uncached run.

    Args:
        found: the candidate.
        pipe: a pipeline without a cache.
        prompt: the prompt of that run.
        arguments: the other arguments of the pipeline's call.

    Raises:
        ValueError: the method has nothing to measure, or this model cannot be measured.
    """
    return fit_of(found)(found, pipe, prompt, arguments)


def fit_of(found: Candidate) -> Fit:
    """The function that measures a method's constants.

    Raises:
        ValueError: the method has no such constants.
    """
    method = found.name.partition("+")[0]
    if method not in FITS:
        raise ValueError(f"{found.label}: {method} has nothing to fit; these have: {', '.join(FITS)}")
    return FITS[method]


def _all_rungs(found: Candidate, **measured: Any) -> Candidate:
    return replace(found, measured=(measured,) * len(found.rungs))


def _adacache(found: Candidate, pipe: Any, prompt: str, arguments: Arguments) -> Candidate:
    book = fit_adacache(pipe, prompt=prompt, **arguments).levels
    books = [_moved(book, scale) for scale in SCALES]
    rungs = tuple((f"codebook={book.name}",) for book in books)
    return replace(found, rungs=rungs, measured=tuple({"codebook": book} for book in books))


def _moved(book: Codebook, scale: float) -> Codebook:
    levels = tuple((end * scale, rate) for end, rate in book.levels)
    return replace(book, name=f"measured*{scale:g}", levels=levels)


def _block_caching(found: Candidate, pipe: Any, prompt: str, arguments: Arguments) -> Candidate:
    return _all_rungs(found, changes=fit_block_caching(pipe, [prompt], **arguments).changes)


def _magcache(found: Candidate, pipe: Any, prompt: str, arguments: Arguments) -> Candidate:
    return _all_rungs(found, ratios=fit_magcache(pipe, prompt=prompt, **arguments).ratios)


def _smoothcache(found: Candidate, pipe: Any, prompt: str, arguments: Arguments) -> Candidate:
    return _all_rungs(found, errors=fit_smoothcache(pipe, [prompt], lookahead=LOOKAHEAD, **arguments).errors)


def _teacache(found: Candidate, pipe: Any, prompt: str, arguments: Arguments) -> Candidate:
    return _all_rungs(found, rescale=fit_teacache(pipe, [prompt], **arguments).rescale)


FITS: Mapping[str, Fit] = {
    "adacache": _adacache,
    "block-caching": _block_caching,
    "magcache": _magcache,
    "smoothcache": _smoothcache,
    "teacache": _teacache,
}
"""For each method with constants of a model, the function that measures them."""
