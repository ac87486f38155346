"""What a bundled model was not trained for."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

LITTLE = frozenset({"a", "an", "and", "of", "on", "picture", "to", "with"})
"""Words that name nothing."""

OBJECTS = "objects.txt"
"""A bundled model's file of what it can draw, one a line."""

BEGIN = "▁"
"""What the tokenizer puts before the first letters of a word."""


def doubts(
    name: str, folder: Path, trained: Mapping[str, Any], arguments: Mapping[str, Any]
) -> Iterator[str]:
    """Say which words of a call's prompt the model does not know, and which sizes it was not trained for.

    Args:
        name: the model's name.
        folder: its folder.
        trained: the arguments of the call that it was trained for.
        arguments: those of the call; omitted ones are as trained.
    """
    prompts = arguments.get("prompt") or ""
    if (folder / OBJECTS).is_file():
        for prompt in [prompts] if isinstance(prompts, str) else prompts:
            yield from _unknown(name, folder, prompt)
    asked = {key: arguments.get(key) or value for key, value in trained.items()}
    if _sizes(asked) != _sizes(trained):
        yield f"{name} was trained for {_sizes(trained)}, not for {_sizes(asked)}: expect noise"


def _unknown(name: str, folder: Path, prompt: str) -> Iterator[str]:
    known, words = known_words(folder), re.findall(r"[\w-]+", prompt.lower())
    unknown = [word for word in dict.fromkeys(words) if word not in known]
    what = f'it knows the objects of {folder / OBJECTS}, as in "a snail on a green background"'
    if words and not set(words) - set(unknown) - LITTLE:
        yield f"{name} knows no word of {prompt!r}: {what}"
    elif unknown:
        yield f"{name} does not know {', '.join(map(repr, unknown))}: {what}"


@cache
def known_words(folder: Path) -> frozenset[str]:
    """The words that are a token of their own."""
    texts = (path.read_text("utf-8") for path in folder.glob("tokenizer*/tokenizer.json"))
    vocabularies = [json.loads(text)["model"]["vocab"] for text in texts]
    # Tokenizers by merges have a dict, and no tokens that begin words.
    tokens = [pair[0] for vocabulary in vocabularies if isinstance(vocabulary, list) for pair in vocabulary]
    return frozenset(token.removeprefix(BEGIN) for token in tokens if token.startswith(BEGIN))


def _sizes(arguments: Mapping[str, Any]) -> str:
    size = f"{arguments['width']}x{arguments['height']}"
    return f"{arguments['num_frames']} frames of {size}" if "num_frames" in arguments else size
