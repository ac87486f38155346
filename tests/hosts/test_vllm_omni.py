"""The cache backend in vLLM-Omni: added by its plugin group, each request a run, processes agreed."""

import logging
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import skipstone
from skipstone.hosts import vllm_omni
from skipstone.pipelines.run.ranks import process_group
from skipstone.pipelines.run.stats import RunLog
from support import tiny
from support.engines import ADAPTER, RUNNER, SELECTOR, STATE, VLLMOmni, install, piece, wheel

STEPS = 12

WHEEL = wheel("vllm_omni")

PYPROJECT = (Path(__file__).parents[2] / "pyproject.toml").read_text()


@pytest.fixture(params=["stand-in", "wheel"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> VLLMOmni:
    if request.param == "wheel" and WHEEL is None:
        pytest.skip("vllm-omni is not installed: pip install --no-deps --target FOLDER vllm-omni==0.30.0")
    # Times of tiny models vary: say that a skipped step costs nothing.
    monkeypatch.setattr(RunLog, "skip_cost", lambda log: 0.0)
    monkeypatch.setattr("skipstone.pipelines.planning.autoplan.records_folder", lambda: tmp_path / "records")
    made = VLLMOmni(monkeypatch, WHEEL if request.param == "wheel" else None)
    vllm_omni.register()
    return made


def asked(seed: int = 0, **changes: Any) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    given = {**tiny.wan().kwargs, "num_inference_steps": STEPS, "output_type": "latent"}
    return {**given, "generator": generator, **changes}


def plan_file(folder: Path) -> Path:
    skipstone.record(tiny.wan().pipe, **asked()).plan(computed=5).save(folder / "plan.json")
    return folder / "plan.json"


def alone(plan: Path, requests: list[dict[str, Any]]) -> list[Tensor]:
    """What each request makes in a pipeline of its own."""
    made = []
    for request in requests:
        pipe = tiny.wan().pipe
        with skipstone.attach(pipe, skipstone.load_plan(plan)):
            made.append(pipe(**request).frames)
    return made


class Native(nn.Module):
    """A pipeline of the engine's own: the model and the scheduler of Wan, and a loop in `forward`."""

    def __init__(self) -> None:
        super().__init__()
        pipe = tiny.wan().pipe
        self.transformer, self.scheduler = pipe.transformer, pipe.scheduler

    @torch.no_grad()
    def forward(self, request: dict[str, Any]) -> Tensor:
        self.scheduler.set_timesteps(request["num_inference_steps"])
        latents = torch.randn(1, 4, 2, 4, 4, generator=torch.Generator().manual_seed(request["seed"]))
        for time in self.scheduler.timesteps:
            noise = self.transformer(latents, time.expand(1), request["prompt_embeds"], return_dict=False)[0]
            latents = self.scheduler.step(noise, time, latents, return_dict=False)[0]
        return latents


def native_request(seed: int, steps: int = STEPS) -> dict[str, Any]:
    return {
        "seed": seed,
        "num_inference_steps": steps,
        "prompt_embeds": torch.randn(1, 6, 8, generator=torch.Generator().manual_seed(seed)),
    }


def runs(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of each run that is over."""
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("skipstone")]
    return [line for line in lines if line.startswith("skipstone: ")]


def test_requests_follow_a_plan_as_single_runs(engine: VLLMOmni, tmp_path: Path) -> None:
    plan = plan_file(tmp_path)
    pipe = tiny.wan().pipe
    engine.load(lambda config: engine.Adapter(config, pipe), "skipstone", plan=str(plan))
    assert engine.od_config.cache_backend == "skipstone"
    made = [engine.execute(**asked(seed)).frames for seed in range(3)]
    for seen, expected in zip(made, alone(plan, [asked(seed) for seed in range(3)]), strict=True):
        assert torch.equal(seen, expected)


def test_a_speed_is_recorded_in_the_first_request(engine: VLLMOmni, caplog: pytest.LogCaptureFixture) -> None:
    pipe = tiny.wan().pipe
    engine.load(lambda config: engine.Adapter(config, pipe), "skipstone", speedup=2.0)
    with caplog.at_level(logging.INFO, logger="skipstone"):
        for seed in range(3):
            engine.execute(**asked(seed))
    first, second = runs(caplog)
    assert "it is being recorded" in first
    assert ", planned 6 of 12 steps" in second


def test_a_pipeline_with_a_loop_of_its_own_is_cached(
    engine: VLLMOmni, caplog: pytest.LogCaptureFixture
) -> None:
    bare, cached = Native(), Native()
    engine.load(lambda config: cached, "skipstone", speedup=2.0)
    recorded = engine.execute(**native_request(1))
    assert torch.equal(recorded, bare(native_request(1)))
    with caplog.at_level(logging.INFO, logger="skipstone"):
        first = engine.execute(**native_request(2))
        engine.execute(**native_request(3, steps=9))
        again = engine.execute(**native_request(2))
        engine.execute(**native_request(4))
    assert torch.equal(first, again)
    assert ["it is being recorded" in line for line in runs(caplog)] == [True, False, True, False]
    assert "6 of 12 steps skipped" in runs(caplog)[1]


def test_a_request_that_fails_leaves_nothing_to_the_next_one(engine: VLLMOmni, tmp_path: Path) -> None:
    plan, pipe = plan_file(tmp_path), tiny.wan().pipe
    engine.load(lambda config: engine.Adapter(config, pipe), "skipstone", plan=str(plan))

    def fail(pipe: Any, step: int, *others: Any) -> dict[str, Any]:
        if step == 4:
            raise RuntimeError("cancelled")
        return {}

    with pytest.raises(RuntimeError, match="cancelled"):
        engine.execute(**asked(0), callback_on_step_end=fail)
    assert torch.equal(engine.execute(**asked(1)).frames, alone(plan, [asked(1)])[0])


def test_a_request_may_leave_its_number_of_steps_to_the_pipeline(tmp_path: Path) -> None:
    plan, pipe = plan_file(tmp_path), tiny.wan().pipe
    backend = vllm_omni.Backend({"plan": str(plan)})
    backend.enable(pipe)
    for seed in range(2):
        backend.refresh(pipe, None)
        assert torch.equal(pipe(**asked(seed)).frames, alone(plan, [asked(seed)])[0])


def test_a_request_that_is_refused_leaves_nothing_to_the_next_one(tmp_path: Path) -> None:
    plan, pipe = plan_file(tmp_path), tiny.wan().pipe
    backend = vllm_omni.Backend({"plan": str(plan)})
    backend.enable(pipe)
    backend.refresh(pipe, STEPS)
    for _ in range(2):
        with pytest.raises(TypeError):
            backend.refresh(pipe, "many")  # type: ignore[arg-type]
    backend.refresh(pipe, STEPS)
    assert torch.equal(pipe(**asked(1)).frames, alone(plan, [asked(1)])[0])


def test_other_backends_stay_what_they_are(engine: VLLMOmni) -> None:
    for name in (SELECTOR, RUNNER):
        choose: Any = sys.modules[name].get_cache_backend  # type: ignore[attr-defined]
        assert choose("none", None) is None
        with pytest.raises(ValueError, match="Unsupported cache backend: unknown"):
            choose("unknown", None)
    with pytest.raises(NotImplementedError, match="'unknown' is not supported"):
        engine.load(lambda config: engine.Adapter(config, None), "unknown")


def test_a_second_call_adds_nothing(engine: VLLMOmni) -> None:
    before = sys.modules[SELECTOR].get_cache_backend  # type: ignore[attr-defined]
    vllm_omni.register()
    assert sys.modules[SELECTOR].get_cache_backend is before  # type: ignore[attr-defined]


@pytest.mark.parametrize("names", [{"vllm_omni.other": {}}, {SELECTOR: {}, ADAPTER: {}}])
def test_an_engine_that_is_built_otherwise_goes_on_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, names: Any
) -> None:
    install(monkeypatch, names)
    vllm_omni.register()
    assert "takes no cache backend 'skipstone'" in caplog.text


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "give a method, such as"),
    "both": ({"speedup": 2.0, "plan": "plan.json"}, "and not both"),
    "unknown": ({"speed": 2.0}, "skipstone has no setting 'speed'; it has: plan, speedup, plans, snapshots"),
    "slower": ({"speedup": 0.5}, "speedup must be"),
}


@pytest.mark.parametrize(("settings", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_settings_are_refused_at_the_start(
    engine: VLLMOmni, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    plan_file(tmp_path)
    pipe = tiny.wan().pipe
    with pytest.raises((ValueError, TypeError), match=message):
        engine.load(lambda config: engine.Adapter(config, pipe), "skipstone", **settings)


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two processes that vLLM-Omni has joined, as this one sees them."""
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda group=None: 2)
    names = {
        "get_data_parallel_world_size": lambda: 1,
        "get_pipeline_parallel_world_size": lambda: 1,
        "get_world_group": lambda: SimpleNamespace(device_group="both"),
    }
    install(monkeypatch, {STATE: names})
    return sys.modules[STATE]


def test_all_processes_of_an_engine_decide_together(
    engine: VLLMOmni, state: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skipstone.pipelines.run.ranks._ranks", lambda group: {0, 1})
    pipe = tiny.wan().pipe
    engine.load(lambda config: engine.Adapter(config, pipe), "skipstone", speedup=2.0)
    assert process_group(pipe.transformer) == "both"


@pytest.mark.parametrize("way", ["data", "pipeline"])
def test_ways_to_share_that_cannot_skip_are_refused(engine: VLLMOmni, state: Any, way: str) -> None:
    setattr(state, f"get_{way}_parallel_world_size", lambda: 2)
    pipe = tiny.wan().pipe
    with pytest.raises(ValueError, match=f"skips no steps under {way} parallelism"):
        engine.load(lambda config: engine.Adapter(config, pipe), "skipstone", speedup=2.0)


def test_the_plugin_group_leads_here() -> None:
    lines = re.findall(r'"vllm_omni\.general_plugins"\]\n(\w+) = "(.+)"', PYPROJECT)
    assert lines == [("skipstone", "skipstone.hosts.vllm_omni:register")]
    assert EntryPoint(*lines[0], group="vllm_omni.general_plugins").load() is vllm_omni.register


@pytest.mark.skipif(WHEEL is None, reason="vllm-omni is not installed")
def test_the_engines_own_loader_finds_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    assert WHEEL is not None
    point = EntryPoint("skipstone", "skipstone.hosts.vllm_omni:register", "vllm_omni.general_plugins")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [point])
    loaded = piece(
        WHEEL, "vllm_omni.plugins.__init__", "load_omni_plugins_by_group",
        envs=SimpleNamespace(VLLM_PLUGINS=None), logger=logging.getLogger("engine"),
        OMNI_DEFAULT_PLUGINS_GROUP="vllm_omni.general_plugins",
    )("vllm_omni.general_plugins")  # fmt: skip
    assert loaded == {"skipstone": vllm_omni.register}


@pytest.mark.skipif(WHEEL is None, reason="vllm-omni is not installed")
def test_the_engine_names_its_groups_as_expected() -> None:
    assert WHEEL is not None
    for name in ("get_data_parallel_world_size", "get_pipeline_parallel_world_size", "get_world_group"):
        assert callable(piece(WHEEL, STATE, name, GroupCoordinator=object))
