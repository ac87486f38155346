"""More actions than compute and skip, at equal cost: JSON rows of what they gain on one bundled model.

Plans of whole steps are compared with plans in which some steps compute the conditional branch alone, or the
first blocks alone (`action_plans`). All come from one recorded prompt and are searched on the same costs; of
a few metrics the best is taken by runs on the recorded prompt, as `record.plan` does. ``potential`` gives
their costs on the recorded prompt and on unseen ones, without a run of the plan; ``runs`` the PSNR of unseen
prompts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from statistics import mean

import numpy as np
from action_plans import COND, UNCOND, Costs, Matrix, Seen, combined, matrix_of, searched, spent
from action_runs import Follower, blocks_of, following
from pebble_runs import Outcome, PebbleRuns, psnr, spread
from planned import Case, Row, measure_and_print, parser_of, planned

from skipstone.pipelines import bundled
from skipstone.schedules.best_steps import best_choices
from skipstone.schedules.moments import Moments
from skipstone.schedules.strips import strip_of

UNSEEN = 4
"""Prompts whose own matrices tell how costs carry over."""

SHARES = (0.15, 0.3, 0.5)
"""Of the blocks, how many are computed where only the first ones are."""

METRICS = tuple(product(("mean", "guided"), ("flat", "step")))
"""What is made small: the mean of both branches' squared errors or that of what guidance makes of them, the
same everywhere or by the square of the step's length in noise level."""

MARGIN = 1e-3
"""Of the branches' own errors, what counts beside the guided one, which two large ones can cancel in."""


@dataclass(frozen=True)
class Way:
    """How a plan is made.

    Args:
        kind: its actions, as `Planner.kinds` names them.
        metric: one of `METRICS`.
        count: what it may compute, in whole steps.
    """

    kind: str
    metric: tuple[str, str]
    count: int


class Planner:
    """Plans from one recorded prompt.

    Args:
        runs: the pipeline and its prompts.
    """

    def __init__(self, runs: PebbleRuns) -> None:
        self.runs = runs
        self.depth = len(blocks_of(runs.pipe.transformer))
        depths = sorted({max(1, round(share * self.depth)) for share in SHARES})
        self.kinds = {"whole": "#.", "branch": "#.c", "blocks": "#." + "".join(map(str, depths))}
        self._matrices: dict[int, Matrix] = {}
        self._costs: dict[tuple[str, str], Costs] = {}
        self._plans: dict[Way, str] = {}

    @cached_property
    def levels(self) -> tuple[float, ...]:
        return self.runs.record().levels

    def matrix(self, number: int) -> Matrix:
        """How alike all is that was seen in a prompt's uncached run; the recorded one has the number -1."""
        if number not in self._matrices:
            steps = range(self.runs.defaults["num_inference_steps"])
            depths = (*(int(mark) for mark in self.kinds["blocks"][2:]), self.depth)
            keeps = {Seen(*one) for one in product((COND, UNCOND), depths, steps)}
            follower = Follower("#" * len(steps), [{}] * len(steps), keeps)
            with following(self.runs.pipe.transformer, follower):
                _ = self.runs.run_recorded() if number < 0 else list(self.runs.run([number]))
            self._matrices[number] = matrix_of(follower.seen, self.depth)
        return self._matrices[number]

    def costs(self, metric: tuple[str, str]) -> Costs:
        """What plans cost on the recorded prompt."""
        if metric not in self._costs:
            name = "true_cfg_scale" if "true_cfg_scale" in self.runs.defaults else "guidance_scale"
            scales = np.array([self.runs.defaults[name], 1 - self.runs.defaults[name]])
            guided = np.outer(scales, scales) + MARGIN * np.eye(2)
            errors = {"mean": np.eye(2) / 2, "guided": guided}[metric[0]]
            lengths = -np.diff([*self.levels, 0.0])
            importance = np.ones(len(lengths)) if metric[1] == "flat" else lengths**2 / (lengths**2).mean()
            self._costs[metric] = Costs(self.matrix(-1), errors, importance)
        return self._costs[metric]

    def plan(self, way: Way) -> str:
        """The best plan that a search finds, which begins at the planner's own of whole steps."""
        if way not in self._plans:
            costs = self.costs(way.metric)
            gram = combined(costs.matrix, costs.metric)
            table = best_choices(Moments(tuple(range(len(gram))), gram), costs.importance, way.count)
            first = strip_of(set(table[-1][1]), len(gram))
            self._plans[way] = searched(costs, first, self.kinds[way.kind], way.count)
        return self._plans[way]

    def follower(self, way: Way) -> Follower:
        """What makes runs follow a plan."""
        actions = self.plan(way)
        estimates = self.costs(way.metric).weights(actions)
        return Follower(
            actions, estimates, {seen for step in estimates for one in step.values() for seen in one}
        )


def potential(planner: Planner, counts: Sequence[int]) -> Iterator[Case]:
    """What plans cost on the recorded prompt and on others, against the plan of whole steps."""
    for count, metric, kind in product(counts, METRICS, planner.kinds):
        key = {"what": "potential", "asked": count, "kind": kind, "metric": " ".join(metric)}
        yield Case(key, partial(_potential, planner, Way(kind, metric, count)))


def _potential(planner: Planner, way: Way) -> Row:
    costs, whole = planner.costs(way.metric), planner.plan(Way("whole", way.metric, way.count))
    actions = planner.plan(way)
    unseen = [planner.matrix(number) for number in range(min(UNSEEN, len(planner.runs.prompts)))]
    gains = [_decibels(costs.elsewhere(whole, one) / costs.elsewhere(actions, one)) for one in unseen]
    return {
        "actions": actions,
        "spent": spent(actions, planner.depth),
        "gain_recorded": _decibels(costs.of(whole) / costs.of(actions)),
        "gain_unseen": mean(gains),
    }


def _decibels(ratio: float) -> float:
    return float(10 * np.log10(ratio))


def closed_loop(planner: Planner, counts: Sequence[int]) -> Iterator[Case]:
    """The PSNR of unseen prompts by the best plan of each kind, and by what `record.plan` makes."""
    for count in counts:
        key = {"what": "actions", "asked": count}
        yield Case({**key, "kind": "record.plan"}, partial(_product, planner.runs, count))
        for kind in planner.kinds:
            yield Case({**key, "kind": kind}, partial(_best, planner, kind, count))


def _product(runs: PebbleRuns, count: int) -> Row:
    plan = runs.record().plan(computed=count)
    return planned(plan, runs.follow(plan))


def _best(planner: Planner, kind: str, count: int) -> Row:
    """Unseen prompts by the plan that does best on the recorded one."""
    runs, wanted = planner.runs, planner.runs.run_recorded()
    scores = {}
    for metric in METRICS:
        with following(runs.pipe.transformer, planner.follower(Way(kind, metric, count))):
            scores[metric] = psnr(runs.run_recorded(), wanted)
    best = max(scores, key=lambda metric: scores[metric])
    way = Way(kind, best, count)
    with following(runs.pipe.transformer, planner.follower(way)):
        made = runs.batched(range(len(runs.prompts)))
    computed = spent(planner.plan(way), planner.depth)
    outcomes = [Outcome(psnr(one, other), computed) for one, other in zip(made, runs.uncached(), strict=True)]
    scored = {" ".join(metric): round(score, 2) for metric, score in scores.items()}
    return {"actions": planner.plan(way), "metric": " ".join(best), "recorded": scored, **spread(outcomes)}


def main() -> None:
    parser = parser_of(__doc__, (25, 17, 13, 10))
    parser.add_argument("--parts", nargs="+", default=("potential", "runs"), choices=("potential", "runs"))
    asked = parser.parse_args()
    runs = PebbleRuns(bundled.folder(asked.model), asked.model, asked.device, asked.steps, asked.count)
    planner, parts = Planner(runs), {"potential": potential, "runs": closed_loop}
    for part in asked.parts:
        measure_and_print(parts[part](planner, asked.computed), asked)


if __name__ == "__main__":
    main()
