"""A quality that is promised: which runs are made for it, what is kept of them, and when it is withdrawn."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import skipstone
from skipstone.pipelines.recording.measurements import Measurements
from skipstone.pipelines.recording.rehearsal import FIRST_SEED, Rehearsal
from skipstone.pipelines.recording.trial import measured
from skipstone.schedules.calibration import Shown
from skipstone.schedules.plan import Plan
from skipstone.schedules.promise import Goal, Metric, Promise
from support import tiny

STEPS = 8


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skipstone.pipelines.planning.autoplan.records_folder", lambda: tmp_path / "records")


def drawing(prompt: Any = None, generator: Any = None, **kwargs: Any) -> tuple[torch.Tensor]:
    """A stand-in whose pictures are the noise that it draws."""
    listed = generator if isinstance(generator, list) else [generator]
    return (torch.stack([torch.rand(4, 4, 3, generator=one) for one in listed]),)


def rehearsal(*args: Any, **kwargs: Any) -> Rehearsal:
    return Rehearsal(drawing, args, kwargs)


def test_each_prompt_of_a_calibration_has_noise_of_its_own_and_always_the_same() -> None:
    call = rehearsal("a", generator=torch.Generator().manual_seed(3))
    recorded = call.run("recording")
    made = [call.of_prompt("b").seeded(FIRST_SEED + n).run("again") for n in (0, 1, 0)]
    assert torch.equal(made[0], made[2])
    assert not torch.equal(made[0], made[1])
    assert not any(torch.equal(recorded, one) for one in made)
    several = rehearsal(["a", "b"], generator=[torch.Generator(), torch.Generator()]).seeded(5).run("again")
    assert not torch.equal(several[0], several[1])


def test_without_a_generator_the_noise_is_that_of_the_seed_too() -> None:
    made = []
    for state in (1, 2):
        torch.manual_seed(state)
        made.append(rehearsal("a").seeded(FIRST_SEED).run("again"))
    assert torch.equal(*made)


@pytest.mark.parametrize(
    ("args", "kwargs", "after_args", "after"),
    [
        (("a",), {"height": 8}, ("c",), {"height": 8}),
        ((), {"prompt": "a", "sigmas": [1.0, 0.5]}, (), {"prompt": "c", "sigmas": [1.0, 0.5]}),
        ((["a", "b"],), {"negative_prompt": ["x", "y"], "sigmas": [1.0, 0.5]}, (["c"],),
         {"negative_prompt": ["x"], "sigmas": [1.0, 0.5]}),
    ],
)  # fmt: skip
def test_a_prompt_takes_the_place_of_the_recorded_ones(
    args: Sequence[Any], kwargs: Any, after_args: Sequence[Any], after: Any
) -> None:
    seen: list[Any] = []

    def pipe(*args: Any, **kwargs: Any) -> tuple[torch.Tensor]:
        seen.append((args, {name: value for name, value in kwargs.items() if name != "output_type"}))
        return (torch.zeros(1, 2, 2, 3),)

    Rehearsal(pipe, args, kwargs).of_prompt("c").run("again")
    assert seen == [(after_args, after)]


def test_a_call_without_a_text_or_for_latents_calibrates_nothing() -> None:
    with pytest.raises(ValueError, match="record with a text"):
        rehearsal(prompt_embeds=torch.ones(1, 2)).trials(["a"])
    with pytest.raises(ValueError, match="measured on pictures, and this call makes latents"):
        rehearsal("a", output_type="latent").trials(["a"])


def test_pictures_are_measured_in_their_pixels() -> None:
    wanted = torch.rand(2, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    made = (wanted + torch.tensor([0.01, 0.1])[:, None, None, None]).clone()
    assert measured(made, wanted, "psnr") == pytest.approx([40.0, 20.0], abs=0.01)
    for metric in ("ssim", "lpips"):
        near, far = measured(made, wanted, metric)
        assert Goal(metric, near).is_kept(near)
        assert not Goal(metric, near).is_kept(far)
    with pytest.raises(ValueError, match="lpips cannot be measured here: it needs sides of 31 pixels"):
        measured(made[:, :8, :8], wanted[:, :8, :8], "lpips")


def test_measurements_are_kept_as_they_are_made_and_a_torn_line_is_none(tmp_path: Path) -> None:
    path, shown = tmp_path / "kept.jsonl", Shown((0.1, 0.2), (40.0, 30.5), (1.0, 2.0))
    Measurements(path).add("one", shown)
    with path.open("ab") as file:
        file.write(path.read_bytes()[:30])
    again = Measurements(path)
    assert again.of("one") == shown
    assert again.of("two") is None
    again.add("two", shown)
    assert Measurements(path).of("two") == shown
    path.write_text('{"schema": 1, "key": 3}\n')
    with pytest.raises(ValueError, match=r"kept.jsonl:1' is damaged: .*; delete the file"):
        Measurements(path)


@pytest.fixture(scope="module")
def recorded() -> tuple[tiny.Tiny, skipstone.Record]:
    case = tiny.flux()
    case.kwargs |= {"num_inference_steps": STEPS, "output_type": "np"}
    generator = torch.Generator().manual_seed(0)
    return case, skipstone.record(case.pipe, **{**case.kwargs, "generator": generator})


def test_the_recorded_call_is_calibrated_with_other_noise_and_its_measurements_are_known_again(
    recorded: tuple[tiny.Tiny, skipstone.Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    case, record = recorded
    reachable = record.plan(computed=5).validated
    assert reachable is not None
    plan = record.plan(quality=reachable.worst - 1)
    assert 1 < plan.computed < STEPS
    assert plan.promise is not None
    assert (plan.promise.share, plan.promise.prompts) == (None, 1)
    asked = {**case.kwargs, "generator": torch.Generator().manual_seed(FIRST_SEED)}
    uncached = case.pipe(**asked)[0]
    with skipstone.attach(case.pipe, plan) as cache:
        made = case.pipe(**{**asked, "generator": torch.Generator().manual_seed(FIRST_SEED)})[0]
    psnr = -10 * math.log10(np.mean((made - uncached).astype(np.float64) ** 2))
    assert plan.promise.values == pytest.approx((psnr,), abs=0.01)
    assert cache.last_run.deviations == pytest.approx(plan.deviations, rel=1e-3)
    assert " dB, kept by 1 of 1 calibrated prompts: promised to no others" in str(cache.last_run)
    titles: list[str] = []
    monkeypatch.setattr(Rehearsal, "run", lambda self, title: titles.append(title))
    trial = Rehearsal(case.pipe, (), {**case.kwargs, "generator": torch.Generator()}).trials(None)[0]
    assert trial.known(plan, "psnr") == Shown(plan.promise.values, plan.promise.values, plan.deviations)
    assert trial.known(plan, "lpips") is None
    assert not titles


def promised(plan: Plan, metric: Metric = "psnr") -> Plan:
    return replace(plan, promise=Promise(Goal(metric, 1.0), 0.95, (2.0,) * 19))


SAID = "PSNR of at least 1 dB, promised to 95 in 100 prompts like these"


def test_a_promise_is_said_after_a_run_like_those_that_were_calibrated(
    recorded: tuple[tiny.Tiny, skipstone.Record],
) -> None:
    case, record = recorded
    plan = promised(record.plan(computed=4))
    with skipstone.attach(case.pipe, plan) as cache:
        case()
        assert SAID in str(cache.last_run)
        assert cache.method == "planned 4 of 8 steps"
    with skipstone.attach(case.pipe, replace(plan, promise=None)) as cache:
        case()
        assert "promised" not in str(cache.last_run)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"num_inference_steps": 10}, "another number of steps, other timesteps"),
        ({"guidance_scale": 7.0}, "other guidance"),
        ({"height": 32, "width": 48}, "another size"),
    ],
)
def test_a_promise_is_withdrawn_from_runs_unlike_the_calibrated_ones(
    recorded: tuple[tiny.Tiny, skipstone.Record], changes: dict[str, Any], why: str
) -> None:
    case, record = recorded
    with skipstone.attach(case.pipe, promised(record.plan(computed=4))) as cache:
        case(**changes)
        said = str(cache.last_run)
        assert f"PSNR of at least 1 dB is not promised to this run, which has {why}" in said
        assert SAID not in said
        case()
        assert SAID in str(cache.last_run)


def test_other_weights_and_residuals_in_8_bits_lose_the_promise(
    recorded: tuple[tiny.Tiny, skipstone.Record],
) -> None:
    case, record = recorded
    plan = promised(record.plan(computed=4))
    with skipstone.attach(case.pipe, plan, snapshots="int8") as cache:
        case()
        assert "this run, which has residuals kept as int8" in str(cache.last_run)
    weight = next(case.pipe.transformer.parameters())
    with torch.no_grad(), skipstone.attach(case.pipe, plan) as cache:
        weight.mul_(1.01)
        case()
        weight.div_(1.01)
        assert "this run, which has other weights of transformer" in str(cache.last_run)
