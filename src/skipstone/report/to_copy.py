"""A measured setting as lines to copy: in Python and on the command line."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from skipstone.cachers.planned import Planned
from skipstone.pipelines import bundled
from skipstone.report.candidates import FITTED
from skipstone.report.rows import PLAIN
from skipstone.report.summary import Line

WORDS = {"true": "True", "false": "False", "none": "None"}

OPTIONS = {
    "num_inference_steps": "--steps",
    "num_frames": "--frames",
    "guidance_scale": "--guidance",
    "true_cfg_scale": "--guidance",
    "negative_prompt": "--negative",
}
"""Arguments of a pipeline's call as options of `skipstone generate`."""


def in_python(line: Line) -> str:
    """How to use a setting on a pipeline ``pipe``."""
    if line.kind == PLAIN:
        return f"pipe(prompt, num_inference_steps={line.steps})"
    name, settings = line.method.partition(":")[0], _settings(line)
    if name == Planned.name:
        return f"skipstone.attach(pipe, {_keywords(settings)})"
    if FITTED in line.setting.split():
        return f"skipstone.attach(pipe, {_fitted(name, settings)})"
    given = ", ".join(filter(None, [_literal(name), _keywords(settings)]))
    return f"skipstone.attach(pipe, {given})"


def on_the_command_line(line: Line, about: Mapping[str, Any]) -> str:
    """The same with `skipstone generate`, on the model and with the arguments of the sweep."""
    output = "clip.png" if about["fps"] is None else "clip.mp4"
    words = ["skipstone", "generate", "a prompt", "-o", output, "--model", str(about["model"])]
    return shlex.join([*words, *_arguments(line, about), *_method(line)])


def _method(line: Line) -> list[str]:
    if line.kind == PLAIN:
        return ["--no-cache"]
    name, settings = line.method.partition(":")[0], _settings(line)
    if name == Planned.name:
        return ["--speedup", settings["speedup"]]
    method = f"{name}:{FITTED}" if FITTED in line.setting.split() else name
    return ["--method", method, *(word for one in _typed(settings) for word in ("--set", one))]


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


def _settings(line: Line) -> dict[str, str]:
    """The settings by name, as typed."""
    pairs = (setting.partition("=") for setting in line.setting.split() if setting != FITTED)
    return {name: value for name, _, value in pairs}


def _typed(settings: Mapping[str, str]) -> list[str]:
    # A measured codebook has a name, but only this run knows it.
    return [f"{name}={value}" for name, value in settings.items() if not value.startswith("measured")]


def _fitted(name: str, settings: Mapping[str, str]) -> str:
    fitted, keywords = f"skipstone.fit_{name.replace('-', '_')}(pipe, ...)", _keywords(settings)
    return f"dataclasses.replace({fitted}, {keywords})" if keywords else fitted


def _keywords(settings: Mapping[str, str]) -> str:
    found = [setting.partition("=") for setting in _typed(settings)]
    plain = [f"{name}={_literal(value)}" for name, _, value in found if name.isidentifier()]
    others = ", ".join(f'"{name}": {_literal(value)}' for name, _, value in found if not name.isidentifier())
    return ", ".join([*plain, *([f"**{{{others}}}"] if others else [])])


def _literal(value: str) -> str:
    """A typed value as Python writes it."""
    if "," in value:
        return f"({', '.join(map(_literal, value.split(',')))})"
    try:
        float(value)
    except ValueError:
        return WORDS.get(value, f'"{value}"')
    return value
