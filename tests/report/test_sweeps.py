"""Sweeps of a tiny pipeline: what is measured, what is left out, and how it goes on after an interruption."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diffusers import DiffusionPipeline

import skipstone
from skipstone.cachers import METHODS, PREDICTORS, SAVERS
from skipstone.pipelines.clips.clip import make_clip
from skipstone.pipelines.run.stats import RunLog
from skipstone.report import Design, read_rows, sweep
from skipstone.report.bench import Bench
from skipstone.report.candidates import candidate
from skipstone.report.design import expanded
from support.sweeps import PROMPTS, runs_of, timeless
from support.sweeps import folder as folder

SIZE = {"num_inference_steps": 6, "height": 32, "width": 32, "num_frames": 5}


@pytest.fixture(scope="session")
def pipe(folder: str) -> Any:
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def measure(pipe: Any) -> Callable[..., list[dict[str, Any]]]:
    """A sweep of two methods, two speeds, two prompts and two seeds."""

    def run(rows: Path | None = None, prompts: list[str] = PROMPTS, **more: Any) -> list[dict[str, Any]]:
        settings = {"methods": ("first-block", "fora"), "speedups": (1.5, 3.0), "seeds": (0, 1)}
        metrics = ("psnr", "flicker")
        design = Design(prompts, **{"metrics": metrics, **settings, **more})
        return sweep(pipe, design, rows=rows, fps=8, **SIZE)

    return run


@pytest.fixture(scope="session")
def rows(measure: Callable[..., list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return measure()


def of(rows: list[dict[str, Any]], kind: str, method: str = "") -> list[dict[str, Any]]:
    return [row for row in rows if row["kind"] == kind and row["method"] == method]


def test_every_setting_is_measured_on_every_prompt_and_seed(rows: list[dict[str, Any]]) -> None:
    for kind, method, settings in (
        ("uncached", "", 1),
        ("repeat", "", 1),
        ("plain", "", 3),
        ("cached", "fora", 2),
    ):
        assert len(of(rows, kind, method)) == settings * 4
    assert {(row["prompt"], row["seed"]) for row in of(rows, "cached", "fora")} == {
        (prompt, seed) for prompt in PROMPTS for seed in (0, 1)
    }


def test_settings_are_those_nearest_to_the_speeds(rows: list[dict[str, Any]]) -> None:
    """Six steps: every second one computed is 2x, the nearest to 1.5x; every third one is 3x."""
    assert {row["setting"]: row["strip"] for row in of(rows, "cached", "fora")} == {
        "interval=2": "#.#.#.", "interval=3": "#..#..",
    }  # fmt: skip
    assert {row["steps"] for row in of(rows, "plain")} == {5, 4, 2}


@pytest.fixture
def free_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skipped steps that cost nothing: what plans can reach does not depend on the machine."""
    monkeypatch.setattr(RunLog, "skip_cost", lambda log: 0.0)


@pytest.mark.usefixtures("free_skips")
def test_plans_are_made_from_one_recorded_run(measure: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    found = measure(path, methods=("planned",), speedups=(1.5, 2.0))
    planned = of(found, "cached", "planned")
    written = {
        name: skipstone.load_plan(tmp_path / f"rows_plans/speedup-{name}.json") for name in ("1.5", "2")
    }
    assert len(planned) == 2 * 4
    for row in planned:
        plan = written[row["setting"].removeprefix("speedup=")]
        assert row["strip"] == plan.strip
        assert row["expected_errors"] == pytest.approx(plan.expected_errors())
    before = path.stat().st_size
    assert len(measure(path, methods=("planned",), speedups=(1.5, 2.0))) == len(found) + 1
    assert path.stat().st_size > before


@pytest.mark.usefixtures("free_skips")
def test_speeds_that_no_plan_reaches_are_left_out(measure: Callable[..., Any]) -> None:
    found = measure(prompts=PROMPTS[:1], methods=("planned",), speedups=(1.5, 90.0))
    assert list(found[0]["left_out"]) == ["planned at 90x"]
    assert {row["setting"] for row in of(found, "cached", "planned")} == {"speedup=1.5"}


def test_where_the_search_sees_no_difference_one_setting_is_measured(measure: Callable[..., Any]) -> None:
    found = measure(prompts=PROMPTS[:1], methods=("dbcache:warmup=6:blocks=1",))
    assert {row["setting"] for row in of(found, "cached", "dbcache:warmup=6:blocks=1")} == {
        "warmup=6 blocks=1 threshold=0.002"
    }


def test_methods_of_layers_are_told_apart_by_their_parts(measure: Callable[..., Any]) -> None:
    """Half of the blocks are skipped between full steps: the farther apart, the fewer are computed."""
    method = "delta-dit:share=0.5"
    found = of(measure(prompts=PROMPTS[:1], seeds=(0,), methods=(method,)), "cached", method)
    parts = [row["parts"]["block"] for row in found]
    assert [row["setting"] for row in found] == ["share=0.5 interval=2", "share=0.5 interval=6"]
    assert parts[0]["computed"] > parts[1]["computed"] > 0
    assert {row["computed_steps"] for row in found} == {6}


def test_constants_are_measured_on_the_first_prompt(measure: Callable[..., Any]) -> None:
    methods = ("block-caching:fitted", "smoothcache:fitted", "magcache:fitted")
    found = measure(prompts=PROMPTS[:1], methods=methods, speedups=(1.5,))
    assert not found[0]["left_out"]
    for method in methods:
        rows = of(found, "cached", method)
        assert len(rows) == 2
        assert all(row["setting"].startswith("fitted threshold=") for row in rows)


def test_methods_without_constants_cannot_be_fitted(measure: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="fora has nothing to fit; these have: adacache, block-caching"):
        measure(methods=("fora:fitted",))


def test_all_is_every_method_and_what_is_added_to_methods() -> None:
    everything = expanded(["fora", "all"])
    assert everything[0] == "fora"
    assert len(everything) == len(set(everything))
    assert set(METHODS) | {f"fora+{name}" for name in PREDICTORS} - {"fora+reuse"} < set(everything)
    assert {f"fora+{name}" for name in SAVERS} < set(everything)
    for text in everything:
        candidate(text)


def test_runs_are_paired_with_the_uncached_one_of_their_seed(pipe: Any, rows: list[dict[str, Any]]) -> None:
    arguments = {**SIZE, "prompt": PROMPTS[1]}
    clips = [make_clip(pipe, {**arguments, "num_inference_steps": n}, 1).frames for n in (6, 4)]
    expected = -10 * (clips[1] - clips[0]).double().square().mean().log10()
    found = [
        row for row in of(rows, "plain") if (row["prompt"], row["seed"], row["steps"]) == (PROMPTS[1], 1, 4)
    ]
    assert [row["psnr"] for row in found] == pytest.approx([float(expected)], abs=1e-3)


def test_a_repeated_run_is_the_noise_floor(rows: list[dict[str, Any]]) -> None:
    assert {row["psnr"] for row in of(rows, "repeat")} == {100.0}


def test_frames_are_kept(rows: list[dict[str, Any]]) -> None:
    row = of(rows, "cached", "fora")[0]
    assert len(row["psnr_frames"]) == 5
    assert len(row["flicker_frames"]) == 4
    assert row["psnr_worst"] == pytest.approx(min(row["psnr_frames"]), abs=1e-4)
    assert row["bytes_held"] > 0


def test_rows_are_flat_enough_for_a_table(rows: list[dict[str, Any]]) -> None:
    for row in of(rows, "cached", "fora"):
        assert all(isinstance(row[name], float) for name in ("psnr", "psnr_low", "speedup", "loop_seconds"))
    assert timeless(json.loads(json.dumps(rows))) == timeless(rows)


def test_a_method_that_does_not_work_is_left_out(measure: Callable[..., Any]) -> None:
    found = measure(prompts=PROMPTS[:1], methods=("fora:interval=2", "magcache", "deepcache"))
    left_out = found[0]["left_out"]
    assert sorted(left_out) == ["deepcache", "magcache"]
    assert "no published ratios" in left_out["magcache"]
    assert {row["method"] for row in found if row["kind"] == "cached"} == {"fora:interval=2"}


def test_an_interrupted_sweep_goes_on(
    measure: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, run, count = tmp_path / "rows.jsonl", Bench.run, 0
    small = {"methods": ("fora:interval=2",), "seeds": (0,), "metrics": ("psnr",)}

    def interrupted(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == 7:
            raise KeyboardInterrupt
        return run(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Bench, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            measure(path, **small)
    kept = read_rows(path)
    assert len(of(kept, "plain")) == 1
    with path.open("a") as file:
        file.write('{"schema": 1, "kind": "cach')

    whole = measure(path, **small)
    assert whole[: len(kept)] == kept
    bare = [{key: v for key, v in row.items() if key not in ("clip", "difference")} for row in whole]
    assert runs_of(bare) == runs_of(measure(**small))

    def forbidden(*_: Any) -> Any:
        raise AssertionError("there is nothing left to run")

    monkeypatch.setattr(Bench, "run", forbidden)
    measure(path, **small)


def test_clips_are_kept_beside_the_rows(measure: Callable[..., Any], tmp_path: Path) -> None:
    found = measure(tmp_path / "a.jsonl", prompts=PROMPTS[:1], methods=("fora:interval=2",))
    for row in of(found, "cached", "fora:interval=2"):
        assert (tmp_path / row["clip"]).is_file()
        assert (tmp_path / row["difference"]).is_file()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"prompts": []}, "a report needs prompts"),
        ({"speedups": (1.0,)}, "numbers above 1"),
        ({"methods": ("tea",)}, "unknown method 'tea'"),
        ({"metrics": ("pnsr",)}, "unknown metric 'pnsr'"),
    ],
)
def test_what_cannot_be_measured(measure: Callable[..., Any], change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        measure(**change)
