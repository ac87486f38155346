"""What methods need to know of a model, measured in a report on its first prompt."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from skipstone.pipelines.fit import (
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
"""By how much the ends of a measured codebook are moved: the more, the more is skipped."""

LOOKAHEAD = 8
"""For how many steps in a row SmoothCache knows the errors of what it skips."""


def fitted(found: Candidate, pipe: Any, prompt: str, arguments: Arguments) -> Candidate:
    """A candidate with constants that are measured on an uncached run.

    Args:
        found: one that asks for it.
        pipe: a pipeline without a cache.
        prompt: what is run.
        arguments: the others of the pipeline's call.

    Raises:
        ValueError: a method that has nothing to measure, or nothing could be measured on this model.
    """
    return fit_of(found)(found, pipe, prompt, arguments)


def fit_of(found: Candidate) -> Fit:
    """How the constants of a method are measured.

    Raises:
        ValueError: it has none.
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
"""For each method that knows constants of a model how they are measured."""
