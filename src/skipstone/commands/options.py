"""The options that several commands take, and what is typed as words turned into values."""

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from skipstone.pipelines.opening.arguments import Options


def finite(value: float | None) -> float | None:
    """Refuse infinity and what is no number."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value


def sides(value: str | None) -> str | None:
    """Refuse what is no width and height."""
    if value is not None and not re.fullmatch(r"[1-9]\d*x[1-9]\d*", value):
        raise typer.BadParameter(f"{value!r} is not WIDTHxHEIGHT in pixels, such as 128x128.")
    return value


def words(text: str | None, default: Sequence[str]) -> list[str]:
    """Words between commas, each once; the default where nothing was typed."""
    if text is None:
        return list(default)
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def numbers(text: str, kind: Callable[[str], Any], option: str) -> list[Any]:
    """Numbers between commas, each once.

    Raises:
        ValueError: something else.
    """
    try:
        return [kind(word) for word in words(text, ())]
    except ValueError:
        raise ValueError(f"{option} {text}: expected numbers between commas, such as 1,2,3") from None


def options_of(
    prompt: str,
    negative: str | None,
    steps: int | None,
    guidance: float | None,
    size: str | None,
    frames: int | None,
) -> "Options":
    """What a pipeline is asked for."""
    from skipstone.pipelines.opening.arguments import Options

    width, height = (int(side) for side in size.split("x")) if size else (None, None)
    return Options(prompt, negative, steps, guidance, width, height, frames)


JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
ModelOption = Annotated[
    str, typer.Option(help="pebble-video, pebble-image, a folder with a diffusers pipeline, or a hub id.")
]
CacherOption = Annotated[
    str | None,
    typer.Option(
        help="The caching method (see `skipstone methods`); by default the plan that comes with a bundled "
        "model, else teacache."
    ),
]
SettingsOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A hyper-parameter of the method.")
]
StepsOption = Annotated[int | None, typer.Option(min=1, help="Steps of the solver.")]
GuidanceOption = Annotated[
    float | None, typer.Option(min=0, callback=finite, help="How strongly the prompt steers.")
]
NegativeOption = Annotated[str | None, typer.Option(help="What not to show.")]
SizeOption = Annotated[
    str | None, typer.Option(metavar="WxH", callback=sides, help="Width and height in pixels.")
]
FramesOption = Annotated[int | None, typer.Option(min=1, help="Frames of a video.")]
FpsOption = Annotated[
    float | None, typer.Option(min=1, max=120, callback=finite, help="Of a video; 16 by default.")
]
SeedOption = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the initial noise.")]
DeviceOption = Annotated[str | None, typer.Option(help="cuda, mps or cpu; the fastest by default.")]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        help="float32, bfloat16 or float16; by default float32 on a CPU and for bundled models, else "
        "bfloat16."
    ),
]
PromptsOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="A file of prompts: txt (one a line), csv or jsonl (under `prompt`), or `vbench`; by default "
        "those of a bundled model.",
    ),
]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Take only so many of the prompts.")]
