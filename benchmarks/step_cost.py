"""What a skipped step costs of a computed one, on full-size transformers with random weights, in JSON rows.

Each cache runs in the same process on the same model: skipstone's methods, those of diffusers, and those of
cache-dit where that is installed. The device is waited for after every step, so that a step's time has all
that Python does in it. ``end to end`` rows are of whole runs without waiting, against runs of as many steps
as they compute.
"""

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import diffusers
import torch
from full_size import MODELS, FullSize
from machine import about
from torch import Tensor, nn

import skipstone
from skipstone import FORA, Cacher, FirstBlock, Taylor, TeaCache, Warmup, WithPredictor
from skipstone.pipelines.model.probes import is_attention

ALWAYS = 1e9
"""A threshold that no change reaches."""


class Loop:
    """A pipeline of a transformer and a scheduler alone.

    Args:
        spec: the model.
        device: where it runs.
    """

    def __init__(self, spec: FullSize, device: str) -> None:
        self.transformer = spec.made(device)
        self.scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
        self._device = device
        self._execution_device = torch.device(device)
        self._spec = spec
        self._constants = spec.constants(self._draw, spec)

    def _draw(self, *shape: int) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(*shape, generator=generator).to(self._device, torch.bfloat16)

    @torch.no_grad()
    def __call__(self, steps: int, waits: bool = False) -> "Run":
        latents, seconds = self._draw(*self._spec.latents), []
        self.scheduler.set_timesteps(steps, device=self._device)
        wait(self._device)
        begin = time.perf_counter()
        with self._watched() as computed:
            for t in self.scheduler.timesteps:
                before = time.perf_counter()
                computed.append(False)
                latents = self._step(latents, t)
                if waits:
                    wait(self._device)
                seconds.append(time.perf_counter() - before)
        wait(self._device)
        return Run(time.perf_counter() - begin, seconds, computed, latents)

    def _watched(self) -> AbstractContextManager[list[bool]]:
        return computed_steps(self.transformer)

    def _step(self, latents: Tensor, t: Tensor) -> Tensor:
        model: Any = self.transformer
        timestep = t.expand(1) / self.scheduler.config.num_train_timesteps * self._spec.scale
        context = model.cache_context("cond") if hasattr(model, "cache_context") else nullcontext()
        with context:
            output = model(hidden_states=latents, timestep=timestep, **self._constants, return_dict=False)[0]
        stepped: Tensor = self.scheduler.step(output, t, latents, return_dict=False)[0]
        return stepped


@dataclass(frozen=True)
class Run:
    """One run: its seconds, those of each step, which ran the last block, and what it ended with."""

    seconds: float
    steps: list[float]
    computed: list[bool]
    latents: Tensor

    def times(self, computed: bool) -> list[float]:
        """The seconds of the computed or of the skipped steps; without the first, which warms things up."""
        pairs = list(zip(self.steps, self.computed, strict=True))[1:]
        return [seconds for seconds, was in pairs if was is computed]


@contextmanager
def computed_steps(model: nn.Module) -> Iterator[list[bool]]:
    """A list whose last entry becomes true when an attention of the model's last block runs."""
    seen: list[bool] = []
    lists = [part for part in model.children() if isinstance(part, nn.ModuleList)]
    last = [part for part in lists if any(map(is_attention, part.modules()))][-1][-1]
    attention = next(part for part in last.modules() if part is not last and is_attention(part))
    linear = next(part for part in attention.modules() if isinstance(part, nn.Linear))
    hook = linear.register_forward_hook(lambda *_: seen.__setitem__(-1, True))
    try:
        yield seen
    finally:
        hook.remove()


@dataclass(frozen=True)
class Way:
    """A cache.

    Args:
        name: its name.
        on: puts it on a loop for a run of some steps.
        steps: how many steps of the run are measured.
    """

    name: str
    on: Callable[[Loop, int], AbstractContextManager[Any]]
    steps: int = 12


def ours(name: str, method: Cacher[Any], **kwargs: Any) -> Way:
    return Way(f"skipstone: {name}", lambda loop, steps: skipstone.attach(loop, method, **kwargs))


def theirs(name: str, config: Callable[[int], Any]) -> Way:
    @contextmanager
    def on(loop: Loop, steps: int) -> Iterator[None]:
        model: Any = loop.transformer
        model.enable_cache(config(steps))
        try:
            yield
        finally:
            model.disable_cache()

    return Way(f"diffusers: {name}", on)


def cache_dit(name: str, warmup: int, **kwargs: Any) -> Way:
    @contextmanager
    def on(loop: Loop, steps: int) -> Iterator[None]:
        import cache_dit as library

        config = library.DBCacheConfig(
            Fn_compute_blocks=1, Bn_compute_blocks=0, residual_diff_threshold=0.999, max_warmup_steps=warmup,
            num_inference_steps=steps, enable_separate_cfg=False,
        )  # fmt: skip
        calibrator = library.TaylorSeerCalibratorConfig(**kwargs) if kwargs else None
        library.enable_cache(loop.transformer, cache_config=config, calibrator_config=calibrator)
        try:
            yield
        finally:
            library.disable_cache(loop.transformer)

    return Way(f"cache-dit: {name}", on)


TAYLOR = WithPredictor(Warmup(FORA(1000), steps=4), Taylor(order=2))

WAYS: Sequence[Way] = (
    Way("no cache", lambda loop, steps: nullcontext()),
    ours("attached, never skipping", FORA(1)),
    ours("reuse", Warmup(FORA(1000), steps=4)),
    ours("reuse, graph", Warmup(FORA(1000), steps=4), graphs=True),
    ours("taylor 2", TAYLOR),
    ours("taylor 2, graph", TAYLOR, graphs=True),
    ours("taylor 2, int8", TAYLOR, snapshots="int8"),
    ours("first block", Warmup(FirstBlock(ALWAYS), steps=4)),
    ours("modulated input", Warmup(TeaCache(ALWAYS, rescale="none"), steps=4)),
    theirs("first block", lambda steps: diffusers.FirstBlockCacheConfig(ALWAYS)),
    theirs("magcache", lambda steps: diffusers.MagCacheConfig(ALWAYS, 1000, 0.34, steps, [1.0] * steps)),
    theirs(
        "taylorseer 1",
        lambda steps: diffusers.TaylorSeerCacheConfig(1000, 4, max_order=1, cache_identifiers=[LAYERS]),
    ),
    cache_dit("F1B0", 4),
    cache_dit("F1B0, taylorseer 1", 5, taylorseer_order=1),
)

LAYERS = r"(transformer_blocks|single_transformer_blocks|blocks)\.\d+\.(attn\w*|ff\w*)"
"""The layers that TaylorSeer of diffusers estimates."""


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def row(loop: Loop, way: Way, device: str) -> dict[str, Any]:
    """The times of computed and skipped steps under one cache."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated() if device == "cuda" else 0
    with way.on(loop, way.steps) as cache:
        run = loop(way.steps, waits=True)
    peak = torch.cuda.max_memory_allocated() - held if device == "cuda" else 0
    stats = cache.last_run if isinstance(cache, skipstone.CacheHandle) else None
    return {
        "what": way.name,
        "strip": "".join("#" if was else "." for was in run.computed),
        **_spread("computed", run.times(True)),
        **_spread("skipped", run.times(False)),
        "peak_mib": round(peak / 2**20, 1),
        "bytes_held": None if stats is None else stats.bytes_held,
        "replayed": None if stats is None else stats.replayed,
        "notes": [] if stats is None else list(stats.notes),
        "finite": bool(run.latents.isfinite().all()),
    }


def end_to_end(loop: Loop, steps: int, computed: int, graphs: bool) -> dict[str, Any]:
    """A run of which so many steps are computed, against runs of that many steps before and after it."""
    before = loop(computed).seconds
    with skipstone.attach(loop, FORA(steps // computed), graphs=graphs) as cache:
        loop(2)
        run = loop(steps)
    ideal = (before + loop(computed).seconds) / 2
    return {
        "what": "end to end, graph" if graphs else "end to end",
        "strip": cache.last_run.strip,
        "seconds": round(run.seconds, 4),
        "ideal_seconds": round(ideal, 4),
        "over_ideal": round(run.seconds / ideal - 1, 4),
    }


def in_turns(loop: Loop, pairs: int, steps: int = 8) -> dict[str, Any]:
    """Steps with a cache that never skips, against those of runs without one, before each of its runs."""
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(pairs):
        times[False] += loop(steps, waits=True).times(True)
        with skipstone.attach(loop, FORA(1)):
            times[True] += loop(steps, waits=True).times(True)
    bare, attached = (median(times[kind]) for kind in (False, True))
    return {
        "what": "never skipping, in turns",
        "bare_ms": round(1e3 * bare, 3),
        "attached_ms": round(1e3 * attached, 3),
        "over_bare": round(attached / bare - 1, 5),
    }


def measure(name: str, device: str, tiny: bool, only: Sequence[str], pairs: int) -> Iterator[dict[str, Any]]:
    """All rows of one model."""
    spec = MODELS[name].shrunk() if tiny else MODELS[name]
    loop = Loop(spec, device)
    loop(2)
    for way in (way for way in WAYS if any(part in way.name for part in only) or not only):
        try:
            found = row(loop, way, device)
        except Exception as problem:  # Other libraries may not know a model.
            found = {"what": way.name, "problem": f"{type(problem).__name__}: {problem}"[:300]}
        yield {"model": name, "makes": spec.makes, **found}
    yield {"model": name, "makes": spec.makes, **in_turns(loop, pairs)}
    for computed, graphs in product((10, 5), (False, True)):
        yield {"model": name, "makes": spec.makes, **end_to_end(loop, 50, computed, graphs)}


def _spread(what: str, seconds: list[float]) -> dict[str, float | None]:
    """The median of some times, and their 20th and 80th percentile, in milliseconds."""
    if len(seconds) < 2:
        return {}
    low, _, _, high = quantiles(seconds, n=5, method="inclusive")
    named = {"ms": median(seconds), "p20_ms": low, "p80_ms": high}
    return {f"{what}_{key}": round(1e3 * value, 3) for key, value in named.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", choices=tuple(MODELS))
    parser.add_argument("--tiny", action="store_true", help="tiny models, to try the program out")
    parser.add_argument("--only", nargs="+", default=(), help="parts of the names of caches to measure")
    parser.add_argument("--pairs", type=int, default=4, help="runs with and without a cache, in turns")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rows", type=Path, help="a file to add the rows to")
    asked = parser.parse_args()
    for name in asked.models:
        for found in measure(name, asked.device, asked.tiny, asked.only, asked.pairs):
            line = json.dumps({**found, **about(asked.device)})
            print(line, flush=True)
            if asked.rows:
                with asked.rows.open("a") as file:
                    file.write(line + "\n")
        gc.collect()


if __name__ == "__main__":
    main()
