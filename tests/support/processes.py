"""What two processes do in the tests of parallel runs: a module of its own, for they import it by name."""

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import accelerate
import diffusers
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

import skipstone
from skipstone import Cacher, FirstBlock, RunStats
from skipstone.cachers import Probe, Reason, Site, Step
from skipstone.pipelines import model_run
from skipstone.pipelines.memory.shared_coordinates import SharedCoordinates
from skipstone.pipelines.model.blocks import block_lists
from skipstone.pipelines.planning import autoplan
from skipstone.pipelines.run.ranks import shared_by
from skipstone.pipelines.run.stats import RunLog
from skipstone.schedules.search import Target, find
from support import tiny
from support.toy import ToyModel, ToyPipeline, constant, drifting
from support.zoo import ZOO

LOADED = (diffusers.FluxPipeline, diffusers.WanPipeline)
"""What most processes use: loaded before they are forked, and not in each of them."""


def run_twice(work: Callable[[int], Any]) -> list[Any]:
    """What two processes return that are joined by gloo over the loopback.

    They are forks of one process that has imported this module and done nothing else.
    """
    multiprocessing.set_forkserver_preload([__name__])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The process that is forked finds its modules by the environment alone.
    path = mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    with path, mp.Manager() as manager:
        results = manager.dict()
        mp.start_processes(_joined, (port, work, results), nprocs=2, start_method="forkserver")
        return [results[rank] for rank in range(2)]


def _joined(rank: int, port: int, work: Callable[[int], Any], results: Any) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    # Processes that wait for each other fail, and do not hang.
    dist.init_process_group("gloo", rank=rank, world_size=2, timeout=timedelta(minutes=30))
    results[rank] = work(rank)
    dist.destroy_process_group()


def flux() -> tiny.Tiny:
    """Text and image tokens that divide by two."""
    pipe = tiny.flux()
    pipe.kwargs.update(
        prompt_embeds=tiny._embeds(1, 6, 8), negative_prompt_embeds=tiny._embeds(1, 6, 8, seed=1)
    )
    pipe.kwargs.update(height=16, width=16)
    return pipe


def share(model: Any) -> None:
    """Ulysses attention over both processes."""
    torch.accelerator.device_count = lambda: 1  # diffusers counts accelerators; gloo needs none.
    model.enable_parallelism(config=diffusers.ContextParallelConfig(ulysses_degree=2))


def share_as_told(model: Any) -> None:
    """Whole copies in both processes, which a program says to serve each request together."""
    shared_by(model, dist.group.WORLD)


def shared_runs(
    make: Callable[[], tiny.Tiny], methods: list[Cacher[Any]], attached_first: bool, _: int
) -> list[Tensor]:
    """The outputs of a run with each method."""
    outputs = []
    for method in methods:
        pipe = make()
        if not attached_first:
            share(pipe.pipe.transformer)
        with skipstone.attach(pipe.pipe, method):
            if attached_first:
                share(pipe.pipe.transformer)
            outputs.append(pipe())
    return outputs


def spread_weights(model: Any) -> None:
    """Each block's weights, and what is left of the model's, over both processes."""
    for blocks in block_lists(model).values():
        for block in blocks:
            fully_shard(block)
    fully_shard(model)


def runs_of_spread_weights(make: Callable[[], tiny.Tiny], methods: list[Cacher[Any]], _: int) -> list[Tensor]:
    """The outputs of a run with each method."""
    outputs = []
    for method in methods:
        pipe = make()
        spread_weights(pipe.pipe.transformer)
        with skipstone.attach(pipe.pipe, method):
            outputs.append(pipe())
    return outputs


def reasons_with_spread_weights(method: Cacher[Any], _: int) -> dict[str, int]:
    pipe = flux()
    spread_weights(pipe.pipe.transformer)
    with skipstone.attach(pipe.pipe, method) as cache:
        pipe()
    return cache.last_run.reasons


def refusal_of_flattened_weights(_: int) -> str:
    pipe = flux()
    pipe.pipe.transformer = FullyShardedDataParallel(pipe.pipe.transformer, device_id=torch.device("cpu"))
    try:
        skipstone.attach(pipe.pipe, FirstBlock())
    except ValueError as refusal:
        return str(refusal)
    return "attached"


class OneRankRefuses(FirstBlock):
    """Skips everything in one process and computes everything in the other."""

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: Any) -> Any:
        strict = FirstBlock(0.0) if dist.get_rank() else FirstBlock(1e9)
        return strict.reason_to_compute(probe, step, state)


class OneRankRefusesOutputs(OneRankRefuses):
    """The same for the whole output, by the model's input."""

    site = Site.OUTPUT
    head_blocks = 0
    probe = Probe.MODEL_INPUT


class OneRankRefusesUnseen(OneRankRefuses):
    """The same for the whole output, by something that the engine does not see."""

    site = Site.OUTPUT
    head_blocks = 0
    probe = Probe.NONE

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: Any) -> Any:
        if step.is_first:
            return Reason.FIRST_STEP
        return Reason.CHANGED if dist.get_rank() else None


class OneRankRefusesUnasked(OneRankRefuses):
    """The same without a probe, by what it was shown of an attention."""

    head_blocks = 0
    probe = Probe.NONE
    watches_attention = True

    def reason_to_compute(self, probe: Tensor | None, step: Step, state: Any) -> Any:
        later = Reason.CHANGED if dist.get_rank() else None
        return Reason.FIRST_STEP if step.is_first else later


def reasons_of_a_shared_run(method: Cacher[Any], _: int) -> dict[str, int]:
    pipe = flux()
    share(pipe.pipe.transformer)
    with skipstone.attach(pipe.pipe, method) as cache:
        pipe()
    return cache.last_run.reasons


def reasons_of_a_compiled_shared_run(method: Cacher[Any], _: int) -> dict[str, int]:
    pipe = flux()
    share(pipe.pipe.transformer)
    pipe.pipe.transformer.compile(backend="eager")
    with skipstone.attach(pipe.pipe, method) as cache:
        pipe()
    return cache.last_run.reasons


def reasons_where_one_check_fails(method: Cacher[Any], rank: int) -> dict[str, int]:
    """Of a shared run in which the second process alone finds that a replay differs."""
    with mock.patch.object(model_run, "alike", return_value=rank == 0):
        return reasons_of_a_shared_run(method, rank)


@dataclass
class PlannedRuns:
    """Three runs with a speedup: recorded, planned, and planned by a handle of its own.

    Args:
        strips: which steps each of them computed.
        output: of the last one.
        plan: of a record that is asked for by itself.
        tried: of the same record, with runs that compare candidates.
        files: how many records were kept.
    """

    strips: list[str]
    output: Tensor
    plan: str
    tried: str
    files: int


def planned_runs(folder: Path, share: Callable[[Any], None], rank: int) -> PlannedRuns:
    """Runs of a pipeline that plans on the go, where each process keeps its records apart."""
    pipe, strips, records = flux(), [], folder / str(rank)
    share(pipe.pipe.transformer)
    free = mock.patch.object(RunLog, "skip_cost", return_value=0.0)
    apart = mock.patch.object(autoplan, "records_folder", return_value=records)
    with free, apart:
        for runs in (2, 1):
            with skipstone.attach(pipe.pipe, speedup=1.5) as cache:
                for _ in range(runs):
                    output = pipe()
                    strips.append(cache.last_run.strip)
        noise = torch.Generator().manual_seed(0)
        record = skipstone.record(pipe.pipe, **pipe.kwargs, generator=noise)
        plan, tried = find(record, Target(computed=5)), record.plan(computed=5)
    return PlannedRuns(strips, output, plan.strip, tried.strip, len(list(records.glob("*.json"))))


def read_in_parts(rank: int) -> Tensor:
    """What coordinates show of the first or the second part of eleven tokens."""
    part = whole_tokens()[:, :5] if rank == 0 else whole_tokens()[:, 5:]
    return SharedCoordinates(64, dist.group.WORLD).of(part)


def whole_tokens() -> Tensor:
    """Tokens of which the last one is not finite, ``(batch, tokens, dim)``."""
    tokens = torch.randn(2, 11, 3, generator=torch.Generator().manual_seed(0))
    tokens[:, -1] = torch.inf
    return tokens


def accelerated() -> None:
    """Let ``accelerate`` find the processes that are joined already, on the CPU, with a thread each."""
    rank = str(dist.get_rank())
    os.environ.update(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2", ACCELERATE_USE_CPU="true")
    os.environ["OMP_NUM_THREADS"] = "1"


def prepared_run(species: str, method: Any, rank: int) -> tuple[str, RunStats, list[Tensor]]:
    """A cached run of a model that is made data parallel, with a sample of this process's own."""
    accelerated()
    pipe = moving(species, rank)
    pipe.pipe.transformer = accelerate.Accelerator(cpu=True).prepare(pipe.pipe.transformer)
    return type(pipe.pipe.transformer).__name__, *cached_run(pipe, method)


@dataclass
class Moving:
    """A toy pipeline around a model of the zoo, and what it is called with."""

    pipe: ToyPipeline
    inputs: list[dict[str, Any]]


def moving(species: str, sample: int) -> Moving:
    """Latents that move, the further the higher the sample's number."""
    inputs = [ZOO[species].call() for _ in range(12)]
    for n, one in enumerate(inputs):
        one["hidden_states"] = one["hidden_states"] * (1 + 0.1 * n * (1 + 2 * sample))
    return Moving(ToyPipeline(ZOO[species].model()), inputs)


def cached_run(moving: Moving, method: Any) -> tuple[RunStats, list[Tensor]]:
    with torch.no_grad(), skipstone.attach(moving.pipe, method) as cache:
        outputs = moving.pipe(moving.inputs)
    return cache.last_run, [output[0] for output in outputs]


def split_prompts(method: Cacher[Any], _: int) -> list[tuple[int, str, Tensor]]:
    """The cached runs of this process's part of three prompts."""
    accelerated()
    runs = []
    with accelerate.PartialState(cpu=True).split_between_processes([0, 1, 2]) as seeds:
        pipe = tiny.wan()
        with skipstone.attach(pipe.pipe, method) as cache:
            for seed in seeds:
                latents = pipe(prompt_embeds=tiny._embeds(1, 6, 8, seed=seed))
                runs.append((seed, cache.last_run.strip, latents))
    return runs


def strip_of_an_own_run(rank: int) -> str:
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad(), skipstone.attach(pipe, FirstBlock(0.1)) as cache:
        pipe(drifting(5, 0.5) if rank else constant(5))
    return cache.last_run.strip
