"""Planning on the go: record once for each kind of run, plan from then on, also in other processes."""

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import skipstone
from skipstone.cachers.contract.words import RunFacts, Step
from skipstone.pipelines.planning.autoplan import records_folder as find_folder
from skipstone.pipelines.planning.conditions import conditions
from skipstone.pipelines.run.stats import RunLog
from skipstone.schedules.profile import Quantity
from support import tiny
from support.adapters import lora
from support.bending import bending
from support.tiny_pipelines import PIPELINES, flux
from support.toy import ToyModel, ToyPipeline


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    records = tmp_path / "records"
    # Times of tiny models vary: say that a skipped step costs nothing.
    monkeypatch.setattr(RunLog, "skip_cost", lambda log: 0.0)
    monkeypatch.setattr("skipstone.pipelines.planning.autoplan.records_folder", lambda: records)
    return records


@pytest.fixture
def toy() -> Iterator[tuple[ToyPipeline, skipstone.CacheHandle]]:
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad(), skipstone.attach(pipe, speedup=2.0) as cache:
        yield pipe, cache


def is_recording(cache: skipstone.CacheHandle) -> bool:
    return "it is being recorded" in cache.last_run.reasons


def test_records_are_kept_in_the_users_cache_folder() -> None:
    assert (find_folder() or Path()).parts[-2:] == ("skipstone", "records")


def test_the_first_run_is_recorded_and_the_later_ones_are_planned(toy: Any) -> None:
    pipe, cache = toy
    truth = pipe(bending(16))
    assert is_recording(cache)
    assert cache.last_run.skipped == 0
    assert "recorded" in cache.last_run.method
    planned = pipe(bending(16))
    assert cache.last_run.computed == 8
    assert cache.last_run.method == "planned 8 of 16 steps"
    assert all((a - b).norm() < 0.05 * b.norm() for a, b in zip(planned, truth, strict=True))


def test_each_line_tells_what_to_expect(toy: Any) -> None:
    pipe, cache = toy
    pipe(bending(16))
    assert "; later runs: planned 8 of 16 steps, expect " in str(cache.last_run)
    pipe(bending(16))
    assert "; expect hard to tell apart, PSNR about " in str(cache.last_run)
    assert "later runs" not in str(cache.last_run)


def test_a_speed_that_makes_another_picture_is_warned_of() -> None:
    pipe = ToyPipeline(ToyModel())
    warning = r"speedup 8: expect another picture, .* dB"
    with torch.no_grad(), skipstone.attach(pipe, speedup=8.0), pytest.warns(UserWarning, match=warning):
        pipe(bending(16, bend=3.0))


@pytest.mark.parametrize("name", ["wan", "flux", "sd3", "wan-two-experts"])
def test_recorded_and_planned_runs_of_pipelines(name: str) -> None:
    case = PIPELINES[name].make()
    bare = case(num_inference_steps=20)
    with skipstone.attach(case.pipe, speedup=1.5) as cache:
        assert torch.equal(case(num_inference_steps=20), bare)
        assert is_recording(cache)
        assert torch.isfinite(case(num_inference_steps=20)).all()
        assert not is_recording(cache)
        # 13 is nearest to 20 / 1.5.
        assert 13 <= cache.last_run.strip.count("#") < 20


def test_a_run_that_begins_late_in_the_schedule_is_planned_for_its_own_steps() -> None:
    """Of 20 steps 14 are executed, which only the first of them shows."""
    case = PIPELINES["wan-video-to-video"].make()
    with skipstone.attach(case.pipe, speedup=1.5) as cache:
        for recorded in (True, False):
            case(num_inference_steps=20)
            assert cache.last_run.steps == 14
            assert (cache.last_run.skipped == 0) == recorded
    assert 9 <= cache.last_run.strip.count("#") < 14


def test_another_process_need_not_record_again(folder: Path) -> None:
    for first in (True, False):
        case = tiny.wan()
        with skipstone.attach(case.pipe, speedup=1.5) as cache:
            case(num_inference_steps=12)
            assert is_recording(cache) == first
    assert len(list(folder.iterdir())) == 1


DIFFERENT = {
    "steps": {"num_inference_steps": 13},
    "guidance": {"guidance_scale": 6.0},
    "size": {"height": 48},
}


@pytest.mark.parametrize("changes", DIFFERENT.values(), ids=DIFFERENT)
def test_a_run_of_another_kind_is_recorded_for_itself(changes: dict[str, Any]) -> None:
    case = tiny.wan()
    with skipstone.attach(case.pipe, speedup=1.5) as cache:
        for kwargs in ({}, changes):
            case(**{"num_inference_steps": 12, **kwargs})
            assert is_recording(cache)
        for kwargs in ({}, changes):
            case(**{"num_inference_steps": 12, **kwargs})
            assert not is_recording(cache)


def test_true_guidance_counts_where_there_is_a_negative_prompt() -> None:
    case = flux.true_guidance()
    plain = {name: None for name in case.kwargs if "negative" in name}
    kinds: list[dict[str, Any]] = [{}, {"true_cfg_scale": 5.0}, {"true_cfg_scale": 5.0, **plain}]
    same = {"true_cfg_scale": 7.0, **plain}
    with skipstone.attach(case.pipe, speedup=1.5) as cache:
        for changes, recorded in [*((kind, True) for kind in kinds), *((k, False) for k in (*kinds, same))]:
            case(**{"num_inference_steps": 12, **changes})
            assert is_recording(cache) == recorded, changes


def test_a_record_knows_the_scale_of_true_guidance() -> None:
    """So little above 1, guided values are the conditional ones."""
    case = flux.true_guidance()
    record = skipstone.record(
        case.pipe, **{**case.kwargs, "num_inference_steps": 4, "true_cfg_scale": 1 + 1e-6}
    )
    guided, cond = (record.moments[Quantity("transformer", of, "residual")] for of in ("guided", "cond"))
    assert guided.norms == pytest.approx(cond.norms, rel=1e-4)


def test_other_prompts_and_larger_batches_share_a_record() -> None:
    case = tiny.wan()
    with skipstone.attach(case.pipe, speedup=1.5) as cache:
        case(num_inference_steps=12)
        embeds = {
            name: value.repeat(2, 1, 1) * 1.1 for name, value in case.kwargs.items() if "embeds" in name
        }
        case(num_inference_steps=12, **embeds)
        assert not is_recording(cache)
        assert len(cache.last_run.deviations) == 2


def test_what_a_record_is_made_for_tells_all_that_matters() -> None:
    case = tiny.wan()
    run = RunFacts((Step(0, 1, 1000.0),), (4, 2, 4, 4), "float32")
    pipe, models = case.pipe, {"transformer": case.pipe.transformer}
    seen = [conditions(pipe, models, run)]
    run = replace(run, scales={"guidance_scale": 4.0})
    seen.append(conditions(pipe, models, run))
    pipe.transformer.register_to_config(_name_or_path="another/folder")
    assert conditions(pipe, models, run) == seen[-1]
    with torch.no_grad():
        next(iter(pipe.transformer.parameters())).mul_(1.5)
    seen.append(conditions(pipe, models, run))
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, shift=5.0)
    seen.append(conditions(pipe, models, run))
    texts = {json.dumps(one, sort_keys=True) for one in seen}
    assert len(texts) == 4
    assert seen[0]["guidance"] == {}
    assert seen[1]["guidance"] == {"guidance_scale": 4.0}
    assert seen[1]["models"] != seen[2]["models"]
    assert seen[2]["scheduler"] != seen[3]["scheduler"]


def test_an_adapter_makes_another_record_necessary() -> None:
    peft = pytest.importorskip("peft")
    case = tiny.wan()
    run = RunFacts(())
    pipe, models = case.pipe, {"transformer": case.pipe.transformer}
    plain = conditions(pipe, models, run)["models"]
    pipe.transformer.add_adapter(peft.LoraConfig(r=2, lora_alpha=4, target_modules=["to_q"]))
    adapted = conditions(pipe, models, run)["models"]
    assert adapted["transformer"]["adapters"] == ["default 2"]
    assert adapted != plain


def test_an_adapters_scale_counts_only_while_it_is_active() -> None:
    pytest.importorskip("peft")
    case = tiny.wan()
    lora(case, 1, "other")
    lora(case, 2, "style")
    case.pipe.transformer.set_adapters(["style"], 0.5)
    models = {"transformer": case.pipe.transformer}
    adapters = conditions(case.pipe, models, RunFacts(()))["models"]["transformer"]["adapters"]
    assert adapters == ["style 0.5"]


def test_a_broken_off_run_is_not_planned_from(toy: Any, folder: Path) -> None:
    pipe, cache = toy
    pipe(bending(16)[:5], steps=16)
    assert is_recording(cache)
    pipe(bending(16))
    assert is_recording(cache)
    assert len(list(folder.iterdir())) == 1
    pipe(bending(16))
    assert not is_recording(cache)


def test_a_damaged_record_is_made_again_and_said_to_be(folder: Path) -> None:
    pipes = [ToyPipeline(ToyModel()) for _ in range(2)]
    for pipe in pipes:
        with torch.no_grad(), skipstone.attach(pipe, speedup=2.0) as cache:
            pipe(bending(16))
            assert is_recording(cache)
            (path,) = folder.iterdir()
            path.write_text("{")
    assert "is damaged: it is no JSON" in cache.last_run.method


def test_a_record_that_lacks_a_model_is_no_error_of_the_users(folder: Path) -> None:
    """Of two experts that share a run."""
    for lacking in (False, True):
        case = PIPELINES["wan-two-experts"].make()
        with skipstone.attach(case.pipe, speedup=1.5) as cache:
            assert torch.isfinite(case(num_inference_steps=12)).all()
        (path,) = folder.glob("*.json")
        if not lacking:
            content = json.loads(path.read_text())
            kept = [one for one in content["moments"] if one["model"] == "transformer"]
            path.write_text(json.dumps({**content, "moments": kept}))
    assert "the pipeline also has transformer_2" in cache.last_run.method


@pytest.mark.parametrize("change", ["made_for", "levels", "model"])
def test_a_record_of_other_runs_is_made_again(folder: Path, change: str) -> None:
    for turn in range(2):
        pipe = ToyPipeline(ToyModel())
        with torch.no_grad(), skipstone.attach(pipe, speedup=2.0) as cache:
            pipe(bending(16))
        assert is_recording(cache)
        (path,) = folder.iterdir()
        content = json.loads(path.read_text())
        if change == "made_for":
            content["made_for"]["steps"] = 17
        elif change == "levels":
            content["levels"] = [level * 0.9 for level in content["levels"]]
        else:
            content["made_for"]["models"]["unet"] = content["made_for"]["models"]["transformer"]
            content["moments"] = [{**one, "model": "unet"} for one in content["moments"]]
        path.write_text(json.dumps(content))
        assert ("was made for other runs" in cache.last_run.method) == (turn == 1)


def test_without_a_home_runs_are_planned_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skipstone.pipelines.planning.autoplan.records_folder", lambda: None)
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad(), skipstone.attach(pipe, speedup=2.0) as cache:
        pipe(bending(16))
        assert "not kept for other processes: there is no home folder" in str(cache.last_run)
        pipe(bending(16))
    assert cache.last_run.computed == 8


def test_there_is_no_folder_for_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(name: str) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr("platformdirs.user_cache_path", homeless)
    assert find_folder() is None
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: Path("~/.cache") / name)
    assert find_folder() is None


def test_a_folder_that_cannot_be_written_to_costs_no_run(toy: Any, folder: Path) -> None:
    folder.write_text("a file")
    pipe, cache = toy
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe(bending(16))
        pipe(bending(16))
    assert cache.last_run.computed == 8
    assert "the record is not kept for other processes: " in str(cache.last_run)


def test_a_speedup_that_cannot_be_reached_computes_everything_and_says_so() -> None:
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad(), skipstone.attach(pipe, speedup=30.0) as cache:
        pipe(bending(16))
        pipe(bending(16))
    assert cache.last_run.skipped == 0
    assert "speedup 30 cannot be reached with 16 steps" in str(cache.last_run)


def test_a_run_without_safe_skips_computes_everything_and_says_so() -> None:
    noise = torch.randn(4, 1, 4, 2, generator=torch.Generator().manual_seed(0))
    inputs = [{"hidden_states": torch.ones(1, 4, 2), "temb": 10 * one} for one in noise]
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad(), skipstone.attach(pipe, speedup=2.0) as cache:
        pipe(inputs)
        pipe(inputs)
    assert cache.last_run.skipped == 0
    assert "no safe skips" in str(cache.last_run)


@pytest.mark.parametrize("value", [float("nan"), 0.0])
def test_a_run_that_cannot_be_planned_from_is_no_error_of_the_users(value: float) -> None:
    ones = torch.ones(1, 4, 2)
    inputs = [{"hidden_states": ones * value, "temb": ones * value}] * 6
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad(), skipstone.attach(pipe, speedup=2.0) as cache:
        for _ in range(2):
            pipe(inputs)
            assert cache.last_run.skipped == 0
    assert "not finite, or zero throughout: nothing can be planned" in str(cache.last_run)


def test_removal_leaves_the_pipeline_as_it_was() -> None:
    case = tiny.wan()
    bare = case()
    with skipstone.attach(case.pipe, speedup=1.5):
        case()
    assert torch.equal(case(), bare)


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        ((), {}, TypeError, "give a method, such as 'teacache', or speedup"),
        (("fora",), {"speedup": 2.0}, TypeError, "and not both"),
        ((), {"quality": 35.0}, TypeError, r"attach what skipstone.record\(pipe, ...\).plan\(quality"),
        ((), {"speedup": 0.5}, ValueError, "speedup must be"),
        ((), {"speedup": 2.0, "threshold": 1.0}, TypeError, "threshold"),
    ],
)
def test_what_makes_no_sense_is_refused(args: Any, kwargs: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        skipstone.attach(ToyPipeline(ToyModel()), *args, **kwargs)


@pytest.mark.parametrize(("cost", "computed"), [(0.1, [8, 7, 7]), (0.0, [8, 8, 8]), (0.9, [8, 8, 8])])
def test_what_a_skipped_step_costs_is_learned_from_the_first_planned_run(
    cost: float, computed: list[int], toy: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """7 + 9 / 10 is nearest to 16 / 2; at a cost of 0.9 the speedup cannot be reached, and the plan stays."""
    monkeypatch.setattr(RunLog, "skip_cost", lambda log: cost)
    pipe, cache = toy
    pipe(bending(16))
    seen = []
    for _ in range(3):
        pipe(bending(16))
        seen.append(cache.last_run.computed)
    assert seen == computed
    (path,) = folder.iterdir()
    assert skipstone.load_record(path).skip_cost == (cost if computed[2] == 7 else 0.0)
