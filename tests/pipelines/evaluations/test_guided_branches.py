"""Models whose unconditional branch is saved: batched and sequential guidance, on toys and in pipelines."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import skipstone
from skipstone import FORA, PAB, CFGCache, FasterCache, TeaCache, Warmup, WithGuidance
from support.tiny_pipelines import PIPELINES
from support.toy import ToyModel, ToyPipeline, drifting

PLAIN = CFGCache(start=0.0, interval=3, low=0.0, high=0.0)
"""Both branches on every third step, and the difference of then on the others."""

SAVING = WithGuidance(FORA(1), PLAIN)
"""Computes everything else."""


@pytest.fixture(autouse=True)
def _no_gradients() -> object:
    with torch.no_grad():
        yield


@contextmanager
def batches(model: Any) -> Iterator[list[dict[str, Any]]]:
    """What a model is called with."""
    calls: list[dict[str, Any]] = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append({"latents": args[0] if args else None, **kwargs}),
        with_kwargs=True,
    )
    yield calls
    hook.remove()


# Known answers


def guided_inputs(steps: int) -> list[list[dict[str, Tensor]]]:
    """The same latents for both branches, and a ``temb`` that is larger for the conditional one."""
    ones = torch.ones(1, 1, 4, 4)
    return [
        [{"hidden_states": (1.0 + n) * ones, "temb": branch * ones} for branch in (2.0, 1.0)]
        for n in range(steps)
    ]


def values(outputs: list[Tensor]) -> list[float]:
    return [output.unique().item() for output in outputs]


def test_sequential_guidance_skips_the_second_call() -> None:
    """The branches differ by 6 on all steps: the estimate is exact, and made without a call."""
    pipe = ToyPipeline(ToyModel(), branches=2)
    bare = values(pipe(guided_inputs(6)))
    assert bare[:2] == [1 + 12, 1 + 6]
    with batches(pipe.transformer) as calls, skipstone.attach(pipe, SAVING) as cache:
        outputs = values(pipe(guided_inputs(6)))
    assert outputs == pytest.approx(bare)
    assert pipe.transformer.block_calls == [12 + 6 + 3] * 3
    assert len(calls) == 9
    assert cache.last_run.strip == "#+#++#"
    assert cache.last_run.branches == {
        "transformer branch 0": {"computed": 6, "skipped": 0},
        "transformer branch 1": {"computed": 3, "skipped": 3},
    }


def batched(inputs: list[list[dict[str, Tensor]]]) -> list[dict[str, Tensor]]:
    """The branches in one batch, the unconditional one first."""
    return [{key: torch.cat([uncond[key], cond[key]]) for key in cond} for cond, uncond in inputs]


def test_batched_guidance_computes_half_of_the_batch() -> None:
    inputs = batched(guided_inputs(6))
    pipe = ToyPipeline(ToyModel())
    bare = pipe(inputs)
    with batches(pipe.transformer) as calls, skipstone.attach(pipe, SAVING) as cache:
        outputs = pipe(inputs)
    for ours, theirs in zip(outputs, bare, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert [len(call["hidden_states"]) for call in calls] == [2, 1, 2, 1, 1, 2]
    assert all(call["temb"].unique().item() == 2 for call in calls if len(call["temb"]) == 1)
    assert cache.last_run.strip == "#+#++#"
    assert cache.last_run.parts == {"unconditional half": {"computed": 3, "skipped": 3}}


@pytest.mark.parametrize(
    "method",
    [SAVING, FasterCache(0.0, 2, guidance_start=0.0, guidance_interval=3, low=0.3, high=0.1)],
    ids=["cfg-cache", "fastercache"],
)
def test_batched_and_sequential_guidance_give_the_same(method: Any) -> None:
    torch.manual_seed(0)
    inputs = [
        [{"hidden_states": latents, "temb": torch.randn(1, 1, 8, 8)} for _ in range(2)]
        for latents in torch.randn(12, 1, 1, 8, 8)
    ]
    with skipstone.attach(one_by_one := ToyPipeline(ToyModel(), branches=2), method):
        sequential = one_by_one(inputs)
    with skipstone.attach(together := ToyPipeline(ToyModel()), method):
        joint = together(batched(inputs))
    for n, output in enumerate(joint):
        torch.testing.assert_close(output[1:], sequential[2 * n])
        torch.testing.assert_close(output[:1], sequential[2 * n + 1])


def test_a_layer_that_was_computed_for_half_of_a_batch_is_computed_again_for_all_of_it() -> None:
    """Attention's turn is on even steps, and both branches are computed on steps 0, 2 and 5.

    On step 0 half of the batch is tried once.
    """
    attention = PAB(2, 2, 2, from_timestep=1e9, until_timestep=-1e9)
    pipe = ToyPipeline(ToyModel(1))
    sizes: list[int] = []
    pipe.transformer.blocks[0].attn.register_forward_hook(lambda *call: sizes.append(len(call[2])))
    with skipstone.attach(pipe, WithGuidance(attention, PLAIN)) as cache:
        outputs = pipe(batched(guided_inputs(6)))
    assert sizes == [2, 1, 2, 1, 2]
    assert all(len(output) == 2 for output in outputs)
    assert cache.last_run.parts["self attention"] == {"computed": 4, "skipped": 2}


def test_two_samples_that_differ_are_no_guidance() -> None:
    inputs = batched(guided_inputs(6))
    for given in inputs:
        given["hidden_states"][1] += 1
    pipe = ToyPipeline(ToyModel())
    with batches(pipe.transformer) as calls, skipstone.attach(pipe, SAVING) as cache:
        pipe(inputs)
    assert all(len(call["hidden_states"]) == 2 for call in calls)
    assert cache.last_run.strip == "######"
    assert "no unconditional branch was found that could be saved" in cache.last_run.notes[0]


class Mixes(ToyModel):
    """Lets the samples of a batch see each other."""

    def forward(self, hidden_states: Tensor, temb: Tensor, inject: Tensor | None = None) -> Tensor:
        output = super().forward(hidden_states, temb, inject)
        return output + output.mean(0, keepdim=True)


def test_a_model_that_mixes_its_samples_is_never_given_half_of_them() -> None:
    inputs = batched(guided_inputs(6))
    pipe = ToyPipeline(Mixes())
    bare = pipe(inputs)
    with skipstone.attach(pipe, SAVING) as cache:
        outputs = pipe(inputs)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(outputs, bare, strict=True))
    assert cache.last_run.strip == "######"
    assert any(
        "half of its batch gives another output, so all of it is computed" in note
        for note in cache.last_run.notes
    )


def test_branches_of_other_shapes_are_told_apart() -> None:
    """What is called second on a step is not the unconditional branch where its latents are others."""
    ones = torch.ones(1, 1, 4, 4)
    inputs = [
        [{"hidden_states": ones, "temb": ones}, {"hidden_states": ones[..., :2], "temb": ones[..., :2]}]
    ] * 6
    with skipstone.attach(pipe := ToyPipeline(ToyModel(), branches=2), SAVING) as cache:
        pipe(inputs)
    assert cache.last_run.strip == "######"


def test_memory_of_the_difference_is_counted_and_given_back() -> None:
    with skipstone.attach(pipe := ToyPipeline(ToyModel(), branches=2), SAVING) as cache:
        pipe(guided_inputs(4))
    residuals, conditional, bands = 2 * 64, 64, 2 * 64
    assert cache.last_run.bytes_held == residuals + conditional + bands
    assert all(engine.bytes_held == 0 for engine in cache._engines)


def test_a_warmup_holds_for_guidance_too() -> None:
    with skipstone.attach(pipe := ToyPipeline(ToyModel(), branches=2), Warmup(SAVING, 4)) as cache:
        pipe(guided_inputs(9))
    assert cache.last_run.strip == "####+#++#"


def test_it_goes_with_a_method_that_skips_whole_steps() -> None:
    method = WithGuidance(FORA(2), replace(PLAIN, interval=4))
    inputs = drifting(8, 0.1)
    pairs = [[given, {**given, "temb": given["temb"] / 2}] for given in inputs]
    with skipstone.attach(pipe := ToyPipeline(ToyModel(), branches=2), method) as cache:
        pipe(pairs)
    assert cache.last_run.branches["transformer branch 0"] == {"computed": 4, "skipped": 4}
    assert cache.last_run.branches["transformer branch 1"] == {"computed": 1, "skipped": 7}
    assert "cfg-cache start 0, interval 4" in cache.method


# Pipelines

SEQUENTIAL = ("wan", "flux", "qwen", "wan-modular", "hunyuan-video-15", "flux-image-to-image", "lumina2")
BATCHED = (
    "cog-video-x",
    "cog-video-x-image-to-video",
    "sd3",
    "ltx",
    "mochi",
    "latte",
    "allegro",
    "pixart-sigma",
    "sana",
    "dit",
    "stable-diffusion",
    "stable-diffusion-xl",
    "animate-diff",
)
ALMOST_NEVER = CFGCache(start=0.0, interval=1000, low=0.0, high=0.0)


@pytest.mark.parametrize("name", [name for name in SEQUENTIAL if name in PIPELINES])
def test_pipelines_with_sequential_guidance(name: str) -> None:
    pipe = PIPELINES[name].make()
    bare = pipe()
    with skipstone.attach(pipe.pipe, WithGuidance(FORA(1), ALMOST_NEVER)) as cache:
        latents = pipe()
    run = cache.last_run
    assert run.strip == "#" + "+" * (run.steps - 1)
    assert [branch["skipped"] for branch in run.branches.values()] == [0, run.steps - 1]
    assert np.isfinite(np.asarray(latents)).all()
    assert np.array_equal(pipe(), bare)


@pytest.mark.parametrize("name", [name for name in BATCHED if name in PIPELINES])
def test_pipelines_with_batched_guidance(name: str) -> None:
    pipe = PIPELINES[name].make()
    bare = pipe()
    with skipstone.attach(pipe.pipe, WithGuidance(FORA(1), ALMOST_NEVER)) as cache:
        latents = pipe()
    run = cache.last_run
    assert run.strip == "#" + "+" * (run.steps - 1), run.notes
    assert run.parts == {"unconditional half": {"computed": 1, "skipped": run.steps - 1}}
    assert np.isfinite(np.asarray(latents)).all()
    assert np.array_equal(pipe(), bare)


@pytest.mark.parametrize("name", ["wan", "cog-video-x", "stable-diffusion"])
def test_guidance_that_is_always_computed_changes_nothing(name: str) -> None:
    pipe = PIPELINES[name].make()
    bare = pipe()
    with skipstone.attach(pipe.pipe, WithGuidance(FORA(1), CFGCache(interval=1))):
        assert torch.equal(pipe(), bare)


def test_the_conditional_half_is_computed_whichever_it_is() -> None:
    """DiT puts the class before the null class, all others put the prompt last."""
    pipe = PIPELINES["dit"].make()
    null = pipe.pipe.transformer.config.num_embeds_ada_norm
    method = WithGuidance(FORA(1), ALMOST_NEVER)
    with batches(pipe.pipe.transformer) as calls, skipstone.attach(pipe.pipe, method):
        pipe()
    assert len(calls[0]["class_labels"]) == 2 * len(calls[-1]["class_labels"])
    assert null not in calls[-1]["class_labels"].tolist()


@pytest.mark.parametrize("name", sorted(PIPELINES.keys() & {"flux-distilled", "flux2"}))
def test_a_model_with_distilled_guidance_is_said_to_have_no_branch(name: str) -> None:
    pipe = PIPELINES[name].make()
    with skipstone.attach(pipe.pipe, "fastercache") as cache:
        pipe()
    (note,) = [note for note in cache.last_run.notes if "unconditional" in note]
    assert note.startswith(
        "transformer: no unconditional branch was found that could be saved: guidance is off, distilled into"
    )


def test_skip_layer_guidance_is_not_taken_for_the_unconditional_branch() -> None:
    pipe = PIPELINES["sd3-skip-layer"].make()
    with skipstone.attach(pipe.pipe, WithGuidance(FORA(1), ALMOST_NEVER)) as cache:
        pipe()
    assert cache.last_run.branches["transformer branch 1"] == {"computed": 3, "skipped": 0}


@pytest.mark.parametrize("name", ["wan", "cog-video-x", "latte"])
def test_fastercache_saves_attention_and_branches(name: str) -> None:
    pipe = PIPELINES[name].make()
    method = FasterCache(start=0.2, guidance_start=0.2)
    with skipstone.attach(pipe.pipe, method) as cache:
        latents = pipe(num_inference_steps=10)
    run = cache.last_run
    assert run.parts["self attention"]["skipped"] > 0
    branch_skips = sum(branch["skipped"] for branch in run.branches.values())
    assert branch_skips + run.parts.get("unconditional half", {"skipped": 0})["skipped"] == 6
    assert run.strip.startswith("##")
    assert np.isfinite(np.asarray(latents)).all()


PACKED: dict[str, tuple[dict[str, int], tuple[int, ...]]] = {
    "flux": ({"height": 16, "width": 32}, (8, 16)),
    "qwen": ({"height": 64, "width": 32}, (1, 4, 2)),
    "ltx": ({"height": 64, "width": 96, "num_frames": 9}, (2, 2, 3)),
}
"""Arguments of a run, and the rows and columns of its latents."""


@pytest.mark.parametrize("name", [name for name in PACKED if name in PIPELINES])
def test_packed_latents_are_split_on_their_grid(name: str) -> None:
    """Tokens are laid out in the rows and columns that the model is told, and back."""
    pipe, (kwargs, planes) = PIPELINES[name].make(), PACKED[name]
    seen: set[tuple[int, ...]] = set()

    class Watching(CFGCache):
        """Notes what it is given to split."""

        def split(self, difference: Tensor) -> Any:
            seen.add(tuple(difference.shape[2:]))
            return super().split(difference)

    with skipstone.attach(pipe.pipe, WithGuidance(FORA(1), Watching(start=0.0))):
        pipe(**kwargs)
    assert seen == {planes}


def test_teacache_and_cfg_cache_together_on_a_batch() -> None:
    pipe = PIPELINES["cog-video-x"].make()
    with skipstone.attach(pipe.pipe, WithGuidance(TeaCache(threshold=0.0), PLAIN)) as cache:
        latents = pipe()
    assert "+" in cache.last_run.strip
    assert np.isfinite(np.asarray(latents)).all()
