"""ComfyUI's nodes in the tests' stand-in against diffusers pipelines, on proving models, in JSON rows.

For each model and number of computed steps: the PSNR of prompts that were not recorded, with the same record
in the pipeline and in the nodes, and with a record of the nodes' own. Both estimate as they do anywhere: the
pipeline the residuals of a transformer's blocks, the nodes whole outputs.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "tests"), str(HERE / "proving")]

from comfyui.stand_in_proving import Proving, Situation, psnr  # noqa: E402
from prove import prompts  # noqa: E402

import skipstone  # noqa: E402
from skipstone.comfyui import NODE_CLASS_MAPPINGS  # noqa: E402
from skipstone.comfyui.contract import KEY  # noqa: E402
from skipstone.comfyui.told import text  # noqa: E402
from skipstone.pipelines.planning import autoplan  # noqa: E402
from skipstone.pipelines.run.stats import RunLog  # noqa: E402
from skipstone.schedules.record import Record  # noqa: E402
from skipstone.schedules.search import Target, find  # noqa: E402

STEPS = 28
SHARES = (0.5, 0.34, 0.26)
"""Of the steps that a plan computes."""

SOLVERS = {"sd3": "own", "unet-epsilon": "Euler"}
Row = dict[str, Any]


@dataclass
class Compared:
    """One model.

    Args:
        proving: runs it both ways.
        tested: how many prompts.
        folder: for plans.
    """

    proving: Proving
    tested: int
    folder: Path

    @cached_property
    def captions(self) -> list[str]:
        return prompts(False, self.tested, 7)

    @cached_property
    def recorded(self) -> str:
        return prompts(False, 1, 1)[0]

    @cached_property
    def record(self) -> Record:
        return skipstone.record(self.proving.pipe, **self.proving.call(self.recorded, seed=1))

    @cached_property
    def latents(self) -> list[torch.Tensor]:
        return [self.proving.by_pipeline(caption) for caption in self.captions]

    def rows(self) -> Iterator[Row]:
        """One for the uncached runs, and one for each number of computed steps."""
        apart = [float((a - b).norm() / b.norm()) for a, b in zip(self.sampled(), self.latents, strict=True)]
        yield {"what": "uncached", "apart": max(apart)}
        for computed in sorted({round(share * STEPS) for share in SHARES}, reverse=True):
            yield {"what": "planned", "computed": computed, **self.planned(computed)}

    def sampled(self, patcher: Any = None) -> list[torch.Tensor]:
        return [
            self.proving.by_sampler(patcher or self.proving.patcher, caption) for caption in self.captions
        ]

    def planned(self, computed: int) -> Row:
        plan, path = find(self.record, Target(computed=computed)), self.folder / "plan.json"
        plan.save(path)
        with skipstone.attach(self.proving.pipe, plan):
            by_pipeline = [self.proving.by_pipeline(caption) for caption in self.captions]
        (by_file,) = NODE_CLASS_MAPPINGS["SkipstoneUsePlanFile"]().attach(self.proving.patcher, str(path))
        (by_speed,) = NODE_CLASS_MAPPINGS["SkipstonePlanForSpeed"]().attach(
            self.proving.patcher, STEPS / computed
        )
        self.proving.by_sampler(by_speed, self.recorded, seed=1)
        made = {
            "pipeline": by_pipeline,
            "plan file": self.sampled(by_file),
            "own record": self.sampled(by_speed),
        }
        said = text(by_speed.get_attachment(KEY).remembered.tell(None).runs[-1:])
        return {"psnr": {name: self.decibels(latents) for name, latents in made.items()}, "said": said}

    def decibels(self, latents: list[torch.Tensor]) -> list[float]:
        pairs = zip(latents, self.latents, strict=True)
        return [round(psnr(self.proving.picture(a), self.proving.picture(b)), 2) for a, b in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", choices=list(SOLVERS))
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--tested", type=int, default=8, help="prompts")
    arguments = parser.parse_args()
    # Plans with a number of computed steps are compared, so a skipped step costs nothing.
    RunLog.skip_cost = lambda self: 0.0  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        autoplan.records_folder = lambda: Path(folder) / "records"
        for model in arguments.models:
            proving = Proving(Situation(model, SOLVERS[model], STEPS))
            for row in Compared(proving, arguments.tested, Path(folder)).rows():
                with arguments.rows.open("a") as file:
                    file.write(json.dumps({"model": model, "steps": STEPS, **row}) + "\n")


if __name__ == "__main__":
    main()
