"""SGLang's diffusers backend: each loaded pipeline is attached to, as the settings say."""

import enum
import json
import re
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

import skipstone
from skipstone.hosts import sglang
from skipstone.pipelines.run.stats import RunLog
from support import tiny
from support.engines import HOOKS, LOADER, defines, install, wheel

WHEEL = wheel("sglang")

PYPROJECT = (Path(__file__).parents[2] / "pyproject.toml").read_text()

Type = enum.Enum("Type", ["BEFORE", "AFTER", "AROUND", "REPLACE"])


class Hooks:
    """What is to be done after functions, by their dotted names."""

    kept: dict[str, Callable[..., Any]]

    @classmethod
    def register(cls, target: str, hook: Callable[..., Any], hook_type: Any) -> None:
        assert hook_type is Type.AFTER
        cls.kept[target] = hook

    @classmethod
    def apply_hooks(cls) -> None:
        for target, hook in cls.kept.items():
            name, method = target.removeprefix(f"{LOADER}.").split(".")
            owner = {"DiffusersPipeline": Loader}[name]
            setattr(owner, method, hooked(getattr(owner, method), hook))


def hooked(function: Callable[..., Any], hook: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        changed = hook(result, *args, **kwargs)
        return result if changed is None else changed

    return call


class Loader:
    """Loads a diffusers pipeline, and calls it for each request."""

    def __init__(self, model_path: str, server_args: Any) -> None:
        self.diffusers_pipe = self._load_diffusers_pipeline(model_path, server_args)

    def _load_diffusers_pipeline(self, model_path: str, server_args: Any) -> Any:
        return tiny.wan().pipe


@pytest.fixture(params=["stand-in", "wheel"])
def hooks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The engine's registry of hooks, beside a loader that stands in for its own."""
    if request.param == "wheel" and WHEEL is None:
        pytest.skip("sglang is not installed: pip install --no-deps --target FOLDER sglang==0.5.23")
    monkeypatch.setattr(RunLog, "skip_cost", lambda log: 0.0)
    monkeypatch.setattr("skipstone.pipelines.planning.autoplan.records_folder", lambda: tmp_path / "records")
    monkeypatch.setattr(Loader, "_load_diffusers_pipeline", Loader._load_diffusers_pipeline)
    Hooks.kept = {}
    names: dict[str, Any] = {"HookRegistry": Hooks, "HookType": Type}
    if request.param == "wheel":
        assert WHEEL is not None
        module = run(WHEEL / "sglang/srt/plugins/hook_registry.py")
        names = {"HookRegistry": module["HookRegistry"], "HookType": module["HookType"]}
    install(monkeypatch, {HOOKS: names, LOADER: {"DiffusersPipeline": Loader}})
    return names["HookRegistry"]


def run(path: Path) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "hook_registry"}
    exec(compile(path.read_text(), str(path), "exec"), names)
    return names


def asked(seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    given = {**tiny.wan().kwargs, "num_inference_steps": 12, "output_type": "latent"}
    return {**given, "generator": generator}


def test_a_loaded_pipeline_follows_a_plan(
    hooks: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    skipstone.record(tiny.wan().pipe, **asked()).plan(computed=5).save(tmp_path / "plan.json")
    monkeypatch.setenv(sglang.SETTINGS, json.dumps({"plan": str(tmp_path / "plan.json")}))
    sglang.register()
    hooks.apply_hooks()
    engine = Loader("model", None)
    pipe = tiny.wan().pipe
    with skipstone.attach(pipe, skipstone.load_plan(tmp_path / "plan.json")):
        expected = [pipe(**asked(seed)).frames for seed in range(2)]
    for seed in range(2):
        assert torch.equal(engine.diffusers_pipe(**asked(seed)).frames, expected[seed])


def test_a_speed_is_recorded_and_planned(hooks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sglang.SETTINGS, '{"speedup": 2}')
    sglang.register()
    hooks.apply_hooks()
    pipe, bare = Loader("model", None).diffusers_pipe, tiny.wan().pipe
    assert torch.equal(pipe(**asked()).frames, bare(**asked()).frames)
    assert not torch.equal(pipe(**asked()).frames, bare(**asked()).frames)


def test_without_settings_nothing_is_touched(hooks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(sglang.SETTINGS, raising=False)
    sglang.register()
    hooks.apply_hooks()
    pipe = Loader("model", None).diffusers_pipe
    assert torch.equal(pipe(**asked()).frames, tiny.wan().pipe(**asked()).frames)
    skipstone.attach(pipe, "fora").remove()


@pytest.mark.parametrize("text", ["3", "{", "speedup=3", "null"])
def test_settings_that_are_no_object_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(sglang.SETTINGS, text)
    with pytest.raises(ValueError, match="SKIPSTONE_SGLANG must be a JSON object"):
        sglang.register()


def test_the_plugin_group_leads_here() -> None:
    lines = re.findall(r'"sglang\.multimodal_gen\.plugins"\]\n(\w+) = "(.+)"', PYPROJECT)
    assert lines == [("skipstone", "skipstone.hosts.sglang:register")]
    assert EntryPoint(*lines[0], group="sglang.multimodal_gen.plugins").load() is sglang.register


@pytest.mark.skipif(WHEEL is None, reason="sglang is not installed")
def test_the_engine_has_what_the_plugin_names() -> None:
    assert WHEEL is not None
    assert defines(WHEEL, LOADER, "DiffusersPipeline", "_load_diffusers_pipeline")
    assert defines(WHEEL, HOOKS, "HookRegistry")
    assert f"{LOADER}.DiffusersPipeline._load_diffusers_pipeline" == sglang.LOADING
    source = (WHEEL / "sglang/multimodal_gen/runtime/platforms/plugins.py").read_text()
    assert 'GENERAL_PLUGINS_GROUP = "sglang.multimodal_gen.plugins"' in source
