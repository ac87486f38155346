"""How much less methods compute on the bundled models, in operations: their time would tell of launches."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import mean
from typing import Any

from torch.utils.flop_counter import FlopCounterMode

import skipstone
from skipstone.cachers.contract.words import LayerKind, ModelFacts
from skipstone.pipelines import bundled
from skipstone.pipelines.model.layers import layers_in
from skipstone.pipelines.model.models import facts_of
from skipstone.report.candidates import candidate
from skipstone.report.summary import Line

CROSS = re.compile(r"\.attn2$")
"""The attentions to the text in the bundled models."""


@dataclass(frozen=True)
class Work:
    """What parts of an evaluation of a model take of its operations.

    Args:
        layers: all layers of a kind together, by kind.
        block: one block.
        facts: what methods know of the model.
    """

    layers: Mapping[str, float]
    block: float
    facts: ModelFacts

    @classmethod
    @cache
    def of(cls, name: str) -> "Work":
        """Counted on one step of a bundled model, once."""
        pipe = skipstone.load(name)
        pipe.set_progress_bar_config(disable=True)
        with FlopCounterMode(display=False) as counter:
            pipe("", **{**bundled.DEFAULTS[name], "num_inference_steps": 1, "output_type": "latent"})
        counts = {path: sum(of_kind.values()) for path, of_kind in counter.get_flop_counts().items()}
        model, root = pipe.transformer, type(pipe.transformer).__name__
        layers: dict[str, float] = {}
        blocks = layers_in(model, frozenset({LayerKind.BLOCK}))
        for found in (
            *blocks,
            *layers_in(model, frozenset({LayerKind.SELF_ATTENTION, LayerKind.FEED_FORWARD})),
        ):
            kind = LayerKind.CROSS_ATTENTION if CROSS.search(found.name) else found.kind
            layers[kind.value] = layers.get(kind.value, 0.0) + counts[f"{root}.{found.name}"] / counts[root]
        block = layers[LayerKind.BLOCK.value] / len(blocks)
        return cls(layers, block, facts_of("transformer", model, ("transformer",)))

    def share(self, line: Line) -> float:
        """The share of operations that a setting computes of runs of full length, on average."""
        return mean(self._share(row, self._heads(line)) for row in line.rows)

    def _share(self, row: Mapping[str, Any], heads: int) -> float:
        saved = sum(
            self.layers[kind] * calls["skipped"] / sum(calls.values()) for kind, calls in row["parts"].items()
        )
        computed: float = row["computed_share"]
        return computed * (1 - saved) + (1 - computed) * heads * self.block

    def _heads(self, line: Line) -> int:
        """How many blocks run on skipped steps."""
        if not line.method or candidate(line.method).is_planned:
            return 0
        method = candidate(line.method).method(0)
        if method.head_blocks:  # Others may need what was measured on the model.
            method = method.for_model(self.facts)
        return method.head_blocks + method.tail_blocks


def by_work(lines: Sequence[Line], name: str) -> list[Line]:
    """The lines of a bundled model as fast as they would be if nothing but operations took time."""
    work, steps = Work.of(name), max(line.steps for line in lines)
    methods = list(dict.fromkeys((line.kind, line.method) for line in lines))
    found = [replace(line, speedup=steps / line.steps / work.share(line)) for line in lines]
    return sorted(found, key=lambda line: (methods.index((line.kind, line.method)), line.speedup))
