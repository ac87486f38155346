"""Two processes: where they share a model they decide as one, where they do not each decides for itself."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from packaging.version import Version
from torch import Tensor

import skipstone
from skipstone import PAB, Cacher, DBCache, DeltaDiT, FasterCache, FirstBlock, TeaCache, TGate
from skipstone.cachers.contract.coordinates import Coordinates
from skipstone.cachers.contract.words import Layer
from support import tiny
from support.methods import blocks, planned, smooth
from support.processes import (
    OneRankRefuses,
    OneRankRefusesOutputs,
    OneRankRefusesUnasked,
    OneRankRefusesUnseen,
    PlannedRuns,
    cached_run,
    flux,
    moving,
    planned_runs,
    prepared_run,
    read_in_parts,
    reasons_of_a_compiled_shared_run,
    reasons_of_a_shared_run,
    reasons_where_one_check_fails,
    reasons_with_spread_weights,
    refusal_of_flattened_weights,
    run_twice,
    runs_of_spread_weights,
    share,
    share_as_told,
    shared_runs,
    split_prompts,
    spread_weights,
    strip_of_an_own_run,
    whole_tokens,
)

needs_context_parallel = pytest.mark.skipif(
    not hasattr(diffusers, "ContextParallelConfig"), reason="this diffusers has no context parallelism"
)
spreads_weights = pytest.mark.skipif(
    Version(torch.__version__) < Version("2.7"), reason="torch 2.6 spreads weights over accelerators only"
)


@needs_context_parallel
@pytest.mark.parametrize("attached_first", [False, True], ids=["shared first", "attached first"])
def test_a_shared_run_equals_that_of_one_process(attached_first: bool) -> None:
    methods = [FirstBlock(1e9), TeaCache(1e9), TeaCache(0.0), planned(8, 2)]
    alone = []
    for method in methods:
        with skipstone.attach((pipe := flux()).pipe, method):
            alone.append(pipe())
    for shared in run_twice(functools.partial(shared_runs, flux, methods, attached_first)):
        for output, expected in zip(shared, alone, strict=True):
            assert (output - expected).norm() <= 1e-5 * expected.norm()


@needs_context_parallel
def test_a_block_that_splits_its_input_runs_on_every_step_and_the_others_do_not() -> None:
    """Wan's first block takes the whole and returns a part, so First Block's head is the one after it."""
    alone = []
    for method in (TeaCache(0.0), DBCache(threshold=1e9, blocks=2, warmup=0)):
        with skipstone.attach((pipe := tiny.wan()).pipe, method):
            alone.append(pipe())
    methods = [TeaCache(0.0), FirstBlock(1e9)]
    for shared in run_twice(functools.partial(shared_runs, tiny.wan, methods, True)):
        for output, expected in zip(shared, alone, strict=True):
            assert (output - expected).norm() <= 1e-5 * expected.norm()


BY_LAYER = [
    PAB(2, 3, 4, from_timestep=1e9, until_timestep=-1e9),
    TGate(gate=4, interval=2, interval_after=3, warmup=1),
    FasterCache(start=0.2, guidance_start=0.2, guidance_interval=3),
    DeltaDiT(2, share=0.75),
    blocks(0.2),
    smooth(0.3),
]
"""Methods that decide for each layer, or for each range of blocks."""


def by_layer_alone(make: Callable[[], tiny.Tiny], methods: list[Cacher[Any]]) -> list[Tensor]:
    """The outputs of a run with each method in one process, all of which skip something."""
    outputs, bare = [], make()()
    for method in methods:
        with skipstone.attach((pipe := make()).pipe, method) as cache:
            outputs.append(pipe())
        assert any(part["skipped"] for part in cache.last_run.parts.values())
        assert not torch.equal(outputs[-1], bare)
    return outputs


@pytest.fixture(scope="module")
def layers_alone() -> list[Tensor]:
    """The outputs of one process with each of the methods."""
    return by_layer_alone(flux, BY_LAYER)


@needs_context_parallel
@pytest.mark.parametrize("attached_first", [False, True], ids=["shared first", "attached first"])
def test_layers_of_a_shared_run_are_skipped_as_in_one_process(
    attached_first: bool, layers_alone: list[Tensor]
) -> None:
    """They decide by the step, so both processes skip the same attentions, which talk to each other."""
    for shared in run_twice(functools.partial(shared_runs, flux, BY_LAYER, attached_first)):
        for method, output, expected in zip(BY_LAYER, shared, layers_alone, strict=True):
            assert (output - expected).norm() <= 1e-5 * expected.norm(), method.name


class AllButTheFirst(DeltaDiT):
    """Skips the first block never."""

    def for_layer(self, layer: Layer) -> Any:
        return super().for_layer(layer) if layer.block else None


@needs_context_parallel
def test_a_first_block_that_splits_its_input_runs_where_others_are_skipped_one_by_one() -> None:
    """So it does in Wan. Its attentions take parts like all others, and are skipped."""
    alone = by_layer_alone(tiny.wan, [PAB(2, 3, 4, 1e9, -1e9), AllButTheFirst(2, share=1.0)])
    methods = [PAB(2, 3, 4, 1e9, -1e9), DeltaDiT(2, share=1.0)]
    for shared in run_twice(functools.partial(shared_runs, tiny.wan, methods, True)):
        for method, output, expected in zip(methods, shared, alone, strict=True):
            assert (output - expected).norm() <= 1e-5 * expected.norm(), method.name


@needs_context_parallel
@pytest.mark.parametrize(
    "method",
    [OneRankRefuses(), OneRankRefusesOutputs(), OneRankRefusesUnseen(), OneRankRefusesUnasked()],
    ids=["stack", "output", "unseen", "attention"],
)
def test_one_process_that_computes_makes_all_compute(method: FirstBlock) -> None:
    """Without it the two would wait for each other in an attention that only one of them runs."""
    skips, computes = run_twice(functools.partial(reasons_of_a_shared_run, method))
    assert skips == {"first step": 2, "another process of the group computes": 14}
    assert computes == {"first step": 2, "the change reached the threshold": 14}


@needs_context_parallel
def test_one_process_that_computes_makes_all_compute_where_the_model_is_compiled() -> None:
    """They decide before the model runs, by no tensor of the sample that is known then."""
    work = functools.partial(reasons_of_a_compiled_shared_run, OneRankRefusesUnasked())
    skips, computes = run_twice(work)
    assert skips == {"first step": 2, "another process of the group computes": 14}
    assert computes == {"first step": 2, "the change reached the threshold": 14}


@needs_context_parallel
def test_one_process_whose_check_of_the_stack_fails_makes_all_leave_it() -> None:
    """Without it one would ask the other for a decision that is no longer made."""
    everywhere = {"the block stack is not understood": 16}
    assert run_twice(functools.partial(reasons_where_one_check_fails, FirstBlock(1e9))) == [everywhere] * 2


@pytest.fixture(scope="module")
def planned_alone(tmp_path_factory: pytest.TempPathFactory) -> PlannedRuns:
    """The runs of one process."""
    return planned_runs(tmp_path_factory.mktemp("alone"), id, 0)


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(share, marks=needs_context_parallel),
        pytest.param(spread_weights, marks=spreads_weights),
        share_as_told,
    ],
    ids=["context", "weights", "told"],
)
def test_a_shared_model_is_planned_as_by_one_process(
    way: Callable[[Any], None], planned_alone: PlannedRuns, tmp_path: Path
) -> None:
    """One process records and keeps the record; the other has no file, and follows the same plan."""
    first, second = run_twice(functools.partial(planned_runs, tmp_path / "shared", way))
    assert first.strips == second.strips == planned_alone.strips
    assert [strip.count(".") > 0 for strip in first.strips] == [False, True, True]
    assert first.plan == second.plan == planned_alone.plan
    assert first.tried == second.tried
    assert (first.files, second.files) == (1, 0)
    for shared in (first, second):
        assert (shared.output - planned_alone.output).norm() <= 1e-5 * planned_alone.output.norm()


@spreads_weights
def test_weights_spread_over_processes_are_cached_as_in_one() -> None:
    """Probes are read outside the calls that gather weights; Wan's and FLUX's norms have some."""
    methods = [FirstBlock(1e9), TeaCache(1e9)]
    for make in (flux, tiny.wan):
        alone = []
        for method in methods:
            with skipstone.attach((pipe := make()).pipe, method):
                alone.append(pipe())
        for spread in run_twice(functools.partial(runs_of_spread_weights, make, methods)):
            for output, expected in zip(spread, alone, strict=True):
                assert (output - expected).norm() <= 1e-5 * expected.norm()


@spreads_weights
def test_one_process_that_computes_makes_all_gather_their_weights() -> None:
    skips, computes = run_twice(functools.partial(reasons_with_spread_weights, OneRankRefuses()))
    assert skips == {"first step": 2, "another process of the group computes": 14}
    assert computes == {"first step": 2, "the change reached the threshold": 14}


def test_weights_flattened_by_a_wrapper_are_refused() -> None:
    for refusal in run_twice(refusal_of_flattened_weights):
        assert "FluxPipeline.transformer is wrapped in FullyShardedDataParallel" in refusal


def test_coordinates_of_parts_are_those_of_the_whole() -> None:
    expected = Coordinates(64).of(whole_tokens())
    assert not expected.isfinite().all()
    for seen in run_twice(read_in_parts):
        assert torch.equal(seen, expected)


def test_processes_with_samples_of_their_own_decide_for_themselves() -> None:
    assert run_twice(strip_of_an_own_run) == ["#....", "#####"]


@pytest.mark.parametrize(
    ("species", "method"), [("WanTransformer3DModel", FirstBlock(0.1)), ("LatteTransformer3DModel", "pab")]
)
def test_a_model_that_accelerate_makes_data_parallel_is_known_for_what_it_is(
    species: str, method: Any
) -> None:
    """It is wrapped; settings go by the class inside, and each process decides by its own sample."""
    alone = [cached_run(moving(species, rank), method) for rank in range(2)]
    shared = run_twice(functools.partial(prepared_run, species, method))
    for (wrapper, run, outputs), (expected, as_alone) in zip(shared, alone, strict=True):
        assert wrapper == "DistributedDataParallel"
        assert (run.method, run.strip, run.notes) == (expected.method, expected.strip, expected.notes)
        assert set(run.strip) > {"#"}
        assert all(torch.equal(a, b) for a, b in zip(outputs, as_alone, strict=True))
    if method == "pab":
        assert "spatial 2, temporal 3, cross 6" in shared[0][1].method
    else:
        assert alone[0][0].strip != alone[1][0].strip


def test_prompts_that_accelerate_splits_are_made_as_in_one_process() -> None:
    """Three prompts for two processes: the second one gets one."""
    method, alone = FirstBlock(0.1), []
    for seed in range(3):
        with skipstone.attach((pipe := tiny.wan()).pipe, method) as cache:
            alone.append((pipe(prompt_embeds=tiny._embeds(1, 6, 8, seed=seed)), cache.last_run.strip))
    first, second = run_twice(functools.partial(split_prompts, method))
    assert [seed for seed, *_ in (*first, *second)] == [0, 1, 2]
    assert len(first) == 2
    for (_, strip, latents), (expected, as_alone) in zip((*first, *second), alone, strict=True):
        assert strip == as_alone
        assert torch.equal(latents, expected)
