"""`skipstone generate --stream`: frames of a causal model are written as they are made."""

import json
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import pytest
from torch import Tensor

from skipstone import cli
from skipstone.metrics import mp4
from skipstone.pipelines.clips import stream as streams

SMALL = ["--size", "32x32", "--frames", "22", "--steps", "4"]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture(scope="module")
def causal(video: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny causal pipeline."""
    folder = tmp_path_factory.mktemp("causal") / "model"
    shutil.copytree(video, folder)
    (folder / "causal.json").write_text(json.dumps({"chunk": 2, "window": 4, "sink": 1}))
    return str(folder)


def generate(model: str, *arguments: str, output: str = "a.mp4") -> int:
    return cli.run(
        ["generate", "a red apple", "--stream", "-o", output, "--model", model, *SMALL, *arguments]
    )


def frames(path: str = "a.mp4") -> Any:
    return iio.imread(path, plugin="FFMPEG")


def test_frames_are_written_as_they_come(
    causal: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pieces: list[int] = []
    append = mp4.Mp4.append

    def counted(self: mp4.Mp4, pixels: Any) -> None:
        pieces.append(len(pixels))
        append(self, pixels)

    monkeypatch.setattr(mp4.Mp4, "append", counted)
    assert generate(causal, "--no-cache", "--json", "--scale", "2") == 0
    assert pieces == [1, 4, 4, 4, 4, 4, 1]
    assert frames().shape == (22, 64, 64, 3)
    caught = capsys.readouterr()
    made = json.loads(caught.out)
    assert (made["frames"], made["height"], made["width"], made["fps"]) == (22, 32, 32, 16)
    assert 0 < made["first_seconds"] < made["seconds"]
    assert "22/22 frames" in caught.err


def test_steps_are_skipped_within_chunks(causal: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(causal, "--method", "fora") == 0
    # Four chunks of four steps of two branches, of which every second is computed.
    assert "fora interval 2: 16 of 32 evaluations computed within the chunks" in capsys.readouterr().out


def test_an_interrupt_leaves_what_was_made(
    causal: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = streams.Making.frames

    def interrupted(self: streams.Making) -> Generator[Tensor, None, None]:
        for number, piece in enumerate(whole(self)):
            if number == 3:
                raise KeyboardInterrupt
            yield piece

    monkeypatch.setattr(streams.Making, "frames", interrupted)
    assert generate(causal) != 0
    assert "interrupted: a.mp4 has the first 9 of 22 frames" in capsys.readouterr().err
    assert len(frames()) == 9
    assert [path.name for path in Path().iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("why", "message"),
    [
        (RuntimeError("CUDA out of memory"), "error: there is too little memory for this"),
        (RuntimeError("odd"), "error: RuntimeError: odd"),
        (ValueError("no such thing"), "error: no such thing"),
        (OSError("lost"), "error: lost"),
        (None, "error: values of the picture are not finite numbers"),
    ],
)
def test_an_error_leaves_what_was_made(
    causal: str,
    why: Exception | None,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without another reason, frames are not finite."""
    whole = streams.Making.frames

    def failing(self: streams.Making) -> Generator[Tensor, None, None]:
        for number, piece in enumerate(whole(self)):
            if number == 3 and why is not None:
                raise why
            yield piece if number < 3 else piece * float("nan")

    monkeypatch.setattr(streams.Making, "frames", failing)
    assert generate(causal, "--no-cache") == 2
    *_, kept, error = capsys.readouterr().err.strip().splitlines()
    assert kept == f"stopped by {type(why or ValueError()).__name__}: a.mp4 has the first 9 of 22 frames"
    assert error.startswith(message)
    assert len(frames()) == 9
    assert [path.name for path in Path().iterdir()] == ["a.mp4"]


def test_an_encoder_that_ends_leaves_the_former_file(
    causal: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ended(self: mp4.Mp4, pixels: Any) -> None:
        raise OSError("the encoder has ended")

    Path("a.mp4").write_text("former")
    monkeypatch.setattr(mp4.Mp4, "_send", ended)
    assert generate(causal, "--no-cache") == 2
    assert "has the first" not in capsys.readouterr().err
    assert Path("a.mp4").read_text() == "former"


def test_an_interrupt_before_the_first_frame_leaves_nothing(
    causal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: streams.Making) -> Generator[Tensor, None, None]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(streams.Making, "frames", interrupted)
    assert generate(causal) != 0
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compare"], "--stream keeps no frames and makes each once: leave out --compare"),
        (["--quality", "30", "--chunked-vae"], "leave out --quality, --chunked-vae"),
        (["--method", "teacache:fitted"], "leave out --method teacache:fitted"),
        (["--frames", "3"], "at least 5 frames, those of the first chunk, got 3"),
        (["--size", "30x32"], "cannot make width 30"),
        (["--no-cache", "--method", "fora"], "--no-cache leaves nothing for --method to do"),
    ],
)
def test_what_does_not_go_is_one_line(
    causal: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(causal, *arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not list(Path().iterdir())


def test_a_longer_video_without_it_is_a_note(causal: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["-o", "a.mp4", "--model", causal, *SMALL[:3], "9", "--steps", "2", "--no-cache"]
    assert cli.run(["generate", "a red apple", *given]) == 0
    assert (
        "makes videos by --stream; without it, all of their frames see each other" in capsys.readouterr().err
    )


def test_other_files_than_mp4_are_refused(causal: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(causal, output="a.gif") == 2
    assert "--stream encodes an mp4 while frames are made, got 'a.gif': name it so" in capsys.readouterr().err


def test_other_models_are_refused_before_they_are_loaded(
    video: str, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for model in (video, "pebble-video"):
        assert generate(model) == 2
        assert f"{model} is not known to be causal" in capsys.readouterr().err
    assert cli.run(["generate", "a", "--stream", "-o", "a.png", "--model", image]) == 2
    assert "--stream is for videos, and this model makes images" in capsys.readouterr().err
