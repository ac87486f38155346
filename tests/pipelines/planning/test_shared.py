"""Plans of others on a pipeline at hand: followed where they were made for its runs, otherwise said."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import skipstone
from skipstone.pipelines.run.stats import RunLog
from skipstone.schedules.promise import Goal, Promise
from support import tiny
from support.hub import Hub, hub

STEPS = 12

PROMISE = Promise(Goal("psnr", 30.0), 0.75, (31.0, 35.0, 40.0))


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    # Times of tiny models vary: say that a skipped step costs nothing.
    monkeypatch.setattr(RunLog, "skip_cost", lambda log: 0.0)
    monkeypatch.setattr("skipstone.pipelines.planning.autoplan.records_folder", lambda: tmp_path / "records")
    with hub(monkeypatch, tmp_path / "cache") as made:
        yield made


def push(computed: int, name: str = "wan", promise: Promise | None = None, **changes: Any) -> skipstone.Plan:
    """Share a plan for the tiny Wan pipeline, as another person would."""
    case = tiny.wan()
    asked = {**case.kwargs, "num_inference_steps": STEPS, "output_type": "latent", **changes}
    made = replace(skipstone.record(case.pipe, **asked), skip_cost=0.0, judge=None).plan(computed=computed)
    made = replace(made, promise=promise)
    made.push_to_hub("me/plans", name=name)
    return made


def run(cache: skipstone.CacheHandle, case: Any, **changes: Any) -> skipstone.RunStats:
    case(num_inference_steps=STEPS, **changes)
    return cache.last_run


def is_recording(seen: skipstone.RunStats) -> bool:
    return "it is being recorded" in seen.reasons


def test_the_first_run_follows_a_plan_that_was_made_for_it(shared: Hub, tmp_path: Path) -> None:
    made, case = push(6), tiny.wan()
    with skipstone.attach(case.pipe, speedup=2.0, plans="me/plans") as cache:
        seen = run(cache, case)
    assert seen.strip == made.strip
    assert "shared as me/plans/wan" in str(seen)
    assert not (tmp_path / "records").exists()


def test_another_speed_is_planned_from_the_record_in_a_shared_plan(shared: Hub) -> None:
    push(9)
    case = tiny.wan()
    with skipstone.attach(case.pipe, speedup=3.0, plans="me/plans") as cache:
        seen = run(cache, case)
    assert seen.strip.count("#") == 4
    assert "shared as me/plans/wan" in str(seen)


def test_of_several_the_one_with_the_asked_speed_is_followed(shared: Hub) -> None:
    for computed in (4, 6, 8):
        push(computed, f"wan-{computed}")
    case = tiny.wan()
    with skipstone.attach(case.pipe, speedup=1.5, plans="me/plans") as cache:
        assert "shared as me/plans/wan-8" in str(run(cache, case))


def other_weights(case: Any) -> dict[str, Any]:
    with torch.no_grad():
        next(case.pipe.transformer.parameters()).mul_(1.01)
    return {}


UNLIKE = {
    "other weights": other_weights,
    "another guidance": lambda case: {"guidance_scale": 5.0},
    "another size": lambda case: {"height": 48},
}


@pytest.mark.parametrize("change", UNLIKE.values(), ids=UNLIKE)
def test_a_run_that_no_plan_was_made_for_is_recorded(shared: Hub, change: Any) -> None:
    push(6)
    case = tiny.wan()
    changes = change(case)
    with skipstone.attach(case.pipe, speedup=2.0, plans="me/plans") as cache:
        seen = run(cache, case, **changes)
        assert is_recording(seen)
        assert "recorded, as no plan of 'me/plans' was made for runs like this one" in seen.method
        assert not is_recording(run(cache, case, **changes))


def change_record(shared: Hub, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the record in the shared plan, as its owner could."""
    plan = json.loads(shared.files["me/plans"]["wan.json"])
    change(plan["record"])
    shared.put("me/plans", "wan.json", json.dumps(plan).encode())


UNNAMED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no model": lambda record: record["made_for"].update(models={}),
    "no word on models": lambda record: record["made_for"].pop("models"),
    "no fact": lambda record: record["made_for"]["models"].update(transformer={}),
}


@pytest.mark.parametrize("change", UNNAMED.values(), ids=UNNAMED)
def test_a_plan_that_does_not_say_for_which_weights_fits_none(shared: Hub, change: Any) -> None:
    push(6)
    change_record(shared, change)
    case, plan = tiny.wan(), skipstone.load_plan("me/plans/wan")
    with skipstone.attach(case.pipe, plan) as cache:
        assert "other weights of transformer" in str(run(cache, case))
    with skipstone.attach(case.pipe, speedup=2.0, plans="me/plans") as cache:
        assert is_recording(run(cache, case))


@pytest.mark.parametrize("steps", [6, STEPS])
def test_a_plan_from_other_noise_levels_than_it_says_is_not_followed(shared: Hub, steps: int) -> None:
    made_for = push(6).record.made_for
    push(3, num_inference_steps=steps)

    def other(record: dict[str, Any]) -> None:
        record.update(made_for=made_for, levels=[level / 2 for level in record["levels"]])

    change_record(shared, other)
    case = tiny.wan()
    with skipstone.attach(case.pipe, speedup=2.0, plans="me/plans") as cache:
        assert is_recording(run(cache, case))


def test_without_a_connection_a_run_is_recorded(shared: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    case = tiny.wan()
    with skipstone.attach(case.pipe, speedup=2.0, plans="me/plans") as cache:
        seen = run(cache, case)
        assert is_recording(seen)
        assert "recorded, as cannot reach 'me/plans' on the hub" in seen.method
        assert run(cache, case).skipped


def test_records_of_ones_own_come_first(shared: Hub) -> None:
    case = tiny.wan()
    with skipstone.attach(case.pipe, speedup=2.0) as cache:
        run(cache, case)
    with skipstone.attach(case.pipe, speedup=2.0, plans="me/plans") as cache:
        assert run(cache, case).skipped
    assert shared.requests == []


def test_a_promise_holds_for_runs_that_it_was_calibrated_on(shared: Hub) -> None:
    push(6, promise=PROMISE)
    case, said = tiny.wan(), "promised to 75 in 100 prompts like these"
    with skipstone.attach(case.pipe, speedup=2.0, plans="me/plans") as cache:
        assert said in str(run(cache, case))
    with skipstone.attach(case.pipe, speedup=2.0, plans="me/plans", snapshots="int8") as cache:
        seen = str(run(cache, case))
    assert "is not promised to this run, which has residuals kept as int8" in seen
    assert said not in seen


@pytest.mark.parametrize(
    ("change", "words"),
    [(other_weights, "other weights of transformer"), (UNLIKE["another guidance"], "other guidance")],
)
def test_a_loaded_plan_says_what_it_was_not_made_for(shared: Hub, change: Any, words: str) -> None:
    push(6)
    case, plan = tiny.wan(), skipstone.load_plan("me/plans/wan")
    with skipstone.attach(case.pipe, plan, snapshots="int8") as cache:
        assert "the plan was not made for this run" not in str(run(cache, case))
        changes = change(case)
        assert f"the plan was not made for this run, which has {words}" in str(run(cache, case, **changes))


def test_a_plan_for_another_model_is_refused(shared: Hub) -> None:
    push(6)
    with pytest.raises(ValueError, match="the plan was made for 'WanTransformer3DModel', this is Flux"):
        skipstone.attach(tiny.flux().pipe, skipstone.load_plan("me/plans/wan"))


def test_plans_are_looked_through_for_a_speed_alone(shared: Hub) -> None:
    with pytest.raises(TypeError, match="plans are looked through for a speed"):
        skipstone.attach(tiny.wan().pipe, "fora", plans="me/plans")
    with pytest.raises(ValueError, match="expected a repository of the hub"):
        skipstone.attach(tiny.wan().pipe, speedup=2.0, plans="../plans")
