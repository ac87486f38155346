"""`skipstone generate --chunked-vae`: the same clip, whose frames are written as they are decoded."""

import json
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan

from skipstone import cli
from skipstone.commands.options import FITTING, with_bare_options
from skipstone.metrics import mp4

SMALL = ["--size", "32x32", "--frames", "9", "--steps", "4", "--no-cache"]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def generate(*arguments: str) -> int:
    return cli.run(["generate", "a red apple", *arguments])


def test_a_clip_is_the_same(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("-o", "whole.mp4", "--model", video, *SMALL) == 0
    capsys.readouterr()
    assert generate("-o", "chunked.mp4", "--model", video, *SMALL, "--chunked-vae", "--json") == 0
    assert Path("chunked.mp4").read_bytes() == Path("whole.mp4").read_bytes()
    made = json.loads(capsys.readouterr().out)
    assert (made["frames"], made["height"], made["width"]) == (9, 32, 32)
    assert sorted(path.name for path in Path().iterdir()) == ["chunked.mp4", "whole.mp4"]


def test_frames_are_written_while_others_are_decoded(video: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[int] = []
    append = mp4.Mp4.append

    def counted(self: mp4.Mp4, pixels: np.ndarray) -> None:
        pieces.append(len(pixels))
        append(self, pixels)

    monkeypatch.setattr(mp4.Mp4, "append", counted)
    assert generate("-o", "a.mp4", "--model", video, *SMALL, "--chunked-vae", "2", "--scale", "2") == 0
    assert sum(pieces) == 9
    assert len(pieces) > 1
    assert iio.imread("a.mp4", plugin="FFMPEG").shape == (9, 64, 64, 3)


def test_what_is_no_mp4_is_decoded_in_chunks(video: str) -> None:
    for name, option in (("whole.gif", []), ("chunked.gif", ["--chunked-vae"])):
        assert generate("-o", name, "--model", video, *SMALL, *option) == 0
    assert Path("chunked.gif").read_bytes() == Path("whole.gif").read_bytes()


def test_the_last_of_several_runs_is_kept(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    few = [*SMALL[:-3], "--steps", "6"]
    assert generate("-o", "whole.mp4", "--model", video, *few, "--set", "threshold=0") == 0
    assert generate("-o", "both.mp4", "--model", video, *few, "--chunked-vae", "--compare") == 0
    assert iio.imread("both.mp4", plugin="FFMPEG").shape == (9, 32, 64, 3)


def test_a_picture_that_is_not_finite_is_not_written(
    video: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clamp = torch.clamp
    monkeypatch.setattr(torch, "clamp", lambda values, **limits: clamp(values, **limits) * float("nan"))
    assert generate("-o", "a.mp4", "--model", video, *SMALL, "--chunked-vae") == 2
    assert "not finite" in capsys.readouterr().err
    assert not list(Path().iterdir())


@pytest.mark.parametrize("number", ["0", "-1"])
def test_a_chunk_of_nothing_is_refused(video: str, number: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("-o", "a.mp4", "--model", video, *SMALL, "--chunked-vae", number) == 2
    assert (
        f"--chunked-vae takes a number from 1, or nothing for what fits; got {number}"
        in capsys.readouterr().err
    )


def test_an_image_has_no_chunks(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("-o", "a.png", "--model", image, "--chunked-vae") == 2
    assert "this model makes images" in capsys.readouterr().err


def test_the_autoencoder_is_left_as_it_was(video: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from skipstone.pipelines.vae import streamed_calls

    vaes = []
    begin = streamed_calls.StreamedCalls.__init__

    def noted(self: Any, pipe: Any, *others: Any) -> None:
        vaes.append(pipe.vae)
        begin(self, pipe, *others)

    monkeypatch.setattr(streamed_calls.StreamedCalls, "__init__", noted)
    assert generate("-o", "a.mp4", "--model", video, *SMALL, "--chunked-vae") == 0
    (vae,) = vaes
    assert isinstance(vae, AutoencoderKLWan)
    assert "decode" not in vae.__dict__


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--chunked-vae"], ["--chunked-vae", FITTING]),
        (["--chunked-vae", "3", "-o"], ["--chunked-vae", "3", "-o"]),
        (["--chunked-vae", "an apple"], ["--chunked-vae", FITTING, "an apple"]),
        (["--chunked-vae", "--", "--chunked-vae"], ["--chunked-vae", FITTING, "--", "--chunked-vae"]),
        ([], []),
    ],
)
def test_the_number_can_be_left_out(words: list[str], wanted: list[str]) -> None:
    assert with_bare_options(words) == wanted
