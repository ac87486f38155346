"""The lines under a verdict do, when they are copied, what was measured."""

import shlex
from typing import Any

import pytest

from skipstone import cli
from skipstone.cachers.make import make
from skipstone.pipelines.bundled import DEFAULTS
from skipstone.report.candidates import candidate
from skipstone.report.rows import PLAIN
from skipstone.report.summary import Line, summarise
from skipstone.report.to_copy import in_python, on_the_command_line
from support.measured import HEADER, row, sweep_of


def line(kind: str = "cached", **more: Any) -> Line:
    return summarise(sweep_of(row(kind, **more)))[-1]


def attached(text: str) -> Any:
    """The method that a line in Python attaches."""

    def attach(pipe: Any, *method: Any, **values: Any) -> Any:
        return values if not method else make(*method, **values)

    class Names:
        """What such a line may use."""

    Names.attach = staticmethod(attach)  # type: ignore[attr-defined]
    return eval(text, {"skipstone": Names, "pipe": None})


@pytest.mark.parametrize(
    ("method", "rung"),
    [
        ("first-block", 9),
        ("dbcache:blocks=2", 3),
        ("fora+cfg-cache", 1),
        ("fora+cfg-cache:cfg-cache.interval=3", 1),
        ("adacache:codebook=open-sora-30-fast", 0),
        ("teacache:rescale=none", 4),
        ("pab:spatial=3", 0),
    ],
)
def test_a_line_in_python_attaches_the_measured_setting(method: str, rung: int) -> None:
    found = candidate(method)
    measured = line(method=found.label, setting=" ".join(found.settings(rung)))
    assert attached(in_python(measured)) == found.method(rung)


def test_a_command_makes_the_measured_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    found, seen = candidate("dbcache:blocks=2"), []
    see = lambda self, choice: seen.append(choice)  # noqa: E731
    monkeypatch.setattr("skipstone.commands.generate.RunOptions.check", see)
    measured = line(method=found.label, setting=" ".join(found.settings(3)))
    command = shlex.split(on_the_command_line(measured, HEADER | {"model": "pebble-image"}))
    monkeypatch.setattr("skipstone.commands.generate._check_file", None)
    assert command[:3] == ["skipstone", "generate", "a prompt"]
    cli.run(command[1:])
    assert seen[0].make("pebble-image") == found.method(3)


@pytest.mark.parametrize(
    ("kind", "setting", "python", "command"),
    [
        ("planned", "speedup=2", "skipstone.attach(pipe, speedup=2)", "--speedup 2"),
        (
            "magcache:fitted",
            "fitted threshold=0.1",
            "skipstone.attach(pipe, dataclasses.replace(skipstone.fit_magcache(pipe, ...), threshold=0.1))",
            "--method magcache:fitted --set threshold=0.1",
        ),
        (
            "adacache:fitted",
            "fitted codebook=measured*1",
            "skipstone.attach(pipe, skipstone.fit_adacache(pipe, ...))",
            "--method adacache:fitted",
        ),
    ],
)
def test_plans_and_fitted_methods(kind: str, setting: str, python: str, command: str) -> None:
    measured = line(method=kind, setting=setting)
    assert in_python(measured) == python
    assert on_the_command_line(measured, HEADER).endswith(command)


def test_what_only_the_sweep_can_make_has_no_line() -> None:
    scaled = line(method="adacache:fitted", setting="fitted codebook=measured*2")
    assert in_python(scaled) == on_the_command_line(scaled, HEADER) == ""
    strange = line(method="from-elsewhere", setting="interval=2")
    assert in_python(strange) == ""


def test_fewer_steps_and_the_arguments_of_the_sweep() -> None:
    plain = line(PLAIN, steps=5)
    asked = {"num_inference_steps": 10, "width": 64, "height": 32, "guidance_scale": 2.0}
    about = HEADER | {"arguments": asked, "fps": 8}
    assert in_python(plain) == "pipe(prompt, num_inference_steps=5)"
    assert on_the_command_line(plain, about) == (
        "skipstone generate 'a prompt' -o clip.mp4 --model tiny --steps 5 --guidance 2.0 --size 64x32 "
        "--no-cache"
    )
    bundled = HEADER | {"model": "pebble-image", "arguments": dict(DEFAULTS["pebble-image"])}
    assert "--steps" not in on_the_command_line(line(), bundled)
    assert "--size" not in on_the_command_line(line(), bundled)
