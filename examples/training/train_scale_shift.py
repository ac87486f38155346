"""Train Block Caching's scale-shift adjustment for a pipeline, from prompts alone.

The student is the pipeline with Block Caching, run from noise to the end. The teacher is the same model
without a cache, evaluated on the student's own latents at every step. What a skipped block gives is brought
as near as scales and shifts can to what the teacher's block adds there; nothing else is trained. They are the
least squares of all that was seen, so there is no rate to choose.

Prints a JSON row: the PSNR of the method without and with the adjustment against uncached runs, on prompts
that it was not trained on.
"""

import argparse
import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

import skipstone
from skipstone import BlockCaching, Cacher, ScaleShift
from skipstone.cachers.block_caching import schedule
from skipstone.cachers.contract.words import Correction, Layer, Probe, Step
from skipstone.cachers.scale_shift import Adjusted
from skipstone.cachers.scale_shift import State as Adjusting
from skipstone.metrics.quality import quality
from skipstone.pipelines import bundled
from skipstone.pipelines.model.calls import Call, passes
from skipstone.report.prompts import pebble_prompts, read_prompts


@dataclass(frozen=True)
class Estimate:
    """What one skipped block was estimated to add to one of its streams.

    Args:
        block: its name in the model.
        stream: which of its streams, from 0.
        embedding: the time embedding.
        residual: the estimate before it is adjusted.
    """

    block: str
    stream: int
    embedding: Tensor
    residual: Tensor


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
            self.notebook.add(Estimate(self.block, stream, embedding, residual))
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
    def added(self, evaluation: Evaluation) -> dict[str, list[Tensor]]:
        """What each skipped block adds to its streams on the student's latents, by its name."""
        found: dict[str, list[Tensor]] = {}
        hooks = [
            self._model.get_submodule(name).register_forward_hook(_taking_down(found, name), with_kwargs=True)
            for name in {estimate.block for estimate in evaluation.estimates}
        ]
        try:
            self._model(*evaluation.args, **evaluation.kwargs)
        finally:
            for hook in hooks:
                hook.remove()
        return found


def _taking_down(found: dict[str, list[Tensor]], name: str) -> Any:
    def take_down(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        call = Call((0, 0), module, args, kwargs, output)
        pairs = zip(call.output_tuple(), passes(call, {}).slots, strict=True)
        found[name] = [out - call.tensors()[slot] for out, slot in pairs if slot is not None]

    return take_down


@dataclass
class Sums:
    """What the best scale and shift of each channel follow from, of one stream of a block at one step.

    Args:
        embedding: the time embedding.
        moments: sums over samples and tokens, ``(5, channels)`` in float64: of one, of the residual, of what
            should be added, of the residual squared, and of the two's product.
        loss: sum of squared errors of the adjusted residual.
    """

    embedding: Tensor
    moments: Tensor
    loss: float = 0.0

    @property
    def mean_loss(self) -> float:
        return self.loss / float(self.moments[0].sum())

    def line(self) -> Tensor:
        """The straight line through all that was seen, ``(2 * channels,)``: scales, then shifts."""
        _, given, wanted, squares, products = self.moments / self.moments[0]
        spread = squares - given**2
        # A channel that is the same everywhere cannot be scaled.
        scale = torch.where(spread > 1e-9 * squares, (products - given * wanted) / spread, 1.0)
        return torch.cat([scale, wanted - scale * given])


Lesson = dict[tuple[str, int, int], Sums]
"""The sums of each block's name, stream and step."""


def take_in(lesson: Lesson, step: int, one: Estimate, added: Tensor, learned: ScaleShift) -> None:
    """Add what a skipped block should have added to the sums."""
    given, wanted = one.residual.double(), added.double()
    adjusted = learned(torch.zeros_like(given), given, one.block, one.stream, one.embedding)
    seen = torch.stack([torch.ones_like(given), given, wanted, given**2, given * wanted])
    moments = seen.flatten(1, -2).sum(1)
    sums = lesson.setdefault((one.block, one.stream, step), Sums(one.embedding, torch.zeros_like(moments)))
    sums.moments += moments
    sums.loss += (adjusted - wanted).square().sum().item()


def fit(learned: ScaleShift, lesson: Lesson) -> None:
    """Give every layer of an adjustment the least weights that give the best lines at all steps."""
    for block, stream in {key[:2] for key in lesson}:
        seen = [sums for key, sums in lesson.items() if key[:2] == (block, stream)]
        times = torch.cat([sums.embedding.double().cpu() for sums in seen])
        lines = torch.stack([sums.line().cpu() for sums in seen])
        unchanged = torch.cat([torch.ones(lines.shape[1] // 2), torch.zeros(lines.shape[1] // 2)]).double()
        inputs = torch.cat([times, torch.ones(len(times), 1)], dim=1)
        weights = torch.linalg.lstsq(inputs, lines - unchanged, rcond=1e-4, driver="gelsd").solution
        layer = learned.layer(block, stream)
        layer.weight.data.copy_(weights[:-1].T)
        layer.bias.data.copy_(weights[-1] + unchanged)


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
    pipe: Any, method: BlockCaching, prompts: Sequence[Any], passes: int = 2, **kwargs: Any
) -> tuple[BlockCaching, list[float]]:
    """Train the adjustment of a method, one run of the pipeline for each prompt and pass.

    In the first pass the student is not adjusted. What the blocks should have added is fitted after each
    pass, so that the next one sees the trajectories which that leads to.

    Args:
        pipe: a diffusers pipeline without a cache.
        method: the method, with its measured changes.
        prompts: what the runs are of, each the pipeline's first argument.
        passes: how often.
        kwargs: the pipeline's other arguments.

    Returns:
        The method with its adjustment, and the mean squared error of each pass, before its fit.
    """
    model = model_of(pipe)
    learned = new_adjustment(pipe, method, prompts[0], **kwargs).to(next(model.parameters()).device)
    student = Student(method.threshold, method.changes, learned=learned.requires_grad_(False))
    teacher, losses = Teacher(model), []
    for _ in range(passes):
        lesson: Lesson = {}

        def learn(step: Step, computed: int, skipped: int, lesson: Lesson = lesson) -> None:
            for evaluation in student.notebook.turn():
                wanted = teacher.added(evaluation) if evaluation.estimates else {}
                for one in evaluation.estimates:
                    take_in(lesson, step.index, one, wanted[one.block][one.stream], learned)

        for prompt in prompts:
            run(pipe, student, learn, prompt, kwargs)
        losses.append(sum(sums.mean_loss for sums in lesson.values()) / len(lesson))
        fit(learned, lesson)
    return replace(method, adjustment=learned), losses


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


def psnr(pipe: Any, method: BlockCaching, prompts: Sequence[str], **kwargs: Any) -> float:
    """Mean PSNR of the method's runs against the uncached ones of the same noise, in dB, on float frames."""
    found = []
    for seed, prompt in enumerate(prompts):
        wanted = _frames(pipe, prompt, seed, kwargs)
        with skipstone.attach(pipe, method):
            found.append(quality(_frames(pipe, prompt, seed, kwargs), wanted).psnr)
    return sum(found) / len(found)


def _frames(pipe: Any, prompt: str, seed: int, kwargs: dict[str, Any]) -> Tensor:
    noise = torch.Generator().manual_seed(seed)
    made = torch.from_numpy(pipe(prompt, **{**kwargs, "output_type": "np"}, generator=noise)[0]).float()
    return made.reshape(-1, *made.shape[-3:])


def computed_share(method: BlockCaching) -> float:
    """Which part of all evaluations of blocks is computed."""
    assert method.changes is not None
    rows = [schedule(changes, method.threshold) for changes in method.changes.values()]
    return sum(map(sum, rows)) / sum(map(len, rows))


def arguments_of(parser_arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a bundled model, a folder that save_pretrained wrote, or a hub id")
    parser.add_argument(
        "out", type=Path, nargs="?", help="where to write the method; by default beside the bundled model"
    )
    parser.add_argument("--prompts", type=Path, help="a text file with a prompt a line")
    parser.add_argument(
        "--runs", type=int, default=32, help="how many prompts of a bundled model to train on"
    )
    parser.add_argument("--threshold", type=float, default=0.1)
    parser.add_argument("--measured-on", type=int, default=32, help="how many prompts to measure changes on")
    parser.add_argument("--held-out", type=int, default=16, help="how many prompts to keep for the PSNR")
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the runs' noise")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--arguments", type=json.loads, default={}, help="the pipeline's, as JSON")
    asked = parser.parse_args(parser_arguments)
    if asked.model not in bundled.DEFAULTS and (asked.out is None or asked.prompts is None):
        parser.error(f"{asked.model} is not bundled: name a file to write, and --prompts")
    return asked


def prompts_of(asked: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The prompts to train on, and those to measure on.

    Raises:
        ValueError: too few.
    """
    if asked.prompts is None:
        found = pebble_prompts(asked.model, asked.runs + asked.held_out)
    else:
        found = read_prompts(str(asked.prompts))
    if len(found) <= asked.held_out:
        raise ValueError(f"{len(found)} prompts, of which --held-out {asked.held_out} are kept: give more")
    return found[asked.held_out :], found[: asked.held_out]


def main(arguments: list[str] | None = None) -> None:
    asked = arguments_of(arguments)
    torch.manual_seed(asked.seed)
    is_bundled = asked.model in bundled.DEFAULTS
    location = bundled.folder(asked.model) if is_bundled else asked.model
    pipe = diffusers.DiffusionPipeline.from_pretrained(location).to(asked.device)
    pipe.set_progress_bar_config(disable=True)
    prompts, held_out = prompts_of(asked)
    kwargs = {**bundled.DEFAULTS.get(asked.model, {}), "output_type": "latent", **asked.arguments}
    few = prompts[: asked.measured_on]
    method = skipstone.fit_block_caching(pipe, few, threshold=asked.threshold, **kwargs)
    trained, losses = train(pipe, method, prompts, asked.passes, **kwargs)
    out = asked.out or location / bundled.BLOCK_CACHING
    # Half the precision is enough for what is added to a residual, and half the size.
    skipstone.save_block_caching(replace(trained, adjustment=trained.adjustment.half()), out)
    shipped = skipstone.load_block_caching(out, asked.device)
    row = {
        "model": str(asked.model), "threshold": asked.threshold, "computed": computed_share(method),
        "prompts": len(prompts), "loss_first": losses[0], "loss_last": losses[-1],
        "held_out": len(held_out), "psnr_before": psnr(pipe, method, held_out, **kwargs),
        "psnr_after": psnr(pipe, shipped, held_out, **kwargs), "bytes": out.stat().st_size,
        "torch": torch.__version__, "diffusers": diffusers.__version__, "device": device_name(asked.device),
    }  # fmt: skip
    print(json.dumps(row))


def device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


if __name__ == "__main__":
    main()
