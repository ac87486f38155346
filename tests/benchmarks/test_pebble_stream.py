"""The measurement of long videos: its numbers by arithmetic, and a row of a short video."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from pebble_stream import borders, energies, row, summary

from support.programs import run_here


def test_the_first_chunk_has_three_frames_less() -> None:
    found = borders(chunk=3, frames=400)
    assert [(part.start, part.stop) for part in found[:3]] == [(0, 9), (9, 21), (21, 33)]
    assert (len(found), found[-1].start, found[-1].stop) == (34, 393, 400)


def test_energies_are_of_neighbours_in_space_and_time() -> None:
    """Rows alternate between 0 and 0.5, and every picture is brighter by 0.1 than the one before."""
    rows = torch.tensor([0.0, 0.5]).repeat(4)[None, :, None, None].expand(20, 8, 8, 3)
    found = energies(rows + 0.1 * torch.arange(20)[:, None, None, None])
    assert found["gradient"] == pytest.approx([0.25] * 10, rel=1e-4)
    assert found["motion"] == pytest.approx([0.01] * 10, rel=1e-3)


def test_a_summary_compares_the_last_tenth_with_the_first() -> None:
    steady = {"asked": "red", "backgrounds": ["red", "red"], "gradient": [2.0] * 10, "motion": [1.0] * 10}
    doubled = {**steady, "backgrounds": ["red", "blue"], "gradient": [2.0] * 9 + [4.0]}
    found = summary([steady, doubled])
    assert found["background_share"] == 0.75
    assert found["videos_right_throughout"] == 0.5
    assert (found["gradient_ratio"], found["gradient_ratio_least"], found["motion_ratio"]) == (1.5, 1.0, 1.0)


def test_the_background_is_looked_for_in_every_chunk() -> None:
    video = torch.zeros(21, 32, 32, 3)
    video[:9, ..., 0] = 1
    video[9:, ..., 2] = 1
    first, second = row("", "red", video, chunk=3)["backgrounds"]
    assert first == "red"
    assert second == "blue"


def test_a_row_of_a_short_video(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    options = ("--prompts", "1", "--frames", "10", "--steps", "2", "--guidance", "1", "--device", "cpu")
    assert run_here("benchmarks/pebble_stream.py", *options, "--rows", str(rows)) == 0
    (found,) = map(json.loads, rows.read_text().splitlines())
    assert (found["steps"], found["frames"]) == (2, 10)
    assert found["backgrounds"] == [found["asked"]] * 2
