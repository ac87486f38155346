"""Run a pipeline once, cached or not, and keep its output and its times."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import Step
from skipstone.pipelines.attach import CacheHandle, Watcher, attach
from skipstone.pipelines.run.loop_timer import LoopTimer
from skipstone.pipelines.run.stats import RunStats

WARM_UP_STEPS = 3


@dataclass(frozen=True)
class Clip:
    """The result of one run of a pipeline.

    Args:
        frames: ``(frames, height, width, channels)``, values in [0, 1]; an image is one frame.
        steps: denoising steps.
        loop_seconds: the time of the denoising loop, from the first evaluation to the end of the last step.
        call_seconds: the time of the whole call: text encoding, loop, decoding.
        stats: what the cache did; None without a cache.
    """

    frames: Tensor
    steps: int
    loop_seconds: float
    call_seconds: float
    stats: RunStats | None = None


def unwatched(step: Step, computed: int, skipped: int) -> None:
    """Ignore single steps."""


def make_clip(
    pipe: Any,
    arguments: Mapping[str, Any],
    seed: int,
    cache: CacheHandle | None = None,
    watch: Watcher = unwatched,
) -> Clip:
    """Run a pipeline once.

    Args:
        pipe: a text-to-video or text-to-image pipeline.
        arguments: the arguments of its call.
        seed: the seed of the initial noise, which is drawn on the CPU to be the same for every device.
        cache: the attached cache; None to compute every step.
        watch: called after each step with the step and its numbers of computed and skipped evaluations.
    """
    with LoopTimer(pipe) as timer, ExitStack() as stack:
        if cache is None:
            timer.watch(lambda step: watch(step, 1, 0))
        else:
            stack.callback(cache.watch(watch))
        begin = time.perf_counter()
        output = pipe(**arguments, generator=torch.Generator().manual_seed(seed), output_type="np")
        call_seconds = time.perf_counter() - begin
        stats = None if cache is None else cache.last_run
        return Clip(_frames(output), timer.steps, timer.seconds, call_seconds, stats)


def attached(pipe: Any, method: Cacher[Any] | None) -> AbstractContextManager[CacheHandle | None]:
    """Attach a method while the context is open; for None, do nothing."""
    return nullcontext() if method is None else attach(pipe, method)


def warm_up(pipe: Any, arguments: Mapping[str, Any], method: Cacher[Any] | None) -> None:
    """Run a few steps with the method, so that later runs do not include the device's first use.

    A method that is made for one number of steps runs that many.
    """
    steps = None if method is None else method.run_steps
    short = {**arguments, "num_inference_steps": steps or WARM_UP_STEPS}
    with attached(pipe, method) as cache:
        make_clip(pipe, short, 0, cache)


def _frames(output: Any) -> Tensor:
    frames = output.frames[0] if hasattr(output, "frames") else output.images[:1]
    return torch.from_numpy(np.asarray(frames)).float()
