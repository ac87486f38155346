"""Write compatibility.md from runs of the tests' tiny models; ``--check`` only says whether it is stale."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import nn

import skipstone
from skipstone import FORA, Cacher, EasyCache, FirstBlock, RunStats, TeaCache
from skipstone.cachers.base import LayerKind, Site
from skipstone.pipelines.probes import time_embeddings

PAGE = Path(__file__).parent / "compatibility.md"
sys.path.insert(0, str(PAGE.parent.parent / "tests"))

from test_unets import UNETS, made  # noqa: E402

from toy import ToyPipeline  # noqa: E402
from zoo import ZOO, drawn  # noqa: E402

HEAD = f"""# Compatibility
Written by `python docs/compatibility.py` with diffusers {diffusers.__version__}: each row is a tiny model
with random weights that was run with a gate that lets every step be skipped. Do not edit it by hand.

- **site**: where a method made for a stack of blocks works: on the *stack*, or on the *whole output*.
- **first block**, **modulated input**, **time embedding**, **model input**: whether a method that looks at
  this probe can read it on the model.
- **layers**: the kinds of layers that methods of layers can skip one by one in its blocks.
- **notes**: what `last_run.notes` says of a run of TeaCache.

| model | site | first block | modulated input | time embedding | model input | layers | notes |
|---|---|---|---|---|---|---|---|
"""
OUTPUT = "the whole output is estimated instead"


@dataclass(frozen=True)
class EveryLayer(FORA):
    """Skips every layer on its own."""

    @property
    def site(self) -> Site:
        return Site.LAYER

    @property
    def layer_kinds(self) -> frozenset[LayerKind]:
        return frozenset(LayerKind) - {LayerKind.BLOCK}


@dataclass(frozen=True)
class Row:
    """A model of the table and the keyword arguments of its calls."""

    name: str
    model: nn.Module
    inputs: dict[str, Any]

    def run(self, method: Cacher[Any]) -> RunStats | None:
        """All steps of a run but the last; None where the method refuses the model."""
        pipe = ToyPipeline(self.model)
        calls = [drawn(self.inputs, torch.Generator().manual_seed(0)) for _ in range(4)]
        try:
            cache = skipstone.attach(pipe, method)
        except ValueError:
            return None
        with torch.no_grad(), cache:
            pipe(calls, steps=5)
        return cache.last_run

    def layers(self) -> str:
        """The kinds of layers that were skipped."""
        run = self.run(EveryLayer(1000))
        return "" if run is None else ", ".join(kind for kind, calls in run.parts.items() if calls["skipped"])

    def __str__(self) -> str:
        run = self.run(TeaCache(threshold=1e9, rescale="none"))
        assert run is not None
        whole = any(OUTPUT in note for note in run.notes)
        cells = [
            f"`{self.name}`",
            "whole output" if whole else "stack",
            _yes(_skips(self.run(FirstBlock(threshold=1e9)))),
            _yes(_skips(run) and not whole),
            _yes(time_embeddings(self.model, [0.0]) is not None),
            _yes(_skips(self.run(EasyCache(threshold=1e9, warmup=0)))),
            self.layers(),
            "; ".join(note.removeprefix("transformer: ") for note in run.notes),
        ]
        return f"| {' | '.join(cells)} |\n"


def rows() -> Iterator[Row]:
    """Every transformer class, then the UNets."""
    for name, species in sorted(ZOO.items()):
        yield Row(name, species.model(), species.inputs)
    for name, (_, _, inputs) in UNETS.items():
        yield Row(name, made(name), {**inputs, "return_dict": False})


def _skips(run: RunStats | None) -> bool:
    return run is not None and run.skipped > 0


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def main() -> int:
    torch.set_num_threads(1)
    new = HEAD + "".join(map(str, rows()))
    if "--check" in sys.argv:
        return int(not PAGE.exists() or PAGE.read_text() != new)
    PAGE.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
