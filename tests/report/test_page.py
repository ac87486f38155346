"""Drawings, pictures, and the page that holds them."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from skipstone.disk.errors import FileError
from skipstone.metrics import METRICS
from skipstone.report.cases import cases
from skipstone.report.drawing import Axis, curves, expected_errors, strip
from skipstone.report.page import page, write_page
from skipstone.report.previews import GAIN, LONGEST, difference, shrunk
from skipstone.report.rows import PLAIN, REPEAT, UNCACHED, read_rows
from skipstone.report.summary import summarise
from support.measured import HEADER, row, sweep_of


def test_ticks_are_round() -> None:
    assert Axis(0.93, 3.1, 0, 100).ticks() == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert Axis(0.93, 3.1, 0, 100)(0.93) == 0
    assert Axis(0.93, 3.1, 100, 0)(3.1) == 0


def test_a_strip_has_a_cell_for_each_step() -> None:
    drawn = strip("#..#+")
    assert "2 of 5 steps computed: #..#+" in drawn
    assert drawn.count("h5v12h-5z") == 2
    assert drawn.count("h5v1.5h-5z") == 2
    assert drawn.count("h5v6h-5z") == 1


def test_expected_errors_have_a_bar_for_each_skipped_step() -> None:
    drawn = expected_errors([None, 0.1, 0.2, None])
    assert "M6,6.0h5" in drawn
    assert "M12,0.0h5" in drawn
    assert "at most 0.200" in drawn
    assert drawn.count("h5V12") == 2
    assert not expected_errors([])


def test_a_curve_runs_through_its_points() -> None:
    lines = summarise(sweep_of(row(), row(psnr=40.0, speedup=1.5, setting="interval=3"), row(PLAIN, steps=5)))
    drawn = curves(lines, METRICS["psnr"])
    assert drawn.count('class="marker series-0"') == 2
    assert drawn.count('class="marker plain"') == 1
    assert drawn.count("<polyline") == 2
    assert "noise floor" not in drawn
    assert not curves(lines, METRICS["ssim"])


def test_the_noise_floor_is_drawn_where_it_matters() -> None:
    made = [
        row(REPEAT, psnr=35.0),
        row(psnr=40.0),
        row(psnr=30.0, prompt="p1"),
        row(PLAIN, steps=5, psnr=31.0),
    ]
    assert "noise floor" in curves(summarise(made), METRICS["psnr"])


def test_previews_keep_their_shape() -> None:
    clip = torch.rand(2, 240, 960, 3)
    small = shrunk(clip)
    assert small.shape == (2, 120, LONGEST, 3)
    assert small[1, 0, 0].tolist() == pytest.approx(clip[1, :2, :2].mean(dim=(0, 1)).tolist(), abs=1e-5)
    assert shrunk(small) is small


def test_the_difference_is_amplified() -> None:
    dark = torch.zeros(1, 2, 2, 3)
    bright = dark.clone()
    bright[0, 0, 0] = torch.tensor([0.03, 0.0, 0.06])
    bright[0, 1, 1] = 1.0
    seen = difference(bright, dark)
    assert seen[0, 0, 0].tolist() == pytest.approx([0.03 * GAIN] * 3)
    assert seen[0, 1, 1].tolist() == [1, 1, 1]
    assert seen[0, 0, 1].tolist() == [0, 0, 0]


def test_the_worst_case_comes_first_and_the_size_is_kept(tmp_path: Path) -> None:
    for name in ("reference", "a", "b", "c"):
        (tmp_path / f"{name}.webp").write_bytes(b"x" * 100)
    made = [
        row(setting=f"interval={n}", psnr=psnr, clip=f"{name}.webp", difference=f"{name}.webp")
        for n, (name, psnr) in enumerate({"a": 30.0, "b": 10.0, "c": 20.0}.items(), 2)
    ]
    lines = summarise([row(UNCACHED, clip="reference.webp"), *made, row(PLAIN, psnr=5.0, steps=5)])
    found = cases(lines, "psnr", tmp_path, megabytes=400e-6)
    assert [case.row["psnr"] for case in found] == [10, 20, 30, 5]
    assert [sorted(case.clips) for case in found] == [["cached", "difference", "uncached"]] * 2 + [[], []]


def test_the_page_says_everything(tmp_path: Path) -> None:
    made = sweep_of(
        row(prompt="<b>bold</b>", psnr=31.0, not_measured={"vmaf": "it needs a video"}), row(PLAIN, steps=5)
    )
    made[0] = {**made[0], "left_out": {"magcache": "it has no ratios"}, "versions": {"torch": "2.99"}}
    written = page(made, tmp_path)
    for words in (
        "Caching on tiny", "Small differences", "Left out: magcache, as it has no ratios", "2.99",
        "VMAF was not measured: it needs a video", "skipstone report", "num_inference_steps", "5 steps",
        "&lt;b&gt;bold&lt;/b&gt;",
    ):  # fmt: skip
        assert words in written
    assert "<b>bold" not in written


def test_control_characters_are_spelled_out_in_the_page(tmp_path: Path) -> None:
    written = page(sweep_of(row(prompt="a\x1b[31m\0 cat \u202egnp")), tmp_path)
    assert "a\\x1b[31m\\x00 cat \\u202egnp" in written
    assert not {"\x1b", "\0", "\u202e"} & set(written)


def test_the_page_is_whole_without_a_network(tmp_path: Path) -> None:
    written = page(sweep_of(row()), tmp_path)
    assert "http://" not in written
    assert "https://" not in written
    assert '<link rel="stylesheet"' not in written


def test_pictures_that_hold_no_numbers_are_said_and_the_others_are_judged(tmp_path: Path) -> None:
    odd = row(setting="interval=9", not_measured={"psnr": "it came out as nan"})
    without = {name: value for name, value in odd.items() if not name.startswith("psnr")}
    made = sweep_of(row(psnr=31.0), without, row(PLAIN, steps=5, psnr=20.0))
    written = page(made, tmp_path)
    assert "Without PSNR, so without a verdict: fora interval=9, as it came out as nan." in written
    assert "fora interval=2: 2.00x faster loop" in written
    assert cases(summarise(made), "psnr", tmp_path, 1)[0].row["setting"] == "interval=9"


def test_a_clip_outside_of_the_folder_of_the_rows_is_not_shown(tmp_path: Path) -> None:
    inside, private = tmp_path / "report", tmp_path / "private.webp"
    inside.mkdir()
    private.write_bytes(b"PRIVATE")
    (inside / "link.webp").symlink_to(private)
    for clip in (str(private), "../private.webp", "link.webp"):
        made = [row(UNCACHED, clip=clip), row(clip=clip, difference=clip)]
        assert [case.clips for case in cases(summarise(made), "psnr", inside, 1)] == [{}]
    (inside / "own.webp").write_bytes(b"own")
    made = [row(UNCACHED, clip="own.webp"), row(clip="own.webp", difference="own.webp")]
    assert [len(case.clips) for case in cases(summarise(made), "psnr", inside, 1)] == [3]


def test_a_page_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"
    path.write_text("old")

    def full(descriptor: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="No space left on device; free some space"):
        write_page(sweep_of(row()), path, tmp_path)
    with pytest.raises(ValueError, match="no measurements"):
        write_page([], path, tmp_path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("column", ["parts", "computed_steps"])
def test_a_page_needs_no_more_columns_than_its_rows(tmp_path: Path, column: str) -> None:
    path = tmp_path / "rows.jsonl"
    made = [{name: value for name, value in one.items() if name != column} for one in sweep_of(row())]
    path.write_text("".join(json.dumps(one) + "\n" for one in made))
    assert "fora" in page(read_rows(path), tmp_path)


def test_rows_without_measurements(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the rows hold no measurements"):
        page([HEADER], tmp_path)
