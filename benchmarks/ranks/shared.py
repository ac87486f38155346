"""A model that several processes share, with caches, against the same on one device, in one start.

The weights are random, and the same in every process. Each process first runs alone. Then the model is shared
and everything runs again: with as many gains as there should be, and the same pictures.
"""

import gc
import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diffusers
import numpy as np
import torch
from full_size import MODELS, SHORT
from ranks.joined import Asked, of_all, say
from step_cost import Loop, Run
from torch import Tensor

import skipstone
from skipstone import Cacher, FirstBlock, Planned, SeaCache
from skipstone.pipelines.model.blocks import block_lists
from skipstone.pipelines.planning import autoplan
from skipstone.schedules.record import Record

TRIES = 5
"""Runs that look for a threshold which computes about half of the steps."""

SPEEDUP = 1.8
"""What ``attach(speedup=...)`` is asked for."""


def ulysses(model: Any, count: int) -> None:
    model.enable_parallelism(config=diffusers.ContextParallelConfig(ulysses_degree=count))


def ring(model: Any, count: int) -> None:
    model.enable_parallelism(config=diffusers.ContextParallelConfig(ring_degree=count))


def tensor(model: Any, count: int) -> None:
    model.enable_parallelism(config=diffusers.TensorParallelConfig(tp_degree=count))


def weights(model: Any, count: int) -> None:
    from torch.distributed.fsdp import fully_shard

    for blocks in block_lists(model).values():
        for block in blocks:
            fully_shard(block)
    fully_shard(model)


WAYS: Mapping[str, Callable[[Any, int], None]] = {
    "ulysses": ulysses, "ring": ring, "tensor": tensor, "weights": weights,
}  # fmt: skip
"""How a model can be shared, by name."""

ATTENTION = {"ring": "_native_cudnn"}
"""The attention of a way that does not work with diffusers' default: that of the ring returns the sums."""


@dataclass(frozen=True)
class Timed:
    """The faster one of two runs: its seconds, its end, and which steps it computed."""

    seconds: float
    latents: Tensor
    strip: str = ""


def measure(asked: Asked) -> None:
    """All rows of all models and ways; one that cannot be shared gets a row that says why."""
    for name in asked.models:
        methods: dict[str, Cacher[Any]] = {}
        for way in asked.ways:
            try:
                _measure(asked, name, way, methods)
            except (RuntimeError, ValueError, NotImplementedError) as problem:
                why = f"{type(problem).__name__}: {problem}".splitlines()[0][:300]
                asked.write("shared", model=name, way=way, problem=why)
            gc.collect()
            if asked.device == "cuda":
                torch.cuda.empty_cache()


def _measure(asked: Asked, name: str, way: str, methods: dict[str, Cacher[Any]]) -> None:
    begin = time.perf_counter()
    spec = MODELS[name].shrunk() if asked.tiny else SHORT.get(name, MODELS[name])
    torch.manual_seed(0)
    loop = Loop(spec, asked.device)
    if way in ATTENTION and asked.device == "cuda":
        loop.transformer.set_attention_backend(ATTENTION[way])
    loop(2)
    say(f"{name}, {way}: made after {time.perf_counter() - begin:.0f} s")
    bare = _timed(loop, asked.steps, None)
    record = _record(loop, asked.steps)
    if not methods:
        methods.update(_methods(loop, asked.steps, record))
    alone = {key: _timed(loop, asked.steps, method) for key, method in methods.items()}
    say(f"{name}, {way}: ran alone after {time.perf_counter() - begin:.0f} s")
    WAYS[way](loop.transformer, asked.count)
    loop(2)
    shared = _timed(loop, asked.steps, None)
    facts = {"model": name, "makes": spec.makes, "way": way, "steps": asked.steps}
    asked.write("shared", **facts, method="none", **_compared(bare, shared, bare, shared))
    for key, method in methods.items():
        run = _timed(loop, asked.steps, method)
        asked.write("shared", **facts, method=key, **_compared(alone[key], run, bare, shared))
    asked.write("shared", **facts, method="speedup", **_planned(loop, asked.steps, record))
    say(f"{name}, {way}: done after {time.perf_counter() - begin:.0f} s")


def _timed(loop: Loop, steps: int, method: Cacher[Any] | None) -> Timed:
    """Two runs, of which the first one may compile kernels."""
    with nullcontext() if method is None else skipstone.attach(loop, method) as cache:
        runs: list[Run] = [loop(steps), loop(steps)]
        seconds, latents = min(run.seconds for run in runs), runs[-1].latents
        if cache is None:
            return Timed(seconds, latents)
        return Timed(seconds, latents, cache.last_run.strip)


def _record(loop: Loop, steps: int) -> Record:
    """The record of one run of a process alone."""
    with TemporaryDirectory() as folder:
        autoplan.records_folder = lambda: Path(folder)
        with skipstone.attach(loop, speedup=SPEEDUP):
            loop(steps)
        (path,) = Path(folder).glob("*.json")
        return skipstone.load_record(path)


def _methods(loop: Loop, steps: int, record: Record) -> dict[str, Cacher[Any]]:
    """A plan of half of the steps, and thresholds that compute about as many."""
    kinds: Mapping[str, Callable[[float], Cacher[Any]]] = {"first-block": FirstBlock, "seacache": SeaCache}
    found = {key: make(_threshold(loop, steps, make)) for key, make in kinds.items()}
    return {"plan": Planned(record.plan(computed=max(3, steps // 2))), **found}


def _threshold(loop: Loop, steps: int, make: Callable[[float], Cacher[Any]]) -> float:
    """A threshold that computes about half of the steps, by halving a range."""
    low, high = 1e-4, 1.0
    for _ in range(TRIES):
        middle = (low * high) ** 0.5
        with skipstone.attach(loop, make(middle)) as cache:
            loop(steps)
        computed = cache.last_run.strip.count("#")
        if computed == steps // 2:
            break
        low, high = (middle, high) if computed > steps // 2 else (low, middle)
    return middle


def _compared(alone: Timed, shared: Timed, bare: Timed, shared_bare: Timed) -> dict[str, Any]:
    """One method on one device and shared: times, decisions and pictures."""
    marks = of_all(hashlib.sha256(shared.strip.encode()).hexdigest()[:16])
    seconds = max(of_all(shared.seconds))
    without = max(of_all(shared_bare.seconds))
    ends = of_all(hashlib.sha256(shared.latents.float().cpu().numpy().tobytes()).hexdigest()[:16])
    return {
        "decided_alike": len(set(marks)) == 1,
        "ended_alike": len(set(ends)) == 1,
        "strip_alone": alone.strip,
        "strip": shared.strip,
        "seconds_alone": round(alone.seconds, 4),
        "seconds": round(seconds, 4),
        "gain_of_cache_alone": round(bare.seconds / alone.seconds, 4),
        "gain_of_cache": round(without / seconds, 4),
        "gain_of_both": round(bare.seconds / seconds, 4),
        "of_product": round(without * alone.seconds / (bare.seconds * seconds), 4),
        "difference": _difference(shared.latents, alone.latents),
        "from_uncached_alone": _difference(alone.latents, bare.latents),
        "from_uncached": _difference(shared.latents, shared_bare.latents),
    }


def _difference(made: Tensor, wanted: Tensor) -> float:
    """The relative difference of two ends, by their norms."""
    return float((made.float() - wanted.float()).norm() / wanted.float().norm())


def _planned(loop: Loop, steps: int, alone: Record) -> dict[str, Any]:
    """Runs with a speedup in a folder of each process's own, and how the record differs from one device's."""
    with TemporaryDirectory() as folder:
        autoplan.records_folder = lambda: Path(folder)
        with skipstone.attach(loop, speedup=SPEEDUP) as cache:
            strips = []
            for _ in range(3):
                seconds = loop(steps).seconds
                strips.append(cache.last_run.strip)
            notes = list(cache.last_run.notes)
        kept = [path for path in Path(folder).iterdir() if path.suffix == ".json"]
        record = skipstone.load_record(kept[0]) if kept else None
    files, all_strips = of_all(len(kept)), of_all(strips)
    budgets = range(3, steps)
    same = [record.plan(computed=n).strip == alone.plan(computed=n).strip for n in budgets] if record else []
    return {
        "decided_alike": all(one == all_strips[0] for one in all_strips),
        "strips": strips,
        "records_kept": files,
        "seconds": round(max(of_all(seconds)), 4),
        "same_plans": f"{sum(same)} of {len(same)}",
        "record_difference": None if record is None else _records_apart(record, alone),
        "notes": notes,
    }


def _records_apart(one: Record, other: Record) -> float:
    """The largest difference of two records' matrices, whose entries are at most about 1."""
    keys = set(one.moments) & set(other.moments)
    return max(float(np.abs(one.moments[key].gram - other.moments[key].gram).max()) for key in keys)
