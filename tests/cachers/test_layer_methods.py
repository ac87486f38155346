"""Methods that skip layers by the step: against their rules worked out again, and against diffusers' own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import PyramidAttentionBroadcastConfig, apply_pyramid_attention_broadcast

import skipstone
from skipstone import PAB, Cacher, DeltaDiT, TGate
from skipstone.cachers import Step
from skipstone.cachers.contract.words import Layer, LayerKind, ModelFacts
from support import tiny
from support.toy import ToyModel, ToyPipeline, drifting

SELF, TEMPORAL, CROSS, BLOCK = (
    LayerKind.SELF_ATTENTION,
    LayerKind.TEMPORAL_ATTENTION,
    LayerKind.CROSS_ATTENTION,
    LayerKind.BLOCK,
)
TIMES = np.linspace(999, 0, 30)


def computed(method: Cacher[Any], layer: Layer, times: np.ndarray = TIMES) -> np.ndarray:
    """On which steps a layer runs; the first one always does."""
    rule = method.for_layer(layer)
    assert rule is not None
    steps = [Step(index, len(times), float(time)) for index, time in enumerate(times)]
    return np.array([rule.reason_to_compute(None, s, rule.new_state()) is not None for s in steps])


def layer(kind: LayerKind, block: int = 0, blocks: int = 8) -> Layer:
    return Layer(kind, f"blocks.{block}", block, blocks)


@pytest.mark.parametrize(("kind", "interval"), [(SELF, 2), (TEMPORAL, 3), (CROSS, 5)])
def test_pab_broadcasts_within_its_window(kind: LayerKind, interval: int) -> None:
    method = PAB(spatial=2, temporal=3, cross=5, from_timestep=800, until_timestep=100)
    count = np.arange(len(TIMES))
    broadcasts = (count % interval != 0) & (TIMES > 100) & (TIMES < 800)
    assert np.array_equal(computed(method, layer(kind)), ~broadcasts)
    assert 0 < broadcasts.sum() < len(TIMES)


def test_pab_takes_the_official_settings_of_a_model_and_keeps_what_is_given() -> None:
    assert PAB().for_model(ModelFacts("LatteTransformer3DModel")) == PAB(2, 3, 6, 800.0, 100.0)
    assert PAB().for_model(ModelFacts("SomeModel")) == PAB(2, 4, 6, 850.0, 100.0)
    assert PAB(cross=9).for_model(ModelFacts("LatteTransformer3DModel")) == PAB(2, 3, 9, 800.0, 100.0)


@pytest.mark.parametrize("gate", [1, 4, 10, 40])
@pytest.mark.parametrize(("interval", "after", "warmup"), [(5, 1, 2), (3, 2, 0), (4, 6, 30)])
def test_tgate_follows_the_schedule_of_the_original(
    gate: int, interval: int, after: int, warmup: int
) -> None:
    method = TGate(gate, interval, after, warmup)
    cross, own = [], []
    for step in range(30):
        if step < gate - 1:
            cross.append(True)
            own.append(step <= warmup or step % interval == 0)
        elif step == gate - 1:
            cross.append(True)
            own.append(True)
        else:
            cross.append(False)
            own.append(step % after == 0)
    assert computed(method, layer(CROSS)).tolist() == cross
    assert computed(method, layer(SELF)).tolist() == own


@pytest.mark.parametrize(("interval", "share", "switch"), [(2, 0.75, 0.6), (3, 0.25, 0.5), (4, 1.0, 0.0)])
def test_delta_dit_skips_rear_blocks_early_and_front_blocks_late(
    interval: int, share: float, switch: float
) -> None:
    blocks, cached = 8, int(8 * share)
    for block in range(blocks):
        expected = []
        for step in range(30):
            skippable = range(blocks - cached, blocks) if step / 30 < switch else range(cached)
            expected.append(step % interval == 0 or block not in skippable)
        assert computed(DeltaDiT(interval, share, switch), layer(BLOCK, block)).tolist() == expected


def test_delta_dit_adds_what_the_skipped_blocks_added_to_the_newest_input() -> None:
    """Three blocks that add 1, 2 and 3 times a growing ``temb``; the rear one is skipped, then the first."""
    pipe = ToyPipeline(ToyModel(3))
    with skipstone.attach(pipe, DeltaDiT(2, share=1 / 3, switch=0.5)) as cache:
        outputs = [output.unique().item() for output in pipe(drifting(4, 0.5))]
    assert outputs == [7.0, 1.5 * 4 + 3 * 1.0, 2.0 * 7, 2.5 * 6 + 1 * 2.0]
    assert cache.last_run.parts == {"block": {"computed": 10, "skipped": 2}}


def test_an_empty_range_of_timesteps_is_named() -> None:
    with pytest.raises(ValueError, match="until_timestep < from_timestep, got 5 and 5"):
        PAB(from_timestep=5, until_timestep=5)


@contextmanager
def counted(pipe: Any, name: str) -> Iterator[list[int]]:
    """How often the attentions of a name ran on each step."""
    runs: list[int] = []

    class Counting:
        """Counts the calls of an attention processor."""

        def __init__(self, processor: Any) -> None:
            self.processor = processor

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            runs[-1] += 1
            return self.processor(*args, **kwargs)

    attentions = [part for path, part in pipe.transformer.named_modules() if path.endswith(name)]
    plain: list[Callable[..., Any]] = [attention.processor for attention in attentions]
    handle = pipe.transformer.register_forward_pre_hook(lambda *_: runs.append(0))
    for attention, processor in zip(attentions, plain, strict=True):
        attention.processor = Counting(processor)
    yield runs
    handle.remove()
    for attention, processor in zip(attentions, plain, strict=True):
        attention.processor = processor


def diffusers_pab(pipe: Any) -> None:
    apply_pyramid_attention_broadcast(
        pipe.transformer,
        PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=2,
            cross_attention_block_skip_range=4,
            spatial_attention_timestep_skip_range=(200, 900),
            cross_attention_timestep_skip_range=(200, 900),
            current_timestep_callback=lambda: pipe.current_timestep,
        ),
    )


OURS = PAB(spatial=2, cross=4, from_timestep=900, until_timestep=200)


@pytest.mark.parametrize(
    ("make", "kwargs", "names"),
    [(tiny.cogvideox, {}, ["attn1"]), (tiny.wan, {"guidance_scale": 1.0}, ["attn1", "attn2"])],
    ids=["cogvideox", "wan without guidance"],
)
def test_pab_agrees_with_that_of_diffusers(make: Any, kwargs: Any, names: list[str]) -> None:
    """Where a step is one call of the model: it has one memory for both branches of sequential guidance."""
    for name in names:
        ours, theirs = make(), make()
        diffusers_pab(theirs.pipe)
        with counted(theirs.pipe, name) as runs_of_theirs:
            expected = theirs(num_inference_steps=12, **kwargs)
        with counted(ours.pipe, name) as runs, skipstone.attach(ours.pipe, OURS):
            latents = ours(num_inference_steps=12, **kwargs)
        assert runs == runs_of_theirs
        assert 0 in runs
        torch.testing.assert_close(latents, expected)
