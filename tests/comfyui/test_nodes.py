"""The nodes as ComfyUI calls them: what they take and give, records and plans on disk, and what is told."""

import inspect
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui.bench import STEPS, Bench, said, tiny_model
from comfyui.stand_in import BaseModel, ControlNet, Patcher, WrappedModel, condition
from comfyui.stand_in_models import Flow, TinyTransformer, context
from torch import Tensor

import skipstone
from skipstone.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from skipstone.pipelines.model.compiled import written


def by_plan(patcher: Patcher, plan: str) -> Patcher:
    (made,) = NODE_CLASS_MAPPINGS["SkipstoneUsePlanFile"]().attach(patcher, plan)
    assert isinstance(made, Patcher)
    return made


@pytest.mark.parametrize("name", NODE_CLASS_MAPPINGS)
def test_a_node_says_what_it_takes_and_gives(name: str) -> None:
    node = NODE_CLASS_MAPPINGS[name]
    assert NODE_DISPLAY_NAME_MAPPINGS[name].startswith("Skipstone: ")
    inputs = node.INPUT_TYPES()
    required, optional = inputs["required"], inputs.get("optional", {})
    parameters = list(inspect.signature(getattr(node, node.FUNCTION)).parameters)[1:]
    assert parameters == [*required, *optional]
    assert required["model"][0] == "MODEL"
    assert node.DESCRIPTION
    assert len(node.RETURN_TYPES) == 1


def test_importing_the_nodes_imports_neither_comfyui_nor_diffusers() -> None:
    others = ("comfy", "nodes", "folder_paths", "diffusers", "transformers")
    program = f"import sys, skipstone.comfyui; print([m for m in {others} if m in sys.modules])"
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"


def test_the_model_that_went_in_stays_as_it_was(bench: Bench) -> None:
    bench.faster()
    assert not bench.patcher.wrappers
    assert not bench.patcher.attachments


def test_the_second_node_in_a_row_replaces_the_first(bench: Bench) -> None:
    patcher = bench.faster(2.0, bench.faster(4.0))
    assert {kind: len(by_key["skipstone"]) for kind, by_key in patcher.wrappers.items()} == {
        "outer_sample": 1,
        "predict_noise": 1,
        "diffusion_model": 1,
    }
    bench.sample(patcher)
    assert bench.calls(patcher) == STEPS // 2


@pytest.mark.parametrize("speedup", [1.5, 2.0, 4.0])
def test_as_many_calls_are_computed_as_the_speed_allows(bench: Bench, speedup: float) -> None:
    patcher = bench.faster(speedup)
    assert bench.calls(patcher) == STEPS
    assert bench.calls(patcher) == round(STEPS / speedup)


def test_a_speed_of_one_computes_everything(bench: Bench) -> None:
    patcher, recorded = bench.planned(1.0)
    assert torch.equal(bench.sample(patcher), recorded)


def test_a_speed_that_cannot_be_reached_is_said(bench: Bench) -> None:
    bench.sigmas = torch.linspace(1, 0, 4)
    patcher, _ = bench.planned(10.0)
    bench.sample(patcher)
    assert "speedup 10 cannot be reached with 3 steps" in said(patcher)


def test_a_record_is_kept_for_other_speeds_and_other_processes(bench: Bench, folder: Path) -> None:
    bench.sample(bench.faster(2.0))
    assert len(list(folder.iterdir())) == 1
    again = Bench(tiny_model())
    assert again.calls(again.faster(4.0)) == STEPS // 4


def test_the_record_has_what_guidance_made(bench: Bench, folder: Path) -> None:
    """The model gives 1 and -1; guidance of 3 makes 5 of them, and what comes after it a tenth more."""

    class Signs(WrappedModel):
        def _forward(self, x: Tensor, time: Tensor, context: Tensor, **others: Any) -> Tensor:
            return context.mean((1, 2)).sign().view(-1, 1, 1, 1).expand(x.shape).contiguous()

    def more(guider: Any, made: Tensor, x: Tensor, sigma: Tensor, options: Any) -> Tensor:
        return x + 1.1 * (made - x)

    bench.positive, bench.negative = ([condition(context=n * torch.ones(1, 2, 4))] for n in (1, -1))
    bench.patcher.model.diffusion_model = Signs()
    bench.options = {"sampler_post_cfg_function": [more]}
    bench.sample(bench.faster())
    (path,) = folder.iterdir()
    scales = {key.branch: part.scale for key, part in skipstone.load_record(path).moments.items()}
    assert scales == pytest.approx({"cond": 1.0, "uncond": 1.0, "guided": 5.5}, rel=1e-4)


def test_a_damaged_record_is_made_again(bench: Bench, folder: Path) -> None:
    bench.sample(bench.faster())
    (path,) = folder.iterdir()
    path.write_text("{")
    patcher = bench.faster()
    assert bench.calls(patcher) == STEPS
    assert bench.calls(patcher) == STEPS // 2


def changed(**values: Any) -> Any:
    return lambda bench: [setattr(bench, name, value) for name, value in values.items()]


def rescaled(by: float) -> dict[str, Any]:
    """As nodes that patch guidance: the function holds the node's number."""

    def combine(cond: Tensor, uncond: Tensor, cfg: float) -> Tensor:
        made = uncond + (cond - uncond) * cfg
        return made * (by * cond.std() / made.std() + 1 - by)

    return {"sampler_cfg_function": combine}


def by_default(by: float) -> dict[str, Any]:
    def combine(cond: Tensor, uncond: Tensor, cfg: float, by: float = by) -> Tensor:
        return uncond + (cond - uncond) * cfg * by

    return {"sampler_cfg_function": combine}


def by_part(by: float) -> dict[str, Any]:
    def combine(by: float, cond: Tensor, uncond: Tensor, cfg: float) -> Tensor:
        return uncond + (cond - uncond) * cfg * by

    return {"sampler_cfg_function": partial(combine, by)}


class Times:
    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self, cond: Tensor, uncond: Tensor, cfg: float) -> Tensor:
        return uncond + (cond - uncond) * cfg * self.by


SETTINGS: dict[str, Any] = {
    "closure": lambda by: changed(options=rescaled(by)),
    "default": lambda by: changed(options=by_default(by)),
    "partial": lambda by: changed(options=by_part(by)),
    "object": lambda by: changed(options={"sampler_cfg_function": Times(by)}),
    "method": lambda by: changed(options={"sampler_cfg_function": Times(by).__call__}),
    "condition": lambda by: changed(positive=[condition(context=context(1)) | {"guidance": by}]),
    "list in a condition": lambda by: changed(positive=[condition(context=context(1)) | {"strengths": [by]}]),
    "control": lambda by: changed(positive=[condition(context=context(1), control=Strong(by))]),
}


class Strong(ControlNet):
    def __init__(self, strength: float) -> None:
        self.strength = strength


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_has_a_record_for_each_value(bench: Bench, folder: Path, setting: str) -> None:
    for by, records in ((0.5, 1), (0.7, 2), (0.5, 2)):
        SETTINGS[setting](by)(bench)
        bench.sample(bench.faster())
        assert len(list(folder.iterdir())) == records


def test_a_run_with_hooks_is_computed_and_said(bench: Bench) -> None:
    patcher, _ = bench.planned()
    said(patcher)
    bench.options = {"registered_hooks": object()}
    assert bench.calls(patcher) == STEPS
    assert "hooks of its conditions change the model" in said(patcher)


OTHER_RUNS = {
    "guidance": changed(cfg=5.0),
    "size": changed(size=(1, 4, 8, 12)),
    "noise levels": changed(sigmas=torch.linspace(1, 0, STEPS + 1) ** 1.2),
    "sampler": changed(sampler=lambda denoise, x, sigmas, tell: denoise(x, sigmas[:1])),
    "rescaled guidance": changed(options={"sampler_cfg_function": lambda cond, uncond, cfg: cond}),
    "adapter": lambda bench: setattr(bench, "patcher", bench.patcher.with_adapter(0.1)),
    "weights": lambda bench: setattr(bench, "patcher", tiny_model(seed=1)),
}


@pytest.mark.parametrize("other", OTHER_RUNS)
def test_a_run_of_another_kind_is_recorded_for_itself(bench: Bench, folder: Path, other: str) -> None:
    bench.sample(bench.faster())
    OTHER_RUNS[other](bench)
    patcher = bench.faster()
    bench.sample(patcher)
    assert "steps skipped" not in said(patcher)


def test_prompts_seeds_and_batches_share_a_record(bench: Bench) -> None:
    patcher, _ = bench.planned()
    bench.positive, bench.size = bench.negative or [], (3, 4, 8, 8)
    assert bench.calls(patcher, seed=5) == STEPS // 2


def test_what_is_told_of_a_recorded_and_a_planned_run(bench: Bench) -> None:
    patcher = bench.faster()
    assert said(patcher).startswith("No run yet")
    bench.sample(patcher)
    strip, first, *more = said(patcher).splitlines()
    assert strip == "#" * STEPS
    assert first.startswith(f"All {STEPS} steps were computed in ")
    assert first.endswith(" s and recorded.")
    assert any(line.startswith("Later runs: planned 8 of 16 steps, expect ") for line in more)
    bench.sample(patcher)
    strip, legend, first, *more = said(patcher).splitlines()
    assert strip.count("#") == strip.count(".") == STEPS // 2
    assert legend.startswith("# computed")
    assert first.startswith("8 of 16 steps skipped, 8 of 16 calls of the model were computed, in ")
    assert "Why calls were computed: first step (1), the plan asks for it (7)." in more
    assert any("PSNR about" in line for line in more)


def test_the_same_is_told_again_without_a_new_run_and_said_to_be_old(bench: Bench) -> None:
    patcher, _ = bench.planned()
    first = said(patcher)
    assert said(patcher) == said(patcher) == f"told before: {first}"


def of_latents(patcher: Patcher, size: Any, **given: Any) -> str:
    """What is told for latents of a size."""
    latents = {"samples": torch.zeros(size)}
    made: str = NODE_CLASS_MAPPINGS["SkipstoneWhatHappened"]().tell(patcher, latents, **given)["result"][0]
    return made


def test_two_samplers_of_one_model_are_told_of_apart(bench: Bench, folder: Path) -> None:
    patcher = bench.faster()
    other = Bench(bench.patcher, sigmas=torch.linspace(0.6, 0, 11), size=(1, 4, 16, 16))
    for _ in range(2):
        bench.sample(patcher)
        of_latents(patcher, bench.size)
        other.sample(patcher)
        of_latents(patcher, other.size)
    text = of_latents(patcher, bench.size, keep_plan_as="first")
    assert text.startswith("told before: ")
    assert "8 of 16 steps skipped" in text
    assert len(skipstone.load_plan(folder.parent / "plans" / "first.json").strip) == STEPS


def test_no_plan_is_kept_where_two_samplers_give_latents_of_one_shape(bench: Bench, folder: Path) -> None:
    patcher = bench.faster()
    other = Bench(bench.patcher, sigmas=torch.linspace(0.6, 0, 11))
    for _ in range(2):
        bench.sample(patcher)
        of_latents(patcher, bench.size)
        other.sample(patcher)
        of_latents(patcher, other.size)
    assert "Several plans were followed, so none was kept" in said(patcher, keep_plan_as="first")
    assert not (folder.parent / "plans").exists()


def test_a_run_of_other_latents_is_told_of_as_such(bench: Bench) -> None:
    patcher, _ = bench.planned()
    assert of_latents(patcher, (1, 4, 2, 2)).startswith("Run 1 of 1, of other latents (1x4x8x8)\n")


def test_a_model_from_no_node_is_refused(bench: Bench) -> None:
    with pytest.raises(ValueError, match="connect the model that a skipstone node gives"):
        said(bench.patcher)


def test_calls_that_belong_to_no_prediction_are_passed_on(bench: Bench) -> None:
    """As of a ComfyUI that has no wrappers around predictions."""
    patcher = bench.faster()
    patcher.remove_wrappers_with_key("predict_noise", "skipstone")
    assert torch.equal(bench.sample(patcher), bench.sample())
    assert "ComfyUI shows them since it has its EasyCache node: update it." in said(patcher)


def test_a_model_that_shows_its_calls_to_no_node_is_said(bench: Bench) -> None:
    class Hidden(TinyTransformer):
        def forward(self, x: Tensor, time: Tensor, **kwargs: Any) -> Any:
            return self._forward(x, time, **kwargs)

    bench.patcher = Patcher(BaseModel(Hidden().eval().requires_grad_(False), Flow()))
    patcher, _ = bench.planned()
    wanted = "ComfyUI does not show this model's calls to nodes (class Hidden): every step was computed."
    assert said(patcher) == wanted


def test_a_plan_file_that_was_written_anew_is_another_input(tmp_path: Path) -> None:
    node, path = NODE_CLASS_MAPPINGS["SkipstoneUsePlanFile"], tmp_path / "plan.json"
    assert node.IS_CHANGED(None, str(path)) == str(path)
    seen = []
    for content in ("one", "two", "one"):
        path.write_text(content)
        seen.append(node.IS_CHANGED(None, str(path)))
    assert seen[0] == seen[2] != seen[1]


def test_a_plan_is_kept_under_a_name_and_used_by_it(bench: Bench, folder: Path) -> None:
    patcher, _ = bench.planned()
    assert "No plan was followed" in said(patcher, keep_plan_as="tiny 8 of 16")
    wanted = bench.sample(patcher)
    assert "Kept the plan in" in said(patcher, keep_plan_as="tiny 8 of 16")
    path = folder.parent / "plans" / "tiny 8 of 16.json"
    assert skipstone.load_plan(path).computed == STEPS // 2
    for named in ("tiny 8 of 16", str(path)):
        assert torch.allclose(bench.sample(by_plan(bench.patcher, named)), wanted, atol=1e-5)


def test_a_workflow_writes_nowhere_else(bench: Bench) -> None:
    patcher, _ = bench.planned()
    bench.sample(patcher)
    for name in ("../plan", "/tmp/plan", "a/b", ".hidden"):
        with pytest.raises(ValueError, match="a plan's name has letters"):
            said(patcher, keep_plan_as=name)


def test_plans_that_do_not_serve_are_refused(bench: Bench) -> None:
    patcher, _ = bench.planned()
    bench.sample(patcher)
    said(patcher, keep_plan_as="tiny")

    class Other(TinyTransformer):
        pass

    with pytest.raises(ValueError, match="the plan was made for 'TinyTransformer', this is Other"):
        by_plan(Patcher(BaseModel(Other(), Flow())), "tiny")
    with pytest.raises(ValueError, match=r"nothing\.json"):
        by_plan(bench.patcher, "nothing.json")


def test_a_plan_for_other_noise_levels_is_made_anew(bench: Bench) -> None:
    patcher, _ = bench.planned()
    bench.sample(patcher)
    said(patcher, keep_plan_as="tiny")
    patcher = by_plan(bench.patcher, "tiny")
    bench.sigmas = torch.linspace(1, 0, 2 * STEPS + 1)
    assert bench.calls(patcher) == STEPS
    bench.sigmas = torch.linspace(1, 0, 5 * STEPS)
    bench.sample(patcher)
    assert "a record of 16 steps serves runs of 8 to 32" in said(patcher)


def test_a_compiled_model_is_recorded_and_planned(bench: Bench) -> None:
    bench.patcher = tiny_model(blocks=1)
    bench.sigmas = torch.linspace(1, 0, 7)
    wanted = bench.sample()
    inner: Any = bench.patcher.model.diffusion_model
    # A count that changes would be compiled anew each time.
    inner._counted = inner._forward
    bench.patcher.model.diffusion_model = torch.compile(inner, backend="eager")
    patcher, recorded = bench.planned()
    assert written(bench.patcher.model.diffusion_model) is inner
    assert torch.allclose(recorded, wanted, atol=1e-5)
    assert "recorded" in said(patcher)
    bench.sample(patcher)
    assert "3 of 6 calls of the model were computed" in said(patcher)
