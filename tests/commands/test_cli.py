"""The command line: what it writes, what it prints, what it refuses."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import diffusers
import imageio.v3 as iio
import pytest
import torch
from rich.console import Console

import skipstone
from skipstone import cli
from skipstone.cachers import METHODS, PREDICTORS, SAVERS
from skipstone.cachers.contract.words import Step
from skipstone.cachers.make import WRAPPERS
from skipstone.commands.generated import Generated
from skipstone.commands.progress import StepLines
from skipstone.disk import weights
from skipstone.metrics.quality import quality
from skipstone.pipelines import bundled
from skipstone.pipelines.clips.clip import Clip

SMALL = ["--size", "32x32", "--frames", "5", "--steps", "6"]
SKIPS = ["--set", "threshold=1.5", "--set", "rescale=none"]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def generate(*arguments: str, prompt: str = "a red apple") -> int:
    return cli.run(["generate", prompt, *arguments])


def object_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one JSON object on standard output."""
    return dict(json.loads(capsys.readouterr().out))


def test_a_video_is_written(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("-o", "apple.mp4", "--model", video, *SMALL, *SKIPS) == 0
    assert iio.imread("apple.mp4", plugin="FFMPEG").shape == (5, 32, 32, 3)
    out, err = capsys.readouterr()
    assert "of 6 steps skipped" in out
    assert "teacache threshold 1.5" in out
    assert out.endswith("wrote apple.mp4\n")
    assert "6/6" in err


def test_json_is_alone_on_standard_output(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("-o", "apple.gif", "--model", video, *SMALL, *SKIPS, "--seed", "7", "--json") == 0
    result = object_of(capsys)
    assert {name: result[name] for name in ("output", "prompt", "seed", "model", "frames", "fps")} == {
        "output": "apple.gif", "prompt": "a red apple", "seed": 7, "model": video, "frames": 5, "fps": 16
    }  # fmt: skip
    statistics = result["statistics"]
    assert result["method"] == statistics["method"] == "teacache threshold 1.5, rescale none"
    assert statistics["steps"] == 6
    assert 0 < statistics["skipped_steps"] == statistics["strip"].count(".") < 5


def test_the_strip_shows_each_step(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    generate("-o", "apple.gif", "--model", video, *SMALL, *SKIPS, "--json")
    out, err = capsys.readouterr()
    assert f"teacache {json.loads(out)['statistics']['strip']} 6/6" in err


def test_without_a_cache_every_step_is_computed(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("-o", "apple.gif", "--model", video, *SMALL, "--no-cache") == 0
    out, err = capsys.readouterr()
    assert "6 steps computed" in out
    assert "no cache" in out
    assert "######" in err


def test_the_seed_decides(video: str) -> None:
    for name, seed in (("a.png", "1"), ("b.png", "1"), ("c.png", "2")):
        generate("-o", name, "--model", video, *SMALL, "--no-cache", "--seed", seed)
    a, b, c = (Path(name).read_bytes() for name in ("a.png", "b.png", "c.png"))
    assert a == b
    assert a != c


def test_a_gate_that_never_skips_says_why(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    generate("-o", "apple.gif", "--model", video, *SMALL, "--set", "threshold=0")
    assert "nothing was skipped: first step" in capsys.readouterr().out


def test_compare_measures_what_it_writes(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("-o", "both.png", "--model", video, *SMALL, *SKIPS, "--compare", "--json") == 0
    result = object_of(capsys)
    # The sheet is 3 columns of 64x32 cells, uncached left and cached right, in 8 bits: near 50 dB, these
    # alone cost up to one.
    sheet = torch.from_numpy(iio.imread("both.png")).float() / 255
    cells = [sheet[32 * (n // 3) :, 64 * (n % 3) :][:32, :64] for n in range(5)]
    left, right = (torch.stack([cell[:, half] for cell in cells]) for half in (slice(32), slice(32, 64)))
    expected = quality(right, left)
    assert result["psnr"] == pytest.approx(expected.psnr, abs=1.0)
    assert result["psnr_worst_frame"] == pytest.approx(expected.psnr_worst_frame, abs=1.0)
    assert result["ssim"] == pytest.approx(expected.ssim, abs=0.01)
    assert result["ssim_worst_frame"] == pytest.approx(expected.ssim_worst_frame, abs=0.01)
    assert result["ratio"] == pytest.approx(result["uncached_seconds"] / result["cached_seconds"])
    assert result["call_ratio"] == pytest.approx(
        result["uncached_call_seconds"] / result["cached_call_seconds"]
    )
    assert result["uncached_call_seconds"] > result["uncached_seconds"] > 0

    generate("-o", "alone.png", "--model", video, *SMALL, "--no-cache")
    alone = torch.from_numpy(iio.imread("alone.png")).float() / 255
    assert torch.equal(alone[:32, :32], left[0])


def test_compare_without_a_skip_is_identical(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    generate("-o", "both.gif", "--model", video, *SMALL, "--set", "threshold=0", "--compare")
    assert "same seed: identical" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("uncached_seconds", "layers", "is_doubted"), [(5.0, 0, True), (3.9, 0, False), (5.0, 3, False)]
)
def test_a_ratio_that_skipping_cannot_explain_is_doubted(
    uncached_seconds: float, layers: int, is_doubted: bool
) -> None:
    frames = torch.zeros(1, 16, 16, 3)
    parts = {"self attention": {"computed": 5, "skipped": layers}}
    stats = skipstone.RunStats("teacache", evaluations=8, computed=4, skipped=4, parts=parts)
    cached = Clip(frames, steps=8, loop_seconds=2.0, call_seconds=3.0, stats=stats)
    uncached = Clip(frames, steps=8, loop_seconds=uncached_seconds, call_seconds=6.0)
    same = quality(frames, frames)
    notes = Generated(Path("a.png"), "model", "Pipeline", {}, 0, None, cached, uncached, same).notes
    assert any("at most 2.00x" in note for note in notes) == is_doubted


@pytest.mark.parametrize(("uncached_seconds", "is_doubted"), [(3.8, False), (2.0, True)])
def test_a_speedup_that_other_work_took_away_is_doubted(uncached_seconds: float, is_doubted: bool) -> None:
    frames = torch.zeros(1, 16, 16, 3)
    stats = skipstone.RunStats("fora", steps=8, evaluations=8, computed=4, skipped=4, speedup=1.9)
    cached = Clip(frames, steps=8, loop_seconds=2.0, call_seconds=3.0, stats=stats)
    uncached = Clip(frames, steps=8, loop_seconds=uncached_seconds, call_seconds=6.0)
    same = quality(frames, frames)
    notes = Generated(Path("a.png"), "model", "Pipeline", {}, 0, None, cached, uncached, same).notes
    assert any("by its own steps" in note for note in notes) == is_doubted


def test_compare_without_error_is_valid_json(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    generate("-o", "both.gif", "--model", video, *SMALL, "--set", "threshold=0", "--compare", "--json")
    result = object_of(capsys)
    assert result["psnr"] is None
    assert result["ssim"] == pytest.approx(1)


def test_guidance_is_true_guidance_where_the_pipeline_has_it(
    image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", image, "--size", "32x32", "--steps", "4", "--json"]
    assert generate("-o", "guided.png", *arguments, "--guidance", "3") == 0
    result = object_of(capsys)
    assert result["arguments"]["true_cfg_scale"] == 3
    assert result["arguments"]["negative_prompt"] == ""
    assert sorted(result["statistics"]["branches"]) == ["transformer cond", "transformer uncond"]
    assert iio.imread("guided.png").shape == (32, 32, 3)


def test_a_bundled_model_has_its_own_defaults(
    video: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    defaults = {"num_inference_steps": 4, "guidance_scale": 2.0, "height": 32, "width": 32, "num_frames": 5}
    monkeypatch.setattr(weights, "CHECKOUT", Path(video).parent)
    monkeypatch.setattr(bundled, "DEFAULTS", {Path(video).name: defaults})
    assert generate("-o", "a.gif", "--model", Path(video).name, "--steps", "5", "--json") == 0
    expected = {**defaults, "num_inference_steps": 5, "prompt": "a red apple"}
    assert object_of(capsys)["arguments"] == expected


def test_what_a_bundled_model_does_not_know_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("skipstone.pipelines.clips.clip.make_clip", None)
    assert generate("-o", "a.png", "--model", "pebble-image", prompt="un chat") == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("note: "))
    assert line.startswith("note: pebble-image knows no word of 'un chat': ")


def test_a_method_may_be_given_by_the_options_former_name(
    video: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate("-o", "a.gif", "--model", video, *SMALL, "--cacher", "fora", "--json") == 0
    assert object_of(capsys)["method"].startswith("fora")


def test_a_fitted_method_measures_its_constants_first(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("-o", "a.gif", "--model", video, *SMALL, "--method", "MagCache:fitted", "--json") == 0
    out, err = capsys.readouterr()
    lines = [line.split() for line in err.splitlines() if "6/6" in line]
    assert [line[0] for line in lines] == ["fitting", "MagCache:fitted"]
    assert lines[0][1] == "######"
    assert json.loads(out)["statistics"]["method"].startswith("magcache")


def test_a_live_line_is_called_what_the_user_typed(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("-o", "a.gif", "--model", video, *SMALL, "--method", "FORA+Taylor") == 0
    assert "\nFORA+Taylor #" in "\n" + capsys.readouterr().err


REFUSED = {
    "typo": (["--method", "teacahce"], "did you mean 'teacache'?"),
    "method": (["--method", "no"], f"choose one of: {', '.join(sorted(METHODS))}"),
    "setting": (["--set", "x=1"], "it has: threshold, rescale"),
    "setting without value": (["--set", "threshold"], "expected key=value"),
    "setting twice": (["--set", "threshold=1", "--set", "threshold=2"], "given twice"),
    "setting of another type": (["--set", "threshold=much"], "expected float, got 'much'"),
    "setting out of range": (["--set", "threshold=-1"], "threshold must be"),
    "setting outside its set": (["--set", "rescale=mine"], "unknown rescale 'mine'"),
    "method without cache": (["--no-cache", "--method", "teacache"], "--no-cache"),
    "setting without cache": (["--no-cache", "--set", "threshold=1"], "--no-cache"),
    "comparison without cache": (["--no-cache", "--compare"], "--no-cache"),
    "size": (["--size", "32"], "WIDTHxHEIGHT"),
    "height": (["--size", "32x40"], "height 40: it must be a multiple of 16, such as 32 or 48"),
    "width": (["--size", "8x32"], "width 8: it must be a multiple of 16, such as 16"),
    "frames": (["--frames", "7"], "frames 7: it must be a multiple of 4 plus 1, such as 5 or 9"),
    "steps": (["--steps", "0"], "--steps"),
    "seed": (["--seed", "-1"], "--seed"),
    "large seed": (["--seed", str(2**63)], "--seed"),
    "guidance": (["--guidance", "nan"], "--guidance"),
    "negative without guidance": (["--negative", "blue", "--guidance", "1"], "ignores a negative prompt"),
    "fps": (["--fps", "0"], "--fps"),
    "fps of a sheet": (["--fps", "8", "-o", "a.png"], "no frames a second"),
    "scale": (["--scale", "0"], "--scale"),
    "device": (["--device", "abacus"], "no device 'abacus'"),
    "meta device": (["--device", "meta"], "meta"),
    "dtype": (["--dtype", "int8"], "float32, bfloat16, float16"),
    "model": (["--model", "pebble"], "pebble-video, pebble-image"),
    "not a pipeline": (["--model", "."], "no model_index.json"),
    "extension": (["-o", "a.avi"], ".mp4, .gif, .webp, .png"),
    "no extension": (["-o", "a"], ".mp4, .gif, .webp, .png"),
    "image format": (["-o", "a.jpg"], ".mp4, .gif, .webp, .png"),
    "folder": (["-o", "nowhere/a.mp4"], "no folder 'nowhere'"),
    "option": (["--sparkle"], "--sparkle"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_one_line(
    video: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert generate("-o", "a.mp4", "--model", video, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert message in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--frames", "5"], "FluxPipeline has no 'frames'"), (["--fps", "8"], "no frames a second"),
     (["-o", "a.mp4"], ".png, .jpg, .webp"), (["--negative", "blue"], "true_cfg_scale 1")],
)  # fmt: skip
def test_an_image_pipeline_refuses_what_only_videos_have(
    image: str, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert generate("-o", "a.png", "--model", image, *arguments) == 2
    assert message in capsys.readouterr().err


def test_bad_input_is_refused_before_the_model_is_loaded(
    video: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", load)
    for arguments in (["--method", "no"], ["--set", "x=1"], ["--device", "abacus"], ["-o", "a.jpg"]):
        assert generate("-o", "a.mp4", "--model", video, *arguments) == 2
    generate("-o", "a.mp4", "--model", video)
    assert ": loaded" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_to(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/proc/self").exists():
        pytest.skip("needs a folder that even root cannot write to")
    assert generate("-o", "/proc/self/a.mp4", "--model", video) == 2
    assert "cannot write to the folder '/proc/" in capsys.readouterr().err


def test_damaged_weights_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], video: str) -> None:
    folder = shutil.copytree(video, tmp_path / "model")
    (folder / "text_encoder" / "model.safetensors").write_bytes(b"half")
    assert generate("-o", "a.mp4", "--model", "model") == 2
    assert capsys.readouterr().err.startswith("error: cannot load model: ")


def test_a_damaged_index_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text("{")
    assert generate("-o", "a.mp4", "--model", "model") == 2
    assert "cannot read the model_index.json of model" in capsys.readouterr().err
    (tmp_path / "model" / "model_index.json").write_text('{"_class_name": "TomorrowPipeline"}')
    assert generate("-o", "a.mp4", "--model", "model") == 2
    assert "'TomorrowPipeline'" in capsys.readouterr().err


def test_an_interrupted_run_leaves_nothing(
    video: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = diffusers.FlowMatchEulerDiscreteScheduler.step

    def interrupted(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.step_index == 3:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(diffusers.FlowMatchEulerDiscreteScheduler, "step", interrupted)
    assert generate("-o", "a.mp4", "--model", video, *SMALL) == 130
    assert not list(tmp_path.iterdir())


def test_methods_are_described_by_their_docstrings(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["methods", "--json"]) == 0
    found = {method["name"]: method for method in object_of(capsys)["methods"]}
    assert sorted(found) == sorted([*METHODS, *PREDICTORS, *SAVERS, *WRAPPERS])
    for name, method in found.items():
        assert method["claim"].endswith(".")
        assert method["source"], name
        assert all(parameter["meaning"] for parameter in method["parameters"]), name
    teacache = found["teacache"]
    assert teacache["claim"].startswith("Skip until the summed, rescaled changes")
    assert teacache["source"] == "TeaCache, arXiv:2411.19108, https://github.com/ali-vilab/TeaCache"
    threshold = teacache["parameters"][0]
    assert (threshold["name"], threshold["type"]) == ("threshold", "float | None")
    assert threshold["default"] == skipstone.TeaCache().threshold
    assert threshold["meaning"].startswith("summed change at which a step is computed, in the unit")


def test_methods_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["methods"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in [*METHODS, *PREDICTORS, *SAVERS, *WRAPPERS])
    assert "arXiv:2411.19108" in out


def test_methods_that_are_named_are_shown_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["methods", "fora+taylor"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("fora ")
    assert "+taylor" in out
    assert "teacache" not in out.lower()
    assert cli.run(["methods", "no-such"]) == 2
    assert "unknown method 'no-such'; choose one of:" in capsys.readouterr().err


def test_a_method_that_is_named_is_explained_and_attached(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["methods", "TeaCache", "taylor"]) == 0
    out = capsys.readouterr().out
    assert "Difference: the polynomial is clamped at zero" in out
    assert 'Python: skipstone.attach(pipe, "teacache")' in out
    assert 'Python: skipstone.attach(pipe, "fora+taylor")' in out
    assert cli.run(["methods"]) == 0
    assert "Difference:" not in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert cli.run(arguments) == 0
    assert "generate" in capsys.readouterr().out


def test_the_module_runs_and_knows_its_version() -> None:
    command = [sys.executable, "-m", "skipstone", "--version"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output == f"skipstone {skipstone.__version__}\n"


def test_a_run_longer_than_the_line_shows_its_last_steps() -> None:
    stream = io.StringIO()
    with StepLines(Console(file=stream, width=60)) as lines:
        watch = lines.line("teacache")
        for index in range(100):
            watch(Step(index, 100, 0.0), int(index < 90), int(index >= 90))
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("teacache ###")
    assert "#.......... 100/100" in line
    assert "…" not in line


@pytest.mark.parametrize(
    ("asked", "is_said"), [(SKIPS, True), ([*SKIPS, "--compare"], False), (["--no-cache"], False)]
)
def test_a_quality_that_nothing_tells_can_be_measured(
    video: str, capsys: pytest.CaptureFixture[str], asked: list[str], is_said: bool
) -> None:
    assert generate("-o", "a.gif", "--model", video, *SMALL, *asked) == 0
    assert ("--compare measures it" in capsys.readouterr().out) == is_said
