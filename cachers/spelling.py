"""Names as people type them: other spellings of a known name, and what a typo was meant to be."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

ALSO: Mapping[str, str] = {
    "abcache": "adams-bashforth",
    "cachedit": "dbcache",
    "fbcache": "first-block",
    "firstblockcache": "first-block",
    "hicache": "hermite",
    "plan": "planned",
    "pyramidattentionbroadcast": "pab",
    "taylorseer": "taylor",
}
"""Names that papers and other packages use, without capitals and punctuation, and ours."""


def meant(name: str, known: Iterable[str]) -> str | None:
    """The known name that a spelling stands for: ``teacache`` for ``TeaCache``; None if there is none."""
    by_letters = {_letters(one): one for one in known}
    letters = _letters(name)
    return by_letters.get(letters) or by_letters.get(_letters(ALSO.get(letters, "")))


def guess(name: str, known: Iterable[str]) -> str:
    """A question to add to an error message: the known name most like a typo, or nothing."""
    by_letters = {_letters(one): one for one in known}
    close = get_close_matches(_letters(name), by_letters, n=1, cutoff=0.7)
    return f" (did you mean {by_letters[close[0]]!r}?)" if close else ""


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
