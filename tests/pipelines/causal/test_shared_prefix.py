"""Shared prefix on SkyReels-V2's diffusion forcing: fewer blocks of frames, the same video."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import accelerate
import diffusers as d
import pytest
import torch

import skipstone
from skipstone import FORA, PAB, CFGCache, FirstBlock, TeaCache, WithGuidance, WithSharedPrefix
from skipstone.pipelines.causal import shared_prefix
from skipstone.pipelines.causal.forcing import Forcing
from skipstone.testing.on_pipelines import footprint
from support.forcing import SHORT, blocks, forcing, needs_skyreels, same, shared
from support.tiny_pipelines import PIPELINES
from support.tiny_pipelines.parts import pair, photo

pytestmark = needs_skyreels

IMAGE, VIDEO = (
    d.SkyReelsV2DiffusionForcingImageToVideoPipeline,
    d.SkyReelsV2DiffusionForcingVideoToVideoPipeline,
)
LONG = {"num_frames": 45, "base_num_frames": 21, "overlap_history": 9, "ar_step": 3}


@pytest.mark.parametrize(
    ("settings", "computed", "left_out"),
    [
        # Three blocks of six steps, and two of them once more when they are finished, in two branches.
        ({}, 2 * (3 * 6 + 2), 2 * (3 * 12 - 20)),
        ({"ar_step": 6}, 2 * (3 * 6 + 2), 2 * (3 * 18 - 20)),
        ({"ar_step": 1}, 2 * (3 * 6 + 2), 2 * (3 * 8 - 20)),
        ({"guidance_scale": 1.0}, 3 * 6 + 2, 3 * 12 - 20),
        ({"num_frames": 57, "base_num_frames": 57, "causal_block_size": 5}, 2 * 20, 2 * 16),
        ({"num_inference_steps": 1, "ar_step": 1}, 2 * 5, 2 * 4),
    ],
)
def test_the_video_is_the_same_by_fewer_blocks(
    settings: dict[str, Any], computed: int, left_out: int
) -> None:
    run = forcing(**settings)
    found, stats = shared(run)
    assert same(found, run.uncached)
    assert blocks(stats) == (computed, left_out)
    assert not stats.notes
    assert stats.speedup is None


def test_a_batch_of_two() -> None:
    run = forcing(**pair("prompt_embeds", 2, 6, 8))
    found, stats = shared(run)
    assert same(found, run.uncached)
    assert blocks(stats)[1] == 32


def test_a_model_in_bfloat16() -> None:
    """As near to the video in float32 as the model as it is written."""
    run = forcing()
    exact = run.uncached
    run.pipe.transformer.to(torch.bfloat16)
    rounded, (found, stats) = run(), shared(run)
    assert blocks(stats)[1] == 32
    assert (found - exact).norm() <= 1.5 * (rounded - exact).norm()


def test_a_long_video_with_overlap() -> None:
    """Each window begins with finished frames; it is a pass of its own."""
    run = forcing(**LONG)
    found, stats = shared(run)
    assert same(found, run.uncached)
    assert len(stats.passes) > 1
    assert all(blocks(one)[1] for one in stats.passes)
    assert not stats.notes


@pytest.mark.parametrize("cls", [IMAGE, VIDEO])
@pytest.mark.parametrize("settings", [SHORT, LONG])
def test_from_an_image_and_from_a_video(cls: type[Any], settings: dict[str, int]) -> None:
    clip = {"video": [photo() for _ in range(9)], "overlap_history": 9}
    given: dict[str, Any] = {"image": photo()} if cls is IMAGE else clip
    run = forcing(cls, **{**given, **settings})
    found, stats = shared(run)
    assert same(found, run.uncached)
    assert blocks(stats)[1]


def test_noise_on_finished_frames_is_computed_and_named() -> None:
    """The noise is drawn without a generator, from the same seed here."""
    run = forcing(**LONG, addnoise_condition=20)

    def seeded(make: Callable[[], Any]) -> Any:
        torch.manual_seed(0)
        return make()

    expected = seeded(run)
    found, stats = seeded(lambda: shared(run))
    assert same(found, expected)
    assert any("noise is added to them" in note for note in stats.notes)


def test_compiled_blocks_work() -> None:
    run = forcing(num_inference_steps=1, ar_step=1, guidance_scale=1.0)
    run.uncached  # noqa: B018
    run.pipe.transformer.blocks[1].compile(backend="eager", dynamic=False)
    found, stats = shared(run)
    assert same(found, run.uncached)
    assert blocks(stats) == (5, 4)


def test_a_model_that_is_compiled_as_a_whole_is_computed_and_named() -> None:
    run = forcing()
    run.uncached  # noqa: B018
    # As compile() leaves it, without waiting for a compiler.
    run.pipe.transformer._compiled_call_impl = run.pipe.transformer._call_impl
    found, stats = shared(run)
    assert same(found, run.uncached)
    assert "it is compiled as a whole, so all blocks of frames are computed" in stats.notes


def test_frames_that_see_later_ones_are_computed_and_named() -> None:
    run = forcing(causal_block_size=1, ar_step=1)
    found, stats = shared(run)
    assert torch.equal(found, run.uncached)
    assert "frame block" not in stats.parts
    assert any("its frames see later ones" in note for note in stats.notes)


def test_synchronous_steps_leave_out_nothing_and_say_so() -> None:
    run = forcing(ar_step=0)
    found, stats = shared(run)
    assert same(found, run.uncached)
    assert stats.parts["frame block"] == {"computed": 2 * 6 * 3, "skipped": 0}
    assert any("every step changes all blocks" in note for note in stats.notes)


def test_a_window_that_moves_is_followed() -> None:
    """Its finished frames are computed again, and kept until it moves on."""
    run = forcing(num_frames=57, base_num_frames=57, ar_step=4)
    plain = type(run.pipe).generate_timestep_matrix

    class Narrow(type(run.pipe)):  # type: ignore[misc]
        def generate_timestep_matrix(self, frames: int, steps: Any, base: int, *args: Any) -> Any:
            return plain(self, frames, steps, 9, *args)

    run.pipe.__class__ = Narrow
    found, stats = shared(run)
    assert same(found, run.uncached)
    assert any("the window of frames moved" in note for note in stats.notes)


def test_nothing_is_kept_after_a_run_or_after_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    run, made = forcing(), list["weakref.ref[Forcing]"]()

    class Seen(Forcing):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(weakref.ref(self))

    monkeypatch.setattr(shared_prefix, "Forcing", Seen)

    def fail(pipe: Any, step: int, *args: Any) -> dict[str, Any]:
        if step == 8:
            assert kept_anywhere()
            raise KeyboardInterrupt
        return {}

    def kept_anywhere() -> bool:
        gc.collect()
        return any(loop() is not None for loop in made)

    run.uncached  # noqa: B018
    before = footprint(run.pipe)
    with skipstone.attach(run.pipe, "shared-prefix") as cache:
        first = run()
        assert cache.last_run.bytes_held > 0
        assert not kept_anywhere()
        with pytest.raises(KeyboardInterrupt):
            run(callback_on_step_end=fail)
        assert not kept_anywhere()
        assert torch.equal(run(), first)
    assert footprint(run.pipe) == before
    assert torch.equal(run(), run.uncached)


@pytest.mark.parametrize(
    "method",
    [
        FORA(2),
        TeaCache(threshold=1e9),
        FirstBlock(threshold=1e9),
        PAB(2, 2, 2),
        WithGuidance(FORA(2), CFGCache()),
    ],
    ids=lambda method: method.name,
)
def test_it_goes_around_a_method_that_skips(method: Any) -> None:
    """Steps in which the frames of the others are no longer the same are computed."""
    run = forcing(num_inference_steps=12, ar_step=4)
    with skipstone.attach(run.pipe, WithSharedPrefix(method)) as cache:
        found = run()
    stats = cache.last_run
    assert torch.isfinite(found).all()
    assert not same(found, run.uncached)
    assert blocks(stats)[1] > 0
    assert stats.skipped or any(n["skipped"] for kind, n in stats.parts.items() if kind != "frame block")
    # Two blocks begin after the first one, each of the first two is kept once and then leaves.
    assert stats.strip[0] != "."
    assert all(stats.strip[step] != "." for step in (4, 8, 12, 13, 16, 17))


def test_around_a_method_that_computes_all_the_video_is_the_same() -> None:
    run = forcing()
    with skipstone.attach(run.pipe, WithSharedPrefix(FirstBlock(threshold=0.0))) as cache:
        assert same(run(), run.uncached)
    assert blocks(cache.last_run) == (40, 32)
    assert cache.last_run.method == "first-block threshold 0; shared-prefix"


def test_a_watcher_hears_every_step() -> None:
    run, heard = forcing(), list[int]()
    with skipstone.attach(run.pipe, "shared-prefix") as cache:
        cache.watch(lambda step, computed, skipped: heard.append(step.index))
        run()
    assert heard == list(range(12))


def test_another_attention_is_computed_as_written_and_named() -> None:
    run = forcing()
    kind = type(run.pipe.transformer.blocks[0].attn1.processor)

    class Mine(kind):  # type: ignore[misc, valid-type]
        pass

    run.pipe.transformer.blocks[1].attn1.set_processor(Mine())
    found, stats = shared(run)
    assert torch.equal(found, run.uncached)
    assert [note.partition(" is ")[2] for note in stats.notes] == [
        "Mine, so all blocks of frames are computed"
    ]


def test_offloaded_weights_and_fused_projections() -> None:
    run = forcing()
    run.pipe.transformer.blocks[0].attn1.fuse_projections()
    expected = run()
    for model in (run.pipe.transformer, run.pipe.vae):
        accelerate.cpu_offload(model, torch.device("cpu"))
    found, stats = shared(run)
    assert same(found, expected)
    assert blocks(stats) == (40, 32)


@pytest.mark.parametrize("name", ["wan", "flux", "skyreels-v2", "ltx"])
def test_pipelines_without_a_prefix_are_refused(name: str) -> None:
    pipe = PIPELINES[name].make().pipe
    before = footprint(pipe)
    with pytest.raises(ValueError, match=f"shared-prefix cannot work on {type(pipe).__name__}") as refused:
        skipstone.attach(pipe, "shared-prefix")
    assert "\n" not in str(refused.value)
    assert footprint(pipe) == before
