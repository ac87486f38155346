"""Text from outside as it may be shown: on a terminal, in a page, in a message."""

import re

CONTROLS = r"\x00-\x08\x0b-\x1f\x7f-\x9f"
"""What steers a terminal; line feeds and tabs are not among it."""

ENDS = r"\u2028\u2029"
"""What some programs take for the end of a line."""

HALVES = r"\ud800-\udfff"
"""Halves of a pair, which are no characters: of bytes that were no text."""

TURNING = r"\u202a-\u202e\u2066-\u2069"
"""What changes the direction of the text after it, so that it reads as something else."""

UNSEEN = re.compile(f"[{CONTROLS}{ENDS}{HALVES}{TURNING}]")


def printable(text: str) -> str:
    """The text with its control characters spelled out: an escape is ``\\x1b``; line feeds and tabs stay."""
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
