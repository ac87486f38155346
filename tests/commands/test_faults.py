"""What goes wrong on the command line: one line on standard error and the code that tells what it was."""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import pytest
import torch

from skipstone import cli
from skipstone.commands import generate as generating
from skipstone.commands import plan as planning
from skipstone.commands.check import Demands, checked
from skipstone.commands.generated import Generated
from skipstone.commands.output import print_json
from skipstone.pipelines.clips.clip import Clip

NAN = math.nan
WHOLE = ["generate", "a", "-o", "a.png", "--model", "pebble-image"]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that fails."""
    assert cli.run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("option", ["--method", "--device", "--dtype", "--model", "--plan"])
def test_an_empty_value_is_not_taken_for_none(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{option} is empty" in failed(capsys, *WHOLE, option, "")


@pytest.mark.parametrize("option", ["--methods", "--metrics", "--seeds", "--speedups", "--prompts", "--rows"])
def test_an_empty_value_of_a_report_is_named(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{option} is empty" in failed(capsys, "report", "-o", "a.html", option, "")


def test_a_report_of_images_has_no_frame_rate(capsys: pytest.CaptureFixture[str]) -> None:
    report = ["report", "-o", "a.html", "--model", "pebble-image", "--fps", "24"]
    assert "makes images, which have no frames a second: drop --fps" in failed(capsys, *report)


@pytest.mark.parametrize(
    "asked", [["--size", "10000x32"], ["--steps", "10001"], ["--frames", "10001"], ["--guidance", "nan"]]
)
def test_values_beyond_any_use_are_refused_at_once(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    failed(capsys, *WHOLE, *asked)


def test_control_characters_are_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.json").write_text(json.dumps({"format": "\x1b]0;owned\x07\x1b[31mred", "schema": 1}))
    for arguments in (["plan", "--show", "p.json"], ["generate", "a", "-o", "x\x1b[31m\x07.txt"]):
        assert not {"\x1b", "\x07"} & set(failed(capsys, *arguments))


def test_json_has_neither_nan_nor_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"psnr": NAN, "frames": [1.0, math.inf], "inner": {"name": "\x7f\x1b", "none": None}})
    out = capsys.readouterr().out
    assert json.loads(out) == {
        "psnr": None, "frames": [1.0, None], "inner": {"name": "\x7f\x1b", "none": None}
    }  # fmt: skip
    assert out[:-1].isprintable()


@pytest.mark.parametrize("psnr", [NAN, None])
@pytest.mark.parametrize("demands", [Demands(min_psnr=5), Demands(min_speedup=1)])
def test_a_check_fails_on_what_is_not_a_number(psnr: float | None, demands: Demands) -> None:
    shared: dict[str, Any] = {"speedup": 2.0, "described": "fora"}
    rows = [{"psnr": value, **shared} for value in (40.0, psnr)]
    outcome = checked(rows, demands)
    assert outcome.failures == ("the PSNR is not a number: some values of the pictures are not finite",)
    assert math.isnan(outcome.worst_psnr)


def test_a_speedup_that_is_not_a_number_meets_no_demand() -> None:
    rows = [{"psnr": 40.0, "speedup": NAN, "described": "fora"}]
    assert checked(rows, Demands(min_speedup=0)).failures == ("a speedup of nanx is below 0x",)


def test_a_picture_of_nan_is_not_written() -> None:
    frames = torch.full((1, 8, 8, 3), 0.5)
    frames[0, 3, 3, 1] = NAN
    made = Generated(Path("a.png"), "m", "P", {"prompt": "a"}, 0, None, Clip(frames, 1, 1.0, 1.0))
    with pytest.raises(ValueError, match="not finite numbers, so it is not written: try --dtype float32"):
        generating._write(made, 1, None)
    assert not Path("a.png").exists()


@contextmanager
def unwritable(descriptor: int) -> Iterator[TextIO]:
    """A stream to a place that takes nothing."""
    stream = os.fdopen(descriptor, "w")
    yield stream
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    stream.close()


def closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


@pytest.mark.parametrize("place", [closed_pipe, full_disk])
@pytest.mark.parametrize("arguments", [["methods"], ["methods", "--json"], ["--help"], ["--version"]])
def test_a_result_that_cannot_be_written_is_a_line(
    place: Callable[[], int],
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with unwritable(place()) as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        assert cli.run(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_an_error_that_cannot_be_written_leaves_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    with unwritable(closed_pipe()) as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stream)
        assert cli.run(["methods", "no-such"]) == 2


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "too little memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 4 TB"), "too little memory"),
        (KeyError("sigmas"), "KeyError: 'sigmas'; SKIPSTONE_TRACEBACK=1 shows where it comes from"),
        (RuntimeError("mat1\nand mat2"), "RuntimeError: mat1 and mat2; SKIPSTONE_TRACEBACK=1"),
        (PermissionError(13, "Permission denied", "/root/x"), "Permission denied: /root/x"),
    ],
)
def test_what_is_not_foreseen_is_a_line_too(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(planning, "_make", fail)
    monkeypatch.delenv(cli.TRACEBACK, raising=False)
    assert said in failed(capsys, "plan", "a", "--speedup", "2")


def test_a_bug_shows_its_place_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise KeyError("sigmas")

    monkeypatch.setattr(planning, "_make", fail)
    monkeypatch.setenv(cli.TRACEBACK, "1")
    with pytest.raises(KeyError):
        cli.run(["plan", "a", "--speedup", "2"])
