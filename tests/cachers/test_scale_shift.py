"""The scale-shift adjustment of Block Caching: what it does by arithmetic, and that training it helps."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import train_scale_shift
from safetensors.torch import save

import skipstone
from skipstone import BlockCaching, RunCap, ScaleShift, Taylor, WithPredictor
from skipstone.cachers.contract.words import Probe
from skipstone.disk import weights
from skipstone.disk.errors import FileError
from skipstone.pipelines import bundled
from support import tiny
from support.saved import save_wan
from support.toy import ToyModel, ToyPipeline

BLOCKS = ("blocks.0", "blocks.1", "blocks.2")


def still(steps: int, adjustment: ScaleShift | None = None) -> BlockCaching:
    """Computes the first step only."""
    return BlockCaching(0.5, dict.fromkeys(BLOCKS, (0.0,) * (steps - 1)), adjustment)


def adjustment(scale: float, shift: float) -> ScaleShift:
    """The same for every block, channel and time."""
    made = ScaleShift(24, {name: [24] for name in BLOCKS})
    for linear in made.linears.values():
        linear.bias.data = torch.cat([torch.full((24,), scale), torch.full((24,), shift)])
    return made


def wan(method: Any = None, **kwargs: Any) -> torch.Tensor:
    pipe = tiny.wan()
    if method is None:
        return pipe(**kwargs)
    with torch.no_grad(), skipstone.attach(pipe.pipe, method):
        return pipe(**kwargs)


def test_a_new_adjustment_changes_nothing() -> None:
    new = ScaleShift(24, {name: [24] for name in BLOCKS})
    torch.testing.assert_close(wan(still(8, new)), wan(still(8)))


def test_scale_and_shift_are_those_of_the_layer() -> None:
    made = ScaleShift(3, {"blocks.0": [2, 1]})
    made.linears["blocks/0/0"].weight.data[:, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    residual, time = torch.tensor([[[10.0, 100.0]]]), torch.tensor([[0.5, 7.0, 7.0]])
    # The scales are 1 + 0.5 * 1 and 1 + 0.5 * 2, the shifts 0.5 * 3 and 0.5 * 4.
    base = torch.tensor([[[0.25, 0.5]]])
    assert made(base, residual, "blocks.0", 0, time).tolist() == [[[10 * 1.5 + 1.75, 100 * 2 + 2.5]]]
    assert made(base[..., :1], residual[..., :1], "blocks.0", 1, time).tolist() == [[[10.25]]]
    assert "blocks.0" in made
    assert "blocks.1" not in made


def test_a_scale_of_zero_leaves_skipped_blocks_out() -> None:
    pipe = tiny.wan()
    seen: list[torch.Tensor] = []
    norm = pipe.pipe.transformer.norm_out
    patches = pipe.pipe.transformer.patch_embedding
    hooks = [
        norm.register_forward_pre_hook(lambda module, args: seen.append(args[0])),
        patches.register_forward_hook(lambda module, args, out: seen.append(out.flatten(2).transpose(1, 2))),
    ]
    with torch.no_grad(), skipstone.attach(pipe.pipe, still(8, adjustment(0.0, 0.25))):
        pipe()
    for hook in hooks:
        hook.remove()
    # The first step runs the blocks; after it each of three adds the shift and nothing else.
    for patch, last in list(zip(seen[0::2], seen[1::2], strict=True))[2:]:
        torch.testing.assert_close(last, patch + 3 * 0.25)


@pytest.mark.parametrize("wrap", [lambda m: RunCap(m, 100), lambda m: WithPredictor(m, Taylor(0))])
def test_wrappers_keep_the_adjustment(wrap: Any) -> None:
    method = still(8, adjustment(0.5, 0.1))
    assert torch.equal(wan(wrap(method)), wan(method))
    assert not torch.equal(wan(method), wan(still(8)))


def test_it_survives_a_file(tmp_path: Path) -> None:
    made = ScaleShift(5, {"blocks.0": [3], "refiner.blocks.10": [4, 2]})
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    method, file = BlockCaching(0.3, {"blocks.0": (0.1, 0.25)}, made), tmp_path / "trained.safetensors"
    skipstone.save_block_caching(method, file)
    again = skipstone.load_block_caching(file)
    assert (again.threshold, again.changes) == (method.threshold, method.changes)
    assert again.adjustment.state_dict().keys() == made.state_dict().keys()
    pairs = zip(again.adjustment.state_dict().values(), made.state_dict().values(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_a_method_without_an_adjustment_survives_too_but_not_one_without_changes(
    tmp_path: Path,
) -> None:
    skipstone.save_block_caching(still(8), tmp_path / "measured.safetensors")
    assert skipstone.load_block_caching(tmp_path / "measured.safetensors") == still(8)
    with pytest.raises(ValueError, match=r"skipstone\.fit_block_caching"):
        skipstone.save_block_caching(BlockCaching(), tmp_path / "nothing.safetensors")


def saved(path: Path, **tensors: Any) -> Path:
    """A file of these tensors, with the changes of one block."""
    given = {"changes.blocks.0": torch.zeros(7, dtype=torch.float64), **tensors}
    kept = {name: value for name, value in given.items() if value is not None}
    path.write_bytes(save(kept, {"threshold": "0.5"}))
    return path


WEIGHT, BIAS = "adjustment.linears.blocks/0/0.weight", "adjustment.linears.blocks/0/0.bias"

DAMAGED: dict[str, dict[str, Any]] = {
    "no changes": {"changes.blocks.0": None, WEIGHT: torch.zeros(4, 3), BIAS: torch.zeros(4)},
    "changes of different runs": {"changes.blocks.1": torch.zeros(6)},
    "changes of no step": {"changes.blocks.0": torch.zeros(0)},
    "changes below 0": {"changes.blocks.0": -torch.ones(7)},
    "changes as a matrix": {"changes.blocks.0": torch.zeros(7, 1)},
    "changes that are no numbers": {"changes.blocks.0": torch.full((7,), torch.nan)},
    "whole numbers": {"changes.blocks.0": torch.zeros(7, dtype=torch.int64)},
    "another tensor": {"optimizer": torch.zeros(1)},
    "a weight without its bias": {WEIGHT: torch.zeros(4, 3)},
    "a bias of another size": {WEIGHT: torch.zeros(4, 3), BIAS: torch.zeros(6)},
    "an odd number of scales and shifts": {WEIGHT: torch.zeros(3, 3), BIAS: torch.zeros(3)},
    "a weight of one dimension": {WEIGHT: torch.zeros(4), BIAS: torch.zeros(4)},
    "weights that are no numbers": {WEIGHT: torch.full((4, 3), torch.inf), BIAS: torch.zeros(4)},
}


@pytest.mark.parametrize("tensors", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_refused(tmp_path: Path, tensors: dict[str, Any]) -> None:
    with pytest.raises(FileError, match=r"trained.safetensors' is damaged: .*; measure and train it again"):
        skipstone.load_block_caching(saved(tmp_path / "trained.safetensors", **tensors))


def test_weights_are_read_from_safetensors_alone(tmp_path: Path) -> None:
    torch.save({"changes.blocks.0": torch.zeros(7)}, tmp_path / "trained.safetensors")
    for path in (tmp_path / "trained.safetensors", tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(FileError, match="cannot read") as error:
            skipstone.load_block_caching(path)
        assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(("embedding", "channels"), [(23, [24]), (24, [1]), (24, [12])])
def test_an_adjustment_of_other_sizes_is_refused(embedding: int, channels: list[int]) -> None:
    """One channel would else be stretched over all."""
    with pytest.raises(ValueError, match=r"adjustment of blocks\.0 has weights .* train it on this model"):
        wan(still(8, ScaleShift(embedding, dict.fromkeys(BLOCKS, channels))))


def test_an_adjustment_of_other_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not trained for blocks\.0"):
        wan(still(8, ScaleShift(24, {"blocks.7": [24]})))


def test_a_model_without_a_time_embedding_is_refused() -> None:
    with pytest.raises(ValueError, match="looks at the time embedding, but ToyModel has none"):
        skipstone.attach(ToyPipeline(ToyModel()), still(8, adjustment(1.0, 0.0)))
    assert still(8).probe is Probe.NONE


def test_the_fit_finds_the_scales_and_shifts_that_made_the_data() -> None:
    """Of two channels that vary, and of one that does not, which can only be shifted; at three times."""
    noise, learned = torch.Generator().manual_seed(0), ScaleShift(4, {"blocks.0": [3]})
    learned.requires_grad_(False)
    lesson: train_scale_shift.Lesson = {}
    seen = []
    for step in range(3):
        time, residual = torch.randn(1, 4, generator=noise), torch.randn(1, 20, 3, generator=noise)
        residual[..., 2] = 5.0
        added = residual * torch.tensor([2.0 + step, -1.0, 1.0]) + torch.tensor([0.5, step, 4.0])
        estimate = train_scale_shift.Estimate("blocks.0", 0, time, residual)
        train_scale_shift.take_in(lesson, step, estimate, added, learned)
        seen.append((estimate, added))
    errors = [(added - estimate.residual).square().mean().item() for estimate, added in seen]
    assert [sums.mean_loss for sums in lesson.values()] == pytest.approx(errors)
    train_scale_shift.fit(learned, lesson)
    for one, added in seen:
        adjusted = learned(torch.zeros_like(added), one.residual, "blocks.0", 0, one.embedding)
        torch.testing.assert_close(adjusted, added, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["wan", "flux"])
def test_training_brings_the_run_nearer_to_the_uncached_one(name: str) -> None:
    pipe = tiny.PIPELINES[name]()
    kwargs = {**pipe.kwargs, "output_type": "latent"}

    class Seeded(type(pipe.pipe)):  # type: ignore[misc]
        """The same noise in every run: a lesson that can be learned by heart."""

        def __call__(self, *args: Any, generator: Any = None, **given: Any) -> Any:
            return super().__call__(*args, generator=torch.Generator().manual_seed(0), **given)

    pipe.pipe.__class__ = Seeded
    bare, before = pipe(), {k: v.clone() for k, v in pipe.pipe.transformer.state_dict().items()}
    method = skipstone.fit_block_caching(pipe.pipe, [None], threshold=2.0, **kwargs)
    trained, losses = train_scale_shift.train(pipe.pipe, method, [None], passes=4, **kwargs)
    assert losses[-1] < 0.7 * losses[0]
    errors = []
    for one in (method, trained):
        with skipstone.attach(pipe.pipe, one) as cache:
            errors.append((pipe() - bare).square().mean().item())
        assert "+" in cache.last_run.strip
    assert errors[1] < errors[0]
    after = pipe.pipe.transformer.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(parameter.requires_grad for parameter in trained.adjustment.parameters())
    assert torch.equal(pipe(), bare)


def test_the_program_writes_a_file_that_can_be_attached(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, prompts, out = save_wan(tmp_path / "wan"), tmp_path / "prompts.txt", tmp_path / "out.safetensors"
    prompts.write_text("a red apple\nan apple bounces\nan apple on a blue background\n")
    size = {"height": 32, "width": 32, "num_frames": 5, "num_inference_steps": 6}
    options = ["--threshold", "2", "--held-out", "1", "--device", "cpu", "--arguments", json.dumps(size)]
    train_scale_shift.main([str(folder), str(out), "--prompts", str(prompts), *options])
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (row["prompts"], row["held_out"], row["bytes"]) == (2, 1, out.stat().st_size)
    assert 1 / 6 <= row["computed"] < 1
    assert 0 < row["psnr_before"] < 100
    assert 0 < row["psnr_after"] < 100
    method, pipe = skipstone.load_block_caching(out), tiny.wan()
    assert method.threshold == 2.0
    with skipstone.attach(pipe.pipe, method) as cache:
        pipe(num_inference_steps=6)
    assert "+" in cache.last_run.strip
    assert cache.last_run.method == "block-caching threshold 2, adjusted"


def test_the_psnr_is_that_of_the_methods_run() -> None:
    """On frames that are off by a tenth everywhere: 20 dB."""

    class Gray:
        """A pipeline whose every other run is lighter: for each prompt the first one is without a cache."""

        def __init__(self) -> None:
            self.transformer, self.scheduler = ToyModel(), ToyPipeline(ToyModel()).scheduler
            self.runs = 0

        def __call__(self, prompt: str, generator: Any, output_type: str) -> Any:
            self.runs += 1
            return (np.full((1, 3, 16, 16, 3), 0.6 if self.runs % 2 else 0.5),)

    method = BlockCaching(0.5, dict.fromkeys(BLOCKS, (0.0,)))
    assert train_scale_shift.psnr(Gray(), method, ["a", "b"]) == pytest.approx(20, abs=1e-3)
    assert train_scale_shift.computed_share(method) == 0.5


def test_a_bundled_model_is_named_for_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pebble-image").mkdir()
    monkeypatch.setattr(weights, "CHECKOUT", tmp_path)
    with pytest.raises(FileError, match="there is no such file"):
        skipstone.load_block_caching("pebble-image")
    skipstone.save_block_caching(still(8), tmp_path / "pebble-image" / bundled.BLOCK_CACHING)
    assert skipstone.load_block_caching("pebble-image") == still(8)


def test_there_must_be_something_to_train() -> None:
    pipe = tiny.wan()
    method = replace(still(8), changes=dict.fromkeys(BLOCKS, (1.0,) * 7))
    with pytest.raises(ValueError, match="skips no block"):
        train_scale_shift.train(pipe.pipe, method, [None], **{**pipe.kwargs, "output_type": "latent"})
