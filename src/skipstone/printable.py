"""Text from outside as it may be shown: on a terminal, in a page, in a message."""

import unicodedata

UNSEEN = {"Cc", "Cs", "Zl", "Zp"}
"""Categories of characters that are not printed: controls, halves of pairs, ends of lines and paragraphs."""

TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""Marks that change the direction of the text after them, so that it reads as something else."""


def printable(text: str) -> str:
    """The text with its control characters spelled out: an escape is ``\\x1b``; line feeds and tabs stay."""
    return "".join(_spelled(character) for character in text)


def _spelled(character: str) -> str:
    is_control = unicodedata.category(character) in UNSEEN and character not in "\n\t"
    if is_control or unicodedata.bidirectional(character) in TURNING:
        return character.encode("unicode_escape").decode()
    return character
