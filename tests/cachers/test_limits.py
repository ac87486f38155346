"""Wrappers: which steps they compute, and that the gate within stays what it was."""

from typing import Any

import pytest
import torch

import skipstone
from skipstone import FORA, Cacher, PerModel, RunCap, StepMask, StepRange, Tail, Taylor, TeaCache, Warmup
from skipstone import WithPredictor as With
from skipstone.cachers.contract.wrapper import Wrapper
from support.toy import ToyModel, ToyPipeline, constant, drifting

NEVER = FORA(1000)


def strip(method: Cacher[Any], steps: int = 10) -> str:
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad(), skipstone.attach(pipe, method) as cache:
        pipe(constant(steps))
    return cache.last_run.strip


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (Warmup(NEVER, 3), "###......."),
        (Warmup(NEVER, 0), "#........."),
        (Tail(NEVER, 2), "#.......##"),
        (RunCap(NEVER, 2), "#..#..#..#"),
        (RunCap(NEVER, 0), "##########"),
        (StepRange(NEVER, 0.3, 0.8), "###.....##"),
        (StepMask(NEVER, "#..##....#"), "#..##....#"),
        (Tail(Warmup(RunCap(NEVER, 3), 2), 1), "##...#...#"),
        (RunCap(Warmup(NEVER, 4), 3), "####...#.."),
        (RunCap(FORA(4), 2), "#..##..##."),
        (With(RunCap(NEVER, 4), Taylor()), "#....#...."),
    ],
)
def test_computed_steps(method: Cacher[Any], expected: str) -> None:
    assert strip(method) == expected


def test_a_wrapper_asks_its_method_for_all_that_an_engine_asks() -> None:
    of_the_class = {"name", "ladder"}
    asked = {name for name in vars(Cacher) if not name.startswith("_")} - of_the_class
    assert asked <= set(vars(Wrapper))


def test_the_gate_sees_the_steps_that_are_forced() -> None:
    """After a warm-up TeaCache compares with the step before, not with one from before the warm-up."""
    pipe = ToyPipeline(ToyModel())
    gate = TeaCache(threshold=0.2, rescale="none")
    with torch.no_grad(), skipstone.attach(pipe, Warmup(gate, 5)) as cache:
        pipe(drifting(8, 0.1))
    assert cache.last_run.strip == "#####..#"
    assert cache.last_run.reasons["among the first steps"] == 4


def test_a_mask_for_another_number_of_steps_is_named() -> None:
    with pytest.raises(ValueError, match="mask is for 3 steps, the run has 5"):
        strip(StepMask(NEVER, "#.#"), steps=5)


@pytest.mark.parametrize(
    ("wrapper", "settings"),
    [(Warmup, (-1,)), (Tail, (-1,)), (RunCap, (-1,)), (StepRange, (0.5, 0.5)), (StepRange, (0.0, 1.1)),
     (StepMask, ("",)), (StepMask, ("#x",))],
)  # fmt: skip
def test_bad_settings_are_refused(wrapper: Any, settings: Any) -> None:
    with pytest.raises(ValueError, match="got"):
        wrapper(NEVER, *settings)


class TwoExperts(ToyPipeline):
    """Takes one model for the first half of the steps and another for the rest, as Wan2.2 does."""

    def __init__(self) -> None:
        super().__init__(ToyModel())
        self.first, self.transformer_2 = self.transformer, ToyModel()

    def __call__(self, inputs: Any, steps: int | None = None, **kwargs: Any) -> list[torch.Tensor]:
        self.scheduler.set_timesteps(len(inputs))
        outputs = []
        for n, (t, given) in enumerate(zip(self.scheduler.timesteps, inputs, strict=False)):
            model = self.transformer if n < len(inputs) / 2 else self.transformer_2
            outputs.append(model(**given))
            self.scheduler.step(torch.zeros(1), t, torch.zeros(1))
        return outputs


def test_each_expert_has_its_own_method() -> None:
    pipe = TwoExperts()
    method = PerModel(FORA(2), {"transformer_2": NEVER})
    with torch.no_grad(), skipstone.attach(pipe, method) as cache:
        pipe(constant(12))
    assert cache.last_run.strip == "#.#.#.#....."
    assert cache.last_run.method == "fora interval 2; fora interval 1000"


def test_an_override_for_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="'transformer_2', but the pipeline's models are: transformer"):
        strip(PerModel(NEVER, {"transformer_2": NEVER}))
