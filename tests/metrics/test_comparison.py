"""Comparing clips by many metrics: what is measured, what is skipped and why, what is summed up."""

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import skipstone.metrics
from skipstone.metrics import METRICS, compare, semantic
from skipstone.metrics.comparison import USUAL
from skipstone.metrics.pair import pair
from skipstone.metrics.quality import psnr
from skipstone.metrics.vmaf import vmaf


def clip(frames: int = 5, side: int = 48) -> Tensor:
    return torch.rand(frames, side, side, 3, generator=torch.Generator().manual_seed(0)) * 0.5


def test_identical_clips() -> None:
    scores = compare(clip(), clip()).scores
    assert {name: round(score.value, 3) for name, score in scores.items() if name != "vmaf"} == {
        "psnr": 100, "ssim": 1, "lpips": 0, "flicker": 0, "flow": 0,
    }  # fmt: skip
    assert scores["vmaf"].value > 95


def test_psnr_of_a_clip_is_that_of_its_mean_error() -> None:
    changed = clip()
    changed[2] += 0.1
    score = compare(changed, clip(), ["psnr"]).scores["psnr"]
    assert score.value == pytest.approx(20 + 10 * math.log10(5), abs=1e-3)
    assert score.worst == pytest.approx(20, abs=1e-3)
    assert score.frames == pytest.approx((100, 100, score.worst, 100, 100))


def test_the_worst_frame_of_a_distance_is_the_largest() -> None:
    changed = clip()
    changed[2] += 0.1 * torch.rand(48, 48, 3)
    score = compare(changed, clip(), ["lpips"]).scores["lpips"]
    assert score.worst == max(score.frames) == score.frames[2] > score.low > score.value


def test_the_fifth_percentile() -> None:
    ascending = [float(n) for n in range(101)]
    assert METRICS["ssim"].low(ascending) == pytest.approx(5)
    assert METRICS["lpips"].low(ascending) == pytest.approx(95)


def test_a_picture_has_no_motion() -> None:
    comparison = compare(clip(1), clip(1))
    assert set(comparison.scores) == {"psnr", "ssim", "lpips"}
    assert comparison.skipped["flicker"] == "it needs a video, and this is one picture"


def test_small_pictures_say_what_they_are_too_small_for() -> None:
    comparison = compare(clip(side=16), clip(side=16))
    assert set(comparison.scores) == {"psnr", "ssim", "flicker", "flow"}
    assert comparison.skipped["ms-ssim"] == "it needs sides of 176 pixels, and the smaller one has 16"
    assert set(comparison.scores) | set(comparison.skipped) == set(USUAL)


def test_vmaf_falls_with_noise() -> None:
    noise = torch.randn(5, 64, 64, 3, generator=torch.Generator().manual_seed(1))
    clean, some, much = (vmaf(pair(clip(side=64) + s * noise, clip(side=64))).mean() for s in (0, 0.1, 0.3))
    assert clean > 95 > some > much


def test_an_ffmpeg_whose_vmaf_lacks_its_models_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    old = 'model_path <string> (default "/usr/local/share/model/vmaf_v0.6.1.pkl")'
    monkeypatch.setattr("skipstone.metrics.vmaf._described", lambda: old)
    skipped = compare(clip(), clip(), ["psnr", "vmaf"]).skipped
    assert skipped == {"vmaf": "the ffmpeg of imageio-ffmpeg has no libvmaf with its models on this machine"}


def test_the_codec_is_part_of_its_metrics() -> None:
    """A difference of half a level is gone where pixels are whole levels."""
    names = ["psnr", "codec-psnr", "codec-ssim", "codec-lpips"]
    levels = (clip() * 255).floor() / 255
    scores = compare(levels + 0.4 / 255, levels, names, fps=8).scores
    assert scores["psnr"].value < 60
    assert [scores[name].value for name in names[1:]] == pytest.approx([100, 1, 0], abs=1e-6)


def test_the_codec_loses_something() -> None:
    changed = clip()
    changed[:, :24] += 0.1
    scores = compare(changed, clip(), ["psnr", "codec-psnr"]).scores
    assert scores["codec-psnr"].value != pytest.approx(scores["psnr"].value, abs=0.05)
    assert scores["codec-psnr"].value == pytest.approx(scores["psnr"].value, abs=3)


def test_metrics_of_meaning_are_skipped_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic, "_clip", _not_there)
    skipped = compare(clip(), clip(), ["clip-score", "image-reward", "vbench"], prompt="spots").skipped
    assert skipped == {
        "vbench": "the package vbench is not installed: pip install vbench",
        "clip-score": "openai/clip-vit-base-patch16 cannot be loaded: there is no hub",
        "image-reward": "the package image-reward is not installed: pip install image-reward",
    }
    assert compare(clip(), clip(), ["clip-score"]).skipped == {
        "clip-score": "there is no prompt to compare with"
    }


def _not_there() -> None:
    raise OSError("there is no hub\nat all")


def test_a_reward_is_compared_with_that_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a package that likes bright pictures."""

    def brightness(prompt: str, picture: object) -> float:
        import numpy as np

        assert prompt == "spots"
        return float(np.asarray(picture).mean())

    package = SimpleNamespace(load=lambda name: SimpleNamespace(score=brightness), __spec__=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "ImageReward", package)
    semantic._reward.cache_clear()
    score = compare(clip() + 0.2, clip(), ["image-reward"], prompt="spots").scores["image-reward"]
    semantic._reward.cache_clear()
    assert score.value == pytest.approx(0.2 * 255, abs=0.5)


def test_vbench_is_asked_about_both_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark that likes bright clips, and one of its dimensions not at all."""

    class VBench:
        def __init__(self, device: object, full_info_dir: str, output_path: str) -> None:
            self.folder = Path(output_path)
            self.folder.mkdir()

        def evaluate(
            self, videos_path: str, name: str, prompt_list: list[str], dimension_list: list[str], mode: str
        ) -> None:
            assert (prompt_list, mode) == (["spots"], "custom_input")
            mean = float(iio.imread(videos_path, plugin="FFMPEG").mean() / 255)
            results = {dimension: [mean, []] for dimension in dimension_list[1:]}
            (self.folder / f"{name}_eval_results.json").write_text(
                json.dumps({dimension_list[0]: [0.0, []], **results})
            )

    monkeypatch.setitem(sys.modules, "vbench", SimpleNamespace(VBench=VBench, __spec__=SimpleNamespace()))
    score = compare(clip() + 0.2, clip(), ["vbench"], prompt="spots").scores["vbench"]
    assert score.value == pytest.approx(0.2 * 4 / 5, abs=0.01)


def test_an_unknown_metric() -> None:
    with pytest.raises(ValueError, match="unknown metric 'pnsr'; choose from: psnr, ssim"):
        compare(clip(), clip(), ["pnsr"])


def test_a_comparison_in_words() -> None:
    assert str(compare(clip() + 0.1, clip(), ["psnr", "flicker"])) == "PSNR 20.0 dB, flicker 0.0000"


def test_writing_needs_no_metrics() -> None:
    assert skipstone.metrics.compare is compare
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        skipstone.metrics.nothing  # noqa: B018
    assert psnr(pair(clip(), clip())).isinf().all()


def as_images(clip: torch.Tensor) -> list[Image.Image]:
    return [Image.fromarray((255 * frame).round().byte().numpy()) for frame in clip]


@pytest.mark.parametrize(
    "form",
    [
        lambda clip: clip,
        lambda clip: clip.numpy(),
        lambda clip: clip.movedim(-1, 1),
        lambda clip: (255 * clip).round().byte(),
        as_images,
        lambda clip: [np.asarray(image) for image in as_images(clip)],
    ],
    ids=["tensor", "array", "channels first", "bytes", "PIL images", "list of arrays"],
)
def test_clips_come_in_any_form(form: Any) -> None:
    random = torch.Generator().manual_seed(0)
    clip = (255 * torch.rand(3, 32, 40, 3, generator=random)).round() / 255
    other = (clip + 0.1).clamp(0, 1)
    other = (255 * other).round() / 255
    expected = compare(clip, other, ["psnr"]).scores["psnr"].value
    assert compare(form(clip), other, ["psnr"]).scores["psnr"].value == pytest.approx(expected, rel=1e-5)


def test_one_image_is_a_clip_of_one_frame() -> None:
    image = as_images(torch.full((1, 32, 32, 3), 0.5))[0]
    assert compare(image, image, ["psnr"]).scores["psnr"].frames == (100.0,)


@pytest.mark.parametrize("shape", [(32, 32), (2, 32, 32, 4), (1, 2, 32, 32, 3)])
def test_what_is_no_clip_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected a clip \(frames, height, width, 3\)"):
        compare(torch.zeros(shape), torch.zeros(shape), ["psnr"])
