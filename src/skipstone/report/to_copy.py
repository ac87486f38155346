"""A measured setting as lines to copy: in Python and on the command line."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from skipstone.cachers.planned import Planned
from skipstone.pipelines import bundled
from skipstone.report.candidates import FITTED
from skipstone.report.rows import PLAIN
from skipstone.report.summary import Line
from skipstone.settings import values_of

CODEBOOK = "codebook=measured"

OPTIONS = {
    "num_inference_steps": "--steps",
    "num_frames": "--frames",
    "guidance_scale": "--guidance",
    "true_cfg_scale": "--guidance",
    "negative_prompt": "--negative",
}
"""Arguments of a pipeline's call as options of `skipstone generate`."""


def in_python(line: Line) -> str:
    """How to use a setting on a pipeline ``pipe``; empty where it cannot be made again."""
    if _is_scaled(line):
        return ""
    if line.kind == PLAIN:
        return f"pipe(prompt, num_inference_steps={line.steps})"
    name, settings = line.method.partition(":")[0], _settings(line)
    if name == Planned.name:
        return f"skipstone.attach(pipe, {', '.join(settings)})"
    try:
        values = _keywords(values_of(name, settings))
    except ValueError:
        return ""
    if FITTED in line.setting.split():
        return f"skipstone.attach(pipe, {_fitted(name, values)})"
    given = ", ".join(filter(None, [f'"{name}"', values]))
    return f"skipstone.attach(pipe, {given})"


def on_the_command_line(line: Line, about: Mapping[str, Any]) -> str:
    """The same with `skipstone generate`, on the model and with the arguments of the sweep."""
    if _is_scaled(line):
        return ""
    output = "clip.png" if about["fps"] is None else "clip.mp4"
    words = ["skipstone", "generate", "a prompt", "-o", output, "--model", str(about["model"])]
    return shlex.join([*words, *_arguments(line, about), *_method(line)])


def _method(line: Line) -> list[str]:
    if line.kind == PLAIN:
        return ["--no-cache"]
    name, settings = line.method.partition(":")[0], _settings(line)
    if name == Planned.name:
        return ["--speedup", settings[-1].removeprefix("speedup=")]
    method = f"{name}:{FITTED}" if FITTED in line.setting.split() else name
    return ["--method", method, *(word for one in settings for word in ("--set", one))]


def _arguments(line: Line, about: Mapping[str, Any]) -> Iterator[str]:
    """The arguments of the sweep that are not the model's own."""
    asked = dict(about["arguments"]) | ({"num_inference_steps": line.steps} if line.kind == PLAIN else {})
    own = bundled.DEFAULTS.get(str(about["model"]), {"negative_prompt": ""})
    given = {name: value for name, value in asked.items() if own.get(name) != value}
    for name, option in OPTIONS.items():
        if name in given:
            yield from (option, str(given[name]))
    if "width" in given or "height" in given:
        yield from ("--size", f"{asked['width']}x{asked['height']}")


def _is_scaled(line: Line) -> bool:
    """Whether its measured codebook was scaled, which only the sweep does."""
    return CODEBOOK in line.setting and f"{CODEBOOK}*1" not in line.setting.split()


def _settings(line: Line) -> list[str]:
    """The settings as typed, without a measured codebook, which fitting measures again."""
    return [word for word in line.setting.split() if word not in (FITTED, f"{CODEBOOK}*1")]


def _fitted(name: str, values: str) -> str:
    fitted = f"skipstone.fit_{name.replace('-', '_')}(pipe, ...)"
    return f"dataclasses.replace({fitted}, {values})" if values else fitted


def _keywords(values: Mapping[str, Any]) -> str:
    """Values as arguments; a name with a dot, as of a part's own hyper-parameter, is no keyword."""
    plain = [f"{name}={_literal(value)}" for name, value in values.items() if name.isidentifier()]
    others = [f'"{name}": {_literal(value)}' for name, value in values.items() if not name.isidentifier()]
    return ", ".join([*plain, *([f"**{{{', '.join(others)}}}"] if others else [])])


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)
