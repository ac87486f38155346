"""Options that several commands share, and typed text turned into values."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

EMPTY = {"prompt", "negative"}
"""What may be an empty text."""

FITTING = "fitting"
"""What ``--chunked-vae`` without a number stands for."""

NO_FILE = Path("")
"""What an empty file name becomes; it is the folder where the command runs, which is no file either."""


def with_bare_options(arguments: Sequence[str]) -> list[str]:
    """The words of a command line, with a value for ``--chunked-vae`` where no number follows it."""
    completed: list[str] = []
    for number, word in enumerate(arguments, 1):
        completed.append(word)
        if word == "--":
            return [*completed, *arguments[number:]]
        if word == "--chunked-vae" and not "".join(arguments[number : number + 1]).lstrip("-").isdecimal():
            completed.append(FITTING)
    return completed


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take dataclasses of options; on the command line each field is an option."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}

    @wraps(command)
    def typed(**values: Any) -> None:
        for name in values.keys() - EMPTY:
            if values[name] in ("", NO_FILE):
                raise ValueError(f"--{name} is empty: give it a value, or leave it out")
        for name, kind in groups.items():
            values[name] = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
        command(**values)

    typed.__signature__ = Signature([  # type: ignore[attr-defined]
        parameter
        for name, kind in hints.items()
        if name != "return"
        for parameter in (_fields(kind) if name in groups else [_parameter(command, name, kind)])
    ])  # fmt: skip
    return typed


def _parameter(command: Callable[..., None], name: str, kind: Any) -> Parameter:
    default = signature(command).parameters[name].default
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _fields(group: Any) -> list[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
        for field in fields(group)
    ]


def finite(value: float | None) -> float | None:
    """Refuse infinity and NaN."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value


def sides(value: str | None) -> str | None:
    """Refuse anything but a width and a height, each of four digits at most."""
    if value is not None and not re.fullmatch(r"[1-9][0-9]{0,3}x[1-9][0-9]{0,3}", value):
        raise typer.BadParameter(f"{value!r} is not WIDTHxHEIGHT in pixels, such as 128x128.")
    return value


def words(text: str | None, default: Sequence[str]) -> tuple[str, ...]:
    """Split at commas, each word once; the default if nothing was typed."""
    if text is None:
        return tuple(default)
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def numbers(text: str, kind: Callable[[str], Any], option: str) -> tuple[Any, ...]:
    """Split numbers at commas, each number once.

    Raises:
        ValueError: not such numbers.
    """
    try:
        return tuple(kind(word) for word in words(text, ()))
    except ValueError:
        raise ValueError(f"{option} {text}: expected numbers between commas, such as 1,2,3") from None


JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
FpsOption = Annotated[
    float | None,
    typer.Option(min=1, max=120, callback=finite, help="Frames a second of a video; 16 by default."),
]
QualityOption = Annotated[
    float | None,
    typer.Option(
        callback=finite,
        help="The least PSNR in dB against the uncached run; plans of rising density run until one keeps it.",
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the initial noise.")]
PromptsOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="A file of prompts: txt (one on each line), csv or jsonl (under `prompt`), or `vbench`. By "
        "default the bundled model's own prompts, and four usual ones for other models.",
    ),
]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Use only the first so many prompts.")]
