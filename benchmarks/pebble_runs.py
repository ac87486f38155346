"""Runs of a bundled model on many prompts, compared with the uncached run of the same prompt and seed."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, quantiles
from typing import Any

import diffusers
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

import skipstone
from skipstone.metrics.quality import MOST
from skipstone.pipelines import bundled
from skipstone.report.prompts import pebble_prompts
from skipstone.schedules.plan import Plan

BATCH = 16
"""Prompts that are run at once."""


CALIBRATED = 19
"""Prompts from which a quality is promised."""

SPARE = 60
"""Prompts that are drawn beside the compared ones: some may be the same."""


@dataclass(frozen=True)
class Outcome:
    """What came of a prompt.

    Args:
        psnr: against its uncached run, in dB, at most `MOST`.
        computed: how many steps were computed.
        strip: which ones, empty where all were.
        held: bytes that a sample's residuals took between steps.
    """

    psnr: float
    computed: float
    strip: str = ""
    held: int = 0


class PebbleRuns:
    """A bundled pipeline, and uncached runs to compare with, each made once.

    Args:
        folder: the pipeline's folder.
        model: which bundled model's arguments and prompts to use.
        device: where to run.
        steps: steps of the solver.
        count: how many prompts to compare on. One more is recorded, `CALIBRATED` others promise a quality.
        dtype: the models' precision.
    """

    def __init__(
        self,
        folder: Path,
        model: str,
        device: str,
        steps: int,
        count: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        pipe = diffusers.DiffusionPipeline.from_pretrained(folder, torch_dtype=dtype, local_files_only=True)
        self.pipe = pipe.to(device)
        self.pipe.set_progress_bar_config(disable=True)
        self.defaults = {**bundled.DEFAULTS[model], "num_inference_steps": steps}
        self.recorded, *others = pebble_prompts(model, count + SPARE)
        self.prompts, spare = others[:count], dict.fromkeys(others[count:])
        self.calibrated = [one for one in spare if one not in self.prompts][:CALIBRATED]
        self._uncached: dict[str, list[Tensor]] = {}

    def record(self, *texts: str, **changes: Any) -> skipstone.Record:
        """One uncached run of some prompts, by default of the one that nothing is compared on."""
        asked = list(texts) or [self.recorded]
        generators = [torch.Generator().manual_seed(1000 + n) for n in range(len(asked))]
        return skipstone.record(
            self.pipe, asked, **self._arguments(len(asked), changes), generator=generators
        )

    def uncached(self, **changes: Any) -> list[Tensor]:
        """The uncached run of every prompt."""
        key = json.dumps(changes, sort_keys=True)
        if key not in self._uncached:
            self._uncached[key] = self.batched(range(len(self.prompts)), **changes)
        return self._uncached[key]

    def batched(self, numbers: Sequence[int], **changes: Any) -> list[Tensor]:
        """The frames of some prompts, `BATCH` at once, each from its own seed."""
        batches = [numbers[first : first + BATCH] for first in range(0, len(numbers), BATCH)]
        return [frames for batch in batches for frames in self.run(batch, **changes)]

    def run(self, numbers: Sequence[int], **changes: Any) -> Iterator[Tensor]:
        """The frames of some prompts at once, in [0, 1], ``(frames, height, width, channels)`` each."""
        return self._frames([self.prompts[number] for number in numbers], numbers, changes)

    def run_recorded(self) -> Tensor:
        """The frames of the prompt that is recorded."""
        return next(self._frames([self.recorded], [1000], {}))

    def _frames(self, texts: list[str], seeds: Sequence[int], changes: dict[str, Any]) -> Iterator[Tensor]:
        made = self.pipe(
            texts,
            **self._arguments(len(texts), changes),
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="np",
        )
        clips = made.frames if hasattr(made, "frames") else made.images[:, None]
        return (torch.from_numpy(clip).float() for clip in clips)

    def follow(self, plan: Plan, snapshots: str | None = None, **changes: Any) -> list[Outcome]:
        """Every prompt by a plan. Its steps are fixed, so prompts can share a batch."""
        with skipstone.attach(self.pipe, plan, snapshots=snapshots) as cache:
            made = self.batched(range(len(self.prompts)), **changes)
        run = cache.last_run
        pairs = zip(made, self.uncached(**changes), strict=True)
        held = run.bytes_held // min(BATCH, len(self.prompts))
        return [Outcome(psnr(one, other), computed_steps(run), run.strip, held=held) for one, other in pairs]

    def _arguments(self, count: int, changes: dict[str, Any]) -> dict[str, Any]:
        arguments = {**self.defaults, **changes}
        if isinstance(arguments.get("negative_prompt"), str):
            arguments["negative_prompt"] = [arguments["negative_prompt"]] * count
        return arguments


def psnr(made: Tensor, wanted: Tensor) -> float:
    """Peak signal-to-noise ratio of a whole clip in dB, at most `MOST`."""
    return min(MOST, float(peak_signal_noise_ratio(made, wanted, data_range=1.0)))


def computed_steps(run: skipstone.RunStats) -> float:
    """How many steps a run computed, where a part of a step's evaluations counts as a part."""
    return run.computed * run.steps / run.evaluations


def spread(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What came of all prompts, in numbers and prompt by prompt."""
    values, computed = [one.psnr for one in outcomes], [one.computed for one in outcomes]
    return {
        "prompts": len(values),
        "computed_mean": mean(computed),
        "computed_most": max(computed),
        "psnr_mean": mean(values),
        "psnr_p5": quantiles(values, n=20, method="inclusive")[0] if len(values) > 1 else values[0],
        "psnr_min": min(values),
        "psnr": [round(value, 2) for value in values],
        "computed": [round(value, 2) for value in computed],
    }
