"""The measurements in words: where caching pays, and where it does not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from skipstone.metrics.comparison import METRICS, Metric, said
from skipstone.report.rows import CACHED, PLAIN, REPEAT, unit_of
from skipstone.report.standing import standings
from skipstone.report.summary import Line, skip_cost
from skipstone.schedules.expectation import SEEN

TARGETS: Mapping[str, Mapping[float, str]] = {
    "psnr": dict(SEEN),
    "ssim": {0.95: "hard to tell apart", 0.9: "small differences", 0.8: "the same scene, other details"},
    "lpips": {0.05: "hard to tell apart", 0.1: "small differences", 0.2: "the same scene, other details"},
}
"""What people see at which mean over prompts; the first metric that was measured decides."""

TIE = 0.97
"""Two speeds whose ratio is above this count as equal; then quality decides."""

DEAR = 0.2
"""Of a computed step; where a skipped one takes more, a cache gains much less than it skips."""

FEW = 8
"""Fewer pairs of prompt and seed than this say little about others."""


@dataclass(frozen=True)
class Finding:
    """One sentence of the verdict.

    Args:
        title: the question; empty without one.
        text: the answer.
        pays: whether caching pays; None without a question.
        line: the setting to use; None if there is none.
    """

    title: str
    text: str
    pays: bool | None = None
    line: Line | None = None


def deciding_metric(lines: Sequence[Line]) -> str | None:
    """The metric that decides which settings are good; None if none was measured.

    Settings without it reach no target.
    """
    measured = [line for line in lines if line.kind in (CACHED, PLAIN)]
    return next((name for name in TARGETS if any(name in line.scores for line in measured)), None)


def verdict(lines: Sequence[Line]) -> list[Finding]:
    """The best setting for each target, where caching does not pay, and how reliable this is."""
    name = deciding_metric(lines)
    targets = TARGETS.get(name or "", {})
    found = [_best(lines, str(name), value, words) for value, words in targets.items()]
    merged = _merged(found, list(targets), METRICS[name] if name else None)
    return [*merged, *(Finding("", text) for text in _remarks(lines, name))]


def _merged(found: Sequence[Finding], targets: Sequence[float], metric: Metric | None) -> list[Finding]:
    """Join neighbouring qualities with the same answer."""
    pairs = groupby(zip(found, targets, strict=True), key=lambda pair: _answer(pair[0]))
    return [_joined(list(group), metric) for _, group in pairs]


def _answer(finding: Finding) -> object:
    return id(finding.line) if finding.pays else finding.text


def _joined(group: Sequence[tuple[Finding, float]], metric: Metric | None) -> Finding:
    """The finding for the highest quality, with the fewer plain steps that reach the lowest one."""
    (first, _), *others = group
    if not others or metric is None:
        return first
    values = " and ".join(f"{value:g}" for _, value in others)
    text = f"{others[-1][0].text} The same holds for {metric.title} {values} {metric.unit}".rstrip()
    return replace(first, text=f"{text}.")


def _remarks(lines: Sequence[Line], name: str | None) -> Iterator[str]:
    yield from _dear(lines)
    yield from _slow(lines)
    if name is not None:
        yield from _without(lines, name)
        yield from _never_better(lines, name)
    yield from _floor(lines, name)
    yield from _doubts(lines)


def _without(lines: Sequence[Line], name: str) -> Iterator[str]:
    """The settings without the metric that decides, such as those whose pictures hold no numbers."""
    for line in lines:
        if line.kind in (CACHED, PLAIN) and name not in line.scores:
            reason = line.worst_row(METRICS[name]).get("not_measured", {}).get(name, "it is missing")
            yield f"Without {METRICS[name].title}, so without a verdict: {line.title}, as {reason}."


def _never_better(lines: Sequence[Line], name: str) -> Iterator[str]:
    worse = [standing.method for standing in standings(lines, name) if not standing.better]
    if worse:
        yield f"Never better than fewer plain steps of the same speed: {', '.join(worse)}."


def _best(lines: Sequence[Line], name: str, target: float, words: str) -> Finding:
    metric = METRICS[name]
    sign = "at least" if metric.higher_is_better else "at most"
    title = f"{words[0].upper()}{words[1:]} ({metric.title} {sign} {target:g} {metric.unit}".strip() + ")"
    good = [line for line in lines if name in line.scores and line.reaches(metric, target)]
    cached = _fastest(line for line in good if line.kind == CACHED)
    plain = _fastest(line for line in good if line.kind == PLAIN)
    if cached is None:
        other = f"; {plain.title} do, {plain.speedup:.2f}x as fast" if plain else ""
        return Finding(title, f"No setting that was measured reaches it{other}.", pays=False)
    if cached.speedup <= 1 or (plain is not None and _beats(plain, cached, name)):
        pays = plain is not None and plain.speedup > 1
        return Finding(title, _does_not_pay(cached, plain), pays=False, line=plain if pays else None)
    sentences = [_described(cached, name), *_disagreements(cached, name), _plainly(plain)]
    return Finding(title, " ".join(sentences), pays=True, line=cached)


def _disagreements(line: Line, name: str) -> Iterator[str]:
    """What the other metrics make of a setting, where they put it on another level."""
    level = _level(line, name)
    for other in TARGETS:
        if other != name and other in line.scores and _level(line, other) != level:
            yield f"But {said(METRICS[other], line.scores[other].mean)} says: {_level(line, other)}."


def _level(line: Line, name: str) -> str:
    """What people see, by one metric."""
    reached = (words for target, words in TARGETS[name].items() if line.reaches(METRICS[name], target))
    return next(reached, "another picture")


def _beats(plain: Line, cached: Line, name: str) -> bool:
    """Whether fewer plain steps are better: faster, or about as fast and no worse."""
    sign = 1 if METRICS[name].higher_is_better else -1
    better = sign * (cached.scores[name].mean - plain.scores[name].mean) > 0
    return plain.speedup * (TIE if better else 1) >= cached.speedup


def _fastest(lines: Iterator[Line]) -> Line | None:
    return max(lines, key=lambda line: line.speedup, default=None)


def _described(line: Line, name: str) -> str:
    metric, spread = METRICS[name], line.scores[name]
    return (
        f"{line.title}: {line.speedup:.2f}x faster loop, {line.call_speedup:.2f}x faster call, "
        f"{said(metric, spread.mean)} on average, {spread.worst:.{metric.digits}f} for the worst prompt."
    )


def _plainly(plain: Line | None) -> str:
    if plain is None:
        return "Fewer plain steps do not reach this at any speed that was measured."
    return f"{plain.title[0].upper()}{plain.title[1:]} reach it at {plain.speedup:.2f}x."


def _does_not_pay(cached: Line, plain: Line | None) -> str:
    if plain is not None and plain.speedup > 1:
        return (
            f"Caching does not pay here: {plain.title} are {plain.speedup:.2f}x as fast, and the best cache "
            f"({cached.title}) {cached.speedup:.2f}x."
        )
    return f"Caching does not pay here: the best cache ({cached.title}) is {cached.speedup:.2f}x as fast."


def _dear(lines: Sequence[Line]) -> Iterator[str]:
    methods = dict.fromkeys(line.method for line in lines)
    costs = {name: skip_cost([line for line in lines if line.method == name]) for name in methods}
    known = ((cost, name) for name, cost in costs.items() if cost is not None)
    cost, cheapest = min(known, default=(0.0, ""))
    if cost > DEAR:
        yield (
            f"Even the cheapest skipped step ({cheapest}) took {cost:.0%} of a computed one, so caching "
            f"gains much less than it skips. Where steps are short, what the host does for each of them "
            f"remains: a larger model, a larger size or a slower device gains more."
        )


def _slow(lines: Sequence[Line]) -> Iterator[str]:
    slow = [line.title for line in lines if line.kind == CACHED and line.speedup <= 1]
    if slow:
        yield f"Not faster than computing every step: {'; '.join(slow)}."


def _floor(lines: Sequence[Line], name: str | None) -> Iterator[str]:
    repeat = next((line for line in lines if line.kind == REPEAT), None)
    if name is None or repeat is None or name not in repeat.scores:
        return
    spread = repeat.scores[name]
    if repeat.scores.get("psnr") and repeat.scores["psnr"].worst >= 100:
        yield "Noise floor: uncached runs that were repeated came out identical."
    else:
        yield f"Noise floor: uncached runs that were repeated differ by {said(METRICS[name], spread.mean)}."


def _doubts(lines: Sequence[Line]) -> Iterator[str]:
    pairs = [len({unit_of(row) for row in line.rows}) for line in lines]
    runs, most = min(pairs, default=0), max(pairs, default=0)
    if runs < most:
        yield f"The sweep is not complete: some settings have {runs} runs, others {most}."
    if runs < FEW:
        yield f"Measured on {runs} pair{'s' * (runs != 1)} of prompt and seed: too few to speak for others."
