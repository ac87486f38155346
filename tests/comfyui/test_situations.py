"""Situations of ComfyUI: a recorded run is the uncached one, a planned one skips, branches stay apart."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui.bench import FALLING, STEPS, Bench, said, tiny_model
from comfyui.stand_in import (
    MOVING,
    RESTING,
    STATIC,
    ControlNet,
    Guider,
    Patcher,
    Sampler,
    Windows,
    WrappedModel,
    condition,
)
from comfyui.stand_in_models import Epsilon, Sample, Velocity, context
from comfyui.stand_in_samplers import (
    sample_ahead,
    sample_euler,
    sample_heun,
    sample_midpoint,
    sample_two_step,
)
from torch import Tensor

from skipstone.comfyui import NODE_CLASS_MAPPINGS


def regions(bench: Bench) -> None:
    """A prompt for all, and one for each half; the halves' opposites share their ids."""
    areas = [(8, 4, 0, 0), (8, 4, 0, 4)]
    bench.positive += [condition(area, context=context(3 + n)) for n, area in enumerate(areas)]


def regions_of_both(bench: Bench) -> None:
    """Areas of positive and negative prompts, each with an opposite of its id; one area is in both lists."""
    regions(bench)
    assert bench.negative is not None
    areas = [(8, 4, 0, 4), (4, 8, 0, 0)]
    bench.negative += [condition(area, context=context(5 + n)) for n, area in enumerate(areas)]


def windows(bench: Bench) -> None:
    bench.size = (1, 4, 7, 4, 4)
    bench.options = {"context_handler": Windows(3)}


def control(bench: Bench) -> None:
    bench.positive = [condition(context=context(1), control=ControlNet())]


def rescaled(bench: Bench) -> None:
    def combine(cond: Tensor, uncond: Tensor, cfg: float) -> Tensor:
        made = uncond + (cond - uncond) * cfg
        return made * (0.7 * cond.std() / made.std() + 0.3)

    bench.options = {"sampler_cfg_function": combine}


def without_a_layer(
    guider: Guider, made: Tensor, x: Tensor, sigma: Tensor, options: dict[str, Any]
) -> Tensor:
    """Guidance by a third pass that leaves a layer out."""
    told = options["transformer_options"]
    changed = {**told, "patches_replace": {"dit": {("layers", 1): None}}}
    (worse,) = guider.predictions(
        [guider.conds["positive"]], x, sigma, {**options, "transformer_options": changed}
    )
    return made + 0.5 * (made - worse)


def third_pass(bench: Bench) -> None:
    bench.options = {"sampler_post_cfg_function": [without_a_layer]}


def ranged(bench: Bench) -> None:
    """One prompt for the first half of the run, another for the rest."""
    first, second = {"timestep_end": 0.5}, {"timestep_start": 0.499}
    bench.positive = [condition(context=context(n)) | part for n, part in enumerate((first, second))]


def setting(**values: Any) -> Callable[[Bench], None]:
    def change(bench: Bench) -> None:
        for name, value in values.items():
            setattr(bench, name, value)

    return change


SITUATIONS: dict[str, Callable[[Bench], None]] = {
    "usual": setting(),
    "heun": setting(sampler=sample_heun),
    "ahead": setting(sampler=sample_ahead),
    "midpoint": setting(sampler=sample_midpoint),
    "two-step": setting(sampler=sample_two_step),
    "no guidance": setting(cfg=1.0),
    "no negative prompt": setting(cfg=1.0, negative=None),
    "rescaled guidance": rescaled,
    "third pass": third_pass,
    "regions": regions,
    "regions of both": regions_of_both,
    "windows": windows,
    "control": control,
    "batch": setting(size=(3, 4, 8, 8)),
    "clip": setting(size=(1, 4, 3, 4, 4)),
    "one at a time": setting(most_at_once=1),
    "ranged prompts": ranged,
}


def says_half_was_skipped(patcher: Patcher) -> bool:
    """But for two steps at most, on which a first call of a kind was computed."""
    text = said(patcher)
    return any(f"{n} of {STEPS} steps skipped" in text for n in range(STEPS // 2 - 2, STEPS // 2 + 1))


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_recorded_run_is_the_uncached_one_and_a_planned_one_is_near(bench: Bench, situation: str) -> None:
    SITUATIONS[situation](bench)
    wanted, all_calls = bench.sample(), bench.calls()
    patcher, recorded = bench.planned()
    assert torch.equal(recorded, wanted)
    assert "recorded" in said(patcher)
    made = bench.sample(patcher)
    assert (made - wanted).norm() < 0.05 * wanted.norm()
    # First calls of a kind have nothing to reuse: a step's second and third, or of a prompt that begins late.
    assert bench.calls(patcher) <= all_calls // 2 + 2
    assert says_half_was_skipped(patcher)


@pytest.mark.parametrize("sampling", [Epsilon, Velocity, Sample])
def test_models_of_other_kinds(sampling: Any) -> None:
    bench = Bench(tiny_model(sampling=sampling()), sigmas=FALLING)
    wanted = bench.sample()
    patcher, recorded = bench.planned()
    assert torch.equal(recorded, wanted)
    assert (bench.sample(patcher) - wanted).norm() < 0.1 * wanted.norm()
    assert bench.calls(patcher) == STEPS // 2


class Constant(WrappedModel):
    """Gives each condition, window, area and pass a value of its own, the same on all steps."""

    def _forward(
        self, x: Tensor, time: Tensor, context: Tensor, transformer_options: Any, control: Any = None
    ) -> Tensor:
        window = transformer_options.get("context_window")
        frames = 0 if window is None else sum(window.index_list)
        patched = len(transformer_options.get("patches_replace", {}))
        controlled = 0 if control is None else 1
        own = context.mean((1, 2)) + 0.1 * frames + patched + controlled + 0.01 * x.shape[-1]
        return own.view(-1, *[1] * (x.ndim - 1)).expand(x.shape).contiguous()


# Weights are those of the guided output, and that jumps where one prompt takes over from another.
@pytest.mark.parametrize("situation", sorted(SITUATIONS.keys() - {"ranged prompts"}))
def test_no_branch_is_estimated_from_another(situation: str) -> None:
    bench = Bench(tiny_model())
    bench.patcher.model.diffusion_model = Constant()
    SITUATIONS[situation](bench)
    bench.most_at_once = 1
    wanted = bench.sample()
    patcher, _ = bench.planned()
    assert torch.allclose(bench.sample(patcher), wanted, atol=1e-5)
    assert says_half_was_skipped(patcher)


def test_batches_of_another_size_in_the_middle_of_a_run_change_nothing(bench: Bench) -> None:
    """ComfyUI batches as many conditions as there is memory for."""
    patcher, _ = bench.planned()
    wanted = bench.sample(patcher)
    alone: list[int] = []

    class Filling(Guider):
        """Takes the name of the usual one: another guider would be recorded for itself."""

        def predictions(self, *args: Any) -> list[Any]:
            alone.append(0)
            self.most_at_once = 1 if len(alone) > 5 else 8
            return super().predictions(*args)

    Filling.__name__ = Guider.__name__
    torch.manual_seed(0)
    guider = Filling(patcher, bench.positive, bench.negative, bench.cfg)
    made = guider.sample(
        torch.randn(bench.size),
        Sampler(sample_euler),
        bench.sigmas,
    )
    assert torch.allclose(made, wanted, atol=1e-5)


def test_a_pass_that_cannot_be_told_from_another_is_computed_and_said(bench: Bench) -> None:
    """As guidance by a blurred picture: the same prompt twice in a prediction, with other latents."""

    def blurred(guider: Guider, made: Tensor, x: Tensor, sigma: Tensor, options: dict[str, Any]) -> Tensor:
        (worse,) = guider.predictions(
            [guider.conds["positive"]], x.mean(-1, keepdim=True).expand(x.shape), sigma, options
        )
        return made + 0.5 * (made - worse)

    bench.options = {"sampler_post_cfg_function": [blurred]}
    bench.most_at_once = 1
    wanted = bench.sample()
    patcher, recorded = bench.planned()
    assert torch.equal(recorded, wanted)
    said(patcher)
    made = bench.sample(patcher)
    text = said(patcher)
    assert "its conditions cannot be told apart" in text or "nothing can be planned" in text
    assert (made - wanted).norm() < 0.05 * wanted.norm()


def test_windows_that_move_are_computed_and_said(bench: Bench) -> None:
    bench.size, bench.options = (1, 4, 7, 4, 4), {"context_handler": Windows(3, MOVING)}
    wanted = bench.sample()
    patcher, recorded = bench.planned()
    assert torch.equal(recorded, wanted)
    assert torch.equal(bench.sample(patcher), wanted)
    assert "planned nothing" in said(patcher)


def test_windows_that_stay_for_a_while_are_skipped_where_they_did_not_move(bench: Bench) -> None:
    bench.size, bench.options = (1, 4, 7, 4, 4), {"context_handler": Windows(3, RESTING)}
    wanted, all_calls = bench.sample(), bench.calls()
    patcher, recorded = bench.planned()
    assert torch.equal(recorded, wanted)
    made = bench.sample(patcher)
    assert (made - wanted).norm() < 0.05 * wanted.norm()
    assert bench.calls(patcher) < all_calls


def test_windows_of_another_schedule_have_their_own_record(bench: Bench) -> None:
    bench.size, bench.options = (1, 4, 7, 4, 4), {"context_handler": Windows(3)}
    patcher, _ = bench.planned()
    bench.options = {"context_handler": Windows(3, RESTING)}
    assert torch.equal(bench.sample(patcher), bench.sample())
    assert said(patcher).count("and recorded") == 2


def test_windows_that_moved_on_are_not_held(bench: Bench) -> None:
    bench.size = (1, 4, 7, 4, 4)
    held = []
    for schedule in (STATIC, MOVING):
        bench.options = {"context_handler": Windows(3, schedule)}
        patcher, _ = bench.planned()
        (run,) = patcher.get_attachment("skipstone").remembered.tell(None).runs
        held.append(run.stats.bytes_held)
    assert held[1] <= 3 * held[0]


def test_what_was_computed_with_others_of_its_batch_is_estimated_from(bench: Bench, tmp_path: Path) -> None:
    """The negative prompt gives the noise level, others 1; one that begins at step 3 has both computed."""

    class Level(WrappedModel):
        def _forward(self, x: Tensor, time: Tensor, context: Tensor, **others: Any) -> Tensor:
            is_level = context.mean((1, 2))
            made = is_level * time / 1000 + (1 - is_level)
            return made.view(-1, 1, 1, 1).expand(x.shape).contiguous()

    bench.patcher.model.diffusion_model = Level()
    zeros, ones = (condition(context=torch.full((1, 2, 4), float(n))) for n in (0, 1))
    begins = float(bench.sigmas[3])
    bench.positive = [zeros | {"timestep_end": begins + 0.01}, zeros | {"timestep_start": begins}]
    bench.negative, bench.cfg = [ones], 2.0
    patcher, _ = bench.planned()
    bench.sample(patcher)
    (plan,) = patcher.get_attachment("skipstone").remembered.tell(None).plans
    only_first = replace(plan, recipe=plan.recipe.reusing, strip="#" + "." * (STEPS - 1))
    only_first.save(tmp_path / "plan.json")
    (patcher,) = NODE_CLASS_MAPPINGS["SkipstoneUsePlanFile"]().attach(
        bench.patcher, str(tmp_path / "plan.json")
    )
    torch.manual_seed(0)
    wanted = torch.randn(bench.size)
    for step in range(STEPS):
        # Guidance of 2 doubles 1, less the negative prompt's output.
        output = 2 - bench.sigmas[0 if step < 3 else 3]
        wanted += (bench.sigmas[step + 1] - bench.sigmas[step]) * output
    assert torch.allclose(bench.sample(patcher), wanted, atol=1e-5)
    assert said(patcher).startswith("#..#" + "." * (STEPS - 4))


def test_conditions_without_ids_are_computed_and_said(bench: Bench) -> None:
    class Nameless(Guider):
        def _apply(self, batch: Any, *args: Any) -> Any:
            return super()._apply([(kind, {**one, "uuid": None}) for kind, one in batch], *args)

    patcher = bench.faster()
    sampler = Sampler(sample_euler)
    for _ in range(2):
        torch.manual_seed(0)
        guider = Nameless(patcher, bench.positive, bench.negative, bench.cfg)
        made = guider.sample(torch.randn(bench.size), sampler, bench.sigmas)
        assert torch.equal(made, bench.sample())
    assert "its conditions cannot be told apart" in said(patcher)


def test_a_control_net_does_not_run_where_the_model_does_not(bench: Bench) -> None:
    net = ControlNet()
    bench.positive = [condition(context=context(1), control=net)]
    patcher, _ = bench.planned()
    assert net.calls == STEPS
    bench.sample(patcher)
    assert net.calls == STEPS + STEPS // 2
    assert "control" in bench.positive[0]


def test_inpainting_and_a_picture_to_begin_with(bench: Bench) -> None:
    mask, latent = torch.zeros(1, 1, 8, 8), torch.ones(bench.size)
    mask[..., :4] = 1
    given = {"latent": latent, "mask": mask}
    wanted = bench.sample(**given)
    patcher = bench.faster()
    assert torch.equal(bench.sample(patcher, **given), wanted)
    made = bench.sample(patcher, **given)
    assert bench.calls(patcher, **given) == STEPS // 2
    assert torch.equal(made[..., 4:], wanted[..., 4:])
    assert (made - wanted).norm() < 0.05 * wanted.norm()


def test_a_second_pass_with_more_pixels_is_a_run_of_its_own(bench: Bench) -> None:
    second = Bench(bench.patcher, sigmas=bench.sigmas[STEPS // 2 :], size=(1, 4, 16, 16))
    patcher = bench.faster()
    for recorded in (True, False):
        bench.sample(patcher)
        second.sample(patcher)
        text = said(patcher)
        assert text.startswith("Run 1 of 2\n")
        assert text.count("computed in") == (2 if recorded else 0)
        assert text.count("steps skipped") == (0 if recorded else 2)


def test_another_cache_on_the_model_is_left_to_skip_alone(bench: Bench) -> None:
    patcher = bench.faster()
    patcher.add_wrapper_with_key(
        "diffusion_model", "easycache", lambda executor, *args, **kwargs: executor(*args, **kwargs)
    )
    wanted = bench.sample()
    for _ in range(2):
        assert torch.equal(bench.sample(patcher), wanted)
    assert "easycache is on this model too: remove one of the two" in said(patcher)


def test_outputs_of_several_tensors(bench: Bench) -> None:
    """Models of picture and sound give a list; each part of it is estimated."""

    class Both(Constant):
        def forward(self, x: Tensor, time: Tensor, **kwargs: Any) -> Tensor:
            made: Any = super().forward(x, time, **kwargs)
            assert made[1].shape == (len(x), 2)
            return made[0] + made[1].mean()

        def _forward(self, x: Tensor, time: Tensor, **kwargs: Any) -> Any:
            return [super()._forward(x, time, **kwargs), torch.ones(len(x), 2)]

    bench.patcher.model.diffusion_model = Both()
    wanted = bench.sample()
    patcher, _ = bench.planned()
    assert torch.allclose(bench.sample(patcher), wanted, atol=1e-5)
    assert bench.calls(patcher) == STEPS // 2


def test_an_output_that_is_not_one_part_for_each_condition_is_computed_and_said(bench: Bench) -> None:
    class Odd(Constant):
        def forward(self, x: Tensor, time: Tensor, **kwargs: Any) -> Tensor:
            return super().forward(x, time, **kwargs)[:-1]

        def _forward(self, x: Tensor, time: Tensor, **kwargs: Any) -> Tensor:
            made = super()._forward(x, time, **kwargs)
            return torch.cat([made, made[:1]])

    bench.patcher.model.diffusion_model = Odd()
    wanted = bench.sample()
    patcher = bench.faster()
    for _ in range(2):
        assert torch.equal(bench.sample(patcher), wanted)
        assert "not one part for each condition" in said(patcher)
