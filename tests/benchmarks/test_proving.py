"""The proving models load, run and follow their captions, and the program that proves on them writes rows."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
PROVING = ROOT / "benchmarks" / "proving"
sys.path += [str(PROVING), str(ROOT / "examples" / "training" / "train_pebble")]

from kinds import KINDS  # noqa: E402
from loading import WEIGHTS, load  # noqa: E402
from weights import restore, save  # noqa: E402

from support.programs import run_here  # noqa: E402

MOST_BYTES = 25_000_000


@pytest.mark.parametrize("name", KINDS)
def test_a_picture_has_the_background_that_its_caption_says(name: str) -> None:
    kind = KINDS[name]
    call = {"num_inference_steps": 4 if kind.moving else 8, "output_type": "np", **kind.call}
    does = " spins" if kind.moving else ""
    captions = [f"a banana{does} on a {colour} background" for colour in ("red", "blue")]
    pipe, generators = load(name), [torch.Generator().manual_seed(0) for _ in captions]
    if isinstance(call.get("negative_prompt"), str):
        call["negative_prompt"] = [call["negative_prompt"]] * len(captions)
    pictures = np.asarray(pipe(captions, generator=generators, **call)[0])
    corners = pictures.reshape(2, -1, 64, 64, 3)[:, :, :6, :6].mean((1, 2, 3))
    assert corners[0].argmax() == 0
    assert corners[1].argmax() == 2


def test_weights_are_small_and_none_is_missing() -> None:
    assert {path.stem for path in WEIGHTS.glob("*.safetensors")} == set(KINDS)
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) < MOST_BYTES


def test_weights_come_back_within_half_a_step_of_their_row(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before, after = torch.nn.Linear(64, 32), torch.nn.Linear(64, 32)
    save({"one": before}, tmp_path / "weights.safetensors")
    restore({"one": after}, tmp_path / "weights.safetensors")
    step = before.weight.abs().amax(1, keepdim=True) / 127
    assert ((after.weight - before.weight).abs() <= step * 0.501).all()
    assert torch.equal(after.bias, before.bias)


def test_rows_are_written_once(tmp_path: Path) -> None:
    options = ("--rows", str(tmp_path), "--device", "cpu", "--tested", "1", "--steps", "4")
    rows = tmp_path / "sd3-few-steps.jsonl"
    run_here("benchmarks/proving/prove.py", "sd3-few-steps", *options)
    first = rows.read_text()
    planned = [row for row in map(json.loads, first.splitlines()) if row["asked"]]
    ways = {row["way"] for row in planned}
    assert {"weighed", "reused"} <= ways <= {"weighed", "reused", "not settled", "reused, not settled"}
    assert "not settled" in ways
    assert all(row["computed"] == row["asked"] and row["psnr"][0] > 10 for row in planned)
    run_here("benchmarks/proving/prove.py", "sd3-few-steps", *options)
    assert rows.read_text() == first
