"""Train Block Caching's scale-shift adjustment for a pipeline, from prompts alone.

The student is the pipeline with Block Caching, run from noise to the end. The teacher is the same model
without a cache, evaluated on the student's own latents at every step. What a skipped block gives is brought
nearer to what the teacher's block gives there; nothing else is trained.
"""

import argparse
import copy
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

import skipstone
from skipstone import BlockCaching, Cacher, ScaleShift
from skipstone.cachers.base import Correction, Layer, Probe, Step
from skipstone.cachers.scale_shift import Adjusted
from skipstone.cachers.scale_shift import State as Adjusting
from skipstone.pipelines.outputs import floats_in


@dataclass(frozen=True)
class Estimate:
    """What one skipped block was estimated to add to one of its streams.

    Args:
        block: its name in the model.
        stream: which of its streams, from 0.
        embedding: the time embedding.
        residual: the estimate before it is adjusted.
        base: what it is added to.
    """

    block: str
    stream: int
    embedding: Tensor
    residual: Tensor
    base: Tensor


@dataclass
class Evaluation:
    """One call of the student's model, and its skipped blocks."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    estimates: list[Estimate] = field(default_factory=list)


class Notebook:
    """Takes down what happens in the student's current step."""

    def __init__(self) -> None:
        self.evaluations: list[Evaluation] = []

    def begin(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A forward pre-hook of the student's model."""
        self.evaluations.append(Evaluation(args, kwargs))

    def add(self, estimate: Estimate) -> None:
        """Take down an estimate of the evaluation that is going on."""
        self.evaluations[-1].estimates.append(estimate)

    def turn(self) -> list[Evaluation]:
        """Everything since the page was last turned."""
        page, self.evaluations = self.evaluations, []
        return page


@dataclass(frozen=True)
class Noted(Adjusted):
    """An adjusted block whose estimates are taken down; not adjusted as long as nothing is known of it."""

    notebook: Notebook

    def correction(self, state: Adjusting) -> Correction | None:
        assert state.embedding is not None
        embedding, known = state.embedding, self.block in self.adjustment

        def correct(residual: Tensor, base: Tensor, stream: int) -> Tensor:
            self.notebook.add(Estimate(self.block, stream, embedding, residual, base.clone()))
            if not known:
                return base + residual
            return self.adjustment(base, residual, self.block, stream, embedding)

        return correct


@dataclass(frozen=True)
class Student(BlockCaching):
    """Block Caching that takes down the estimates of its blocks."""

    learned: ScaleShift = field(default_factory=lambda: ScaleShift(1, {}))
    notebook: Notebook = field(default_factory=Notebook)

    @property
    def probe(self) -> Probe:
        return Probe.TIME_EMBEDDING

    def for_layer(self, layer: Layer) -> Cacher[Any] | None:
        rule = super().for_layer(layer)
        return None if rule is None else Noted(rule, self.learned, layer.name, self.notebook)


class Teacher:
    """The model without a cache, which shares the student's weights.

    Args:
        model: the student's model, before anything is attached to it.
    """

    def __init__(self, model: nn.Module) -> None:
        shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
        self._model = copy.deepcopy(model, memo=shared)

    @torch.no_grad()
    def outputs(self, evaluation: Evaluation) -> dict[str, list[Tensor]]:
        """What each skipped block gives on the student's input, by its name."""
        found: dict[str, list[Tensor]] = {}
        hooks = [
            self._model.get_submodule(name).register_forward_hook(_taking_down(found, name))
            for name in {estimate.block for estimate in evaluation.estimates}
        ]
        try:
            self._model(*evaluation.args, **evaluation.kwargs)
        finally:
            for hook in hooks:
                hook.remove()
        return found


def _taking_down(found: dict[str, list[Tensor]], name: str) -> Any:
    def take_down(module: nn.Module, args: Any, output: Any) -> None:
        found[name] = list(floats_in(output))

    return take_down


def loss_of(evaluation: Evaluation, wanted: dict[str, list[Tensor]], learned: ScaleShift) -> Tensor:
    """Mean squared error of the adjusted blocks' outputs, summed over blocks.

    A block's input is the student's, as it is: no gradient flows from one block to another.
    """
    losses = [
        (
            learned(one.base.float(), one.residual.float(), one.block, one.stream, one.embedding)
            - wanted[one.block][one.stream].float()
        )
        .square()
        .mean()
        for one in evaluation.estimates
    ]
    return torch.stack(losses).sum()


def new_adjustment(pipe: Any, method: BlockCaching, prompt: Any, **kwargs: Any) -> ScaleShift:
    """An adjustment for the blocks that a run of the method skips, which does not change anything yet.

    Raises:
        ValueError: it skips none.
    """
    student = Student(method.threshold, method.changes)
    seen: dict[str, dict[int, Estimate]] = {}

    def look(step: Step, computed: int, skipped: int) -> None:
        for one in student.notebook.turn():
            for estimate in one.estimates:
                seen.setdefault(estimate.block, {})[estimate.stream] = estimate

    run(pipe, student, look, prompt, kwargs)
    if not seen:
        raise ValueError(f"{method.describe()} skips no block: there is nothing to adjust; raise threshold")
    channels = {name: [one[n].residual.shape[-1] for n in sorted(one)] for name, one in seen.items()}
    size = next(iter(seen.values()))[0].embedding.shape[-1]
    return ScaleShift(size, channels)


def train(
    pipe: Any, method: BlockCaching, prompts: Iterable[Any], rate: float = 1e-3, **kwargs: Any
) -> tuple[BlockCaching, list[float]]:
    """Train the adjustment of a method, one run of the pipeline for each prompt.

    Args:
        pipe: a diffusers pipeline without a cache.
        method: the method, with its measured changes.
        prompts: what the runs are of, each the pipeline's first argument.
        rate: the learning rate.
        kwargs: the pipeline's other arguments.

    Returns:
        The method with its adjustment, and the mean loss of each run.
    """
    prompts = list(prompts)
    model = model_of(pipe)
    learned = new_adjustment(pipe, method, prompts[0], **kwargs).to(next(model.parameters()).device)
    student = Student(method.threshold, method.changes, learned=learned)
    teacher, optimizer = Teacher(model), torch.optim.Adam(learned.parameters(), lr=rate)
    losses: list[float] = []

    def learn(step: Step, computed: int, skipped: int) -> None:
        for evaluation in student.notebook.turn():
            if evaluation.estimates:
                losses.append(_lesson(evaluation, teacher, learned, optimizer))

    means = []
    for prompt in prompts:
        run(pipe, student, learn, prompt, kwargs)
        means.append(sum(losses) / len(losses))
        losses.clear()
    return replace(method, adjustment=learned.requires_grad_(False)), means


@torch.enable_grad()
def _lesson(
    evaluation: Evaluation, teacher: Teacher, learned: ScaleShift, optimizer: torch.optim.Optimizer
) -> float:
    """One step of the optimizer. Pipelines run without gradients, hence the decorator."""
    loss = loss_of(evaluation, teacher.outputs(evaluation), learned)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def run(pipe: Any, student: Student, after_step: Any, prompt: Any, kwargs: dict[str, Any]) -> None:
    """Run the pipeline with the student on it."""
    hook = model_of(pipe).register_forward_pre_hook(student.notebook.begin, with_kwargs=True)
    try:
        with skipstone.attach(pipe, student) as cache:
            cache.watch(after_step)
            pipe(prompt, **kwargs)
    finally:
        hook.remove()


def model_of(pipe: Any) -> nn.Module:
    """The model that is called on every step; of two experts the first."""
    model: nn.Module = pipe.transformer if hasattr(pipe, "transformer") else pipe.unet
    return model


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a folder that save_pretrained wrote, or a hub id")
    parser.add_argument("prompts", type=Path, help="a text file with a prompt a line")
    parser.add_argument(
        "out", type=Path, help="where to write the adjustment, such as adjustment.safetensors"
    )
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--measured-on", type=int, default=32, help="how many prompts to measure changes on")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--arguments", type=json.loads, default={}, help="the pipeline's others, as JSON")
    asked = parser.parse_args(arguments)
    pipe = diffusers.DiffusionPipeline.from_pretrained(asked.model).to(asked.device)
    prompts = asked.prompts.read_text().splitlines()
    kwargs = {"num_inference_steps": asked.steps, "output_type": "latent", **asked.arguments}
    few = prompts[: asked.measured_on]
    method = skipstone.fit_block_caching(pipe, few, threshold=asked.threshold, **kwargs)
    method, losses = train(pipe, method, prompts, asked.rate, **kwargs)
    skipstone.save_block_caching(method, asked.out)
    print(f"loss {losses[0]:.4g} at first, {losses[-1]:.4g} at last; wrote {asked.out}")


if __name__ == "__main__":
    main()
