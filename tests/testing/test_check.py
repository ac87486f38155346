"""The checks of methods find what is wrong with one."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch

from skipstone import (
    FORA,
    Cacher,
    CFGCache,
    FirstBlock,
    Outcome,
    Predictor,
    Probe,
    Step,
    Taylor,
    TeaCache,
    WithPredictor,
)
from skipstone.cachers.contract.distance import mean_l1, relative_l1
from skipstone.testing import Case, ShortRun, check_method, method_checks
from support import tiny


@pytest.fixture(scope="module")
def run() -> ShortRun:
    return tiny.flux()


@dataclass
class State:
    """What was seen at the last computed step."""

    computed: Any = None


@dataclass(frozen=True)
class Gate(Cacher[State]):
    """Skip while the model's input stays close to that of the last computed step."""

    name: ClassVar[str] = "gate"
    probe = Probe.MODEL_INPUT

    threshold: float = 1.0

    def new_state(self) -> State:
        return State()

    def reason_to_compute(self, probe: Any, step: Step, state: State) -> str | None:
        if probe is None or state.computed is None:
            return "nothing to compare with"
        return None if relative_l1(probe, state.computed) < self.threshold else "it moved"

    def update(self, probe: Any, outcome: Outcome, step: Step, state: State) -> None:
        state.computed = probe


@dataclass(frozen=True)
class Counting(Gate):
    """It counts on its own object."""

    seen: list[int] = field(default_factory=list)

    def reason_to_compute(self, probe: Any, step: Step, state: State) -> str | None:
        self.seen.append(step.index)
        return None if len(self.seen) % 5 else "it is the fifth"


@dataclass(frozen=True)
class Shared(Gate):
    """All branches have the same state."""

    one: State = field(default_factory=State)

    def new_state(self) -> State:
        return self.one


@dataclass(frozen=True)
class Mean(Gate):
    """It takes the mean of the batch."""

    def reason_to_compute(self, probe: Any, step: Step, state: State) -> str | None:
        if probe is None or state.computed is None:
            return "nothing to compare with"
        change = (mean_l1(probe, state.computed).mean() / mean_l1(state.computed).mean()).item()
        return None if change < self.threshold else "it moved"


@dataclass(frozen=True)
class Trusting(Gate):
    """It skips what is not a number."""

    def reason_to_compute(self, probe: Any, step: Step, state: State) -> str | None:
        if probe is None or state.computed is None:
            return "nothing to compare with"
        return "it moved" if relative_l1(probe, state.computed) > self.threshold else None


@dataclass(frozen=True)
class Doubling(Gate):
    """It estimates twice what was seen."""

    def weights(self, step: Step, computed: Any, state: State) -> tuple[float, ...]:
        return (2.0,)


@dataclass(frozen=True)
class Turning(Gate):
    """It looks at directions alone."""

    def reason_to_compute(self, probe: Any, step: Step, state: State) -> str | None:
        if probe is None or state.computed is None:
            return "nothing to compare with"
        turned = 1 - torch.cosine_similarity(probe.flatten(1), state.computed.flatten(1))
        return None if turned.max() < self.threshold else "it turned"


@dataclass(frozen=True)
class Half(Predictor):
    """It takes half of the newest residual."""

    name: ClassVar[str] = "half"
    history = 1

    def combine(self, at: float, times: Any) -> list[float]:
        return [0.5]


@dataclass(frozen=True)
class LowAlone(CFGCache):
    """It keeps a part of the difference."""

    def split(self, difference: Any) -> list[Any]:
        return [super().split(difference)[0]]


@dataclass(frozen=True)
class OneWeight(CFGCache):
    """It forgets a weight."""

    def weights(self, step: Step) -> list[float]:
        return [1.0]


def case(kind: type[Gate]) -> Case:
    return Case(kind(1e9), series=[kind(value) for value in (0.01, 0.1, 0.3, 1.0, 1e9)])


@pytest.mark.parametrize("kind", [Gate, Turning])
def test_a_right_method_passes(kind: type[Gate], run: ShortRun) -> None:
    series = (1e-6, 1e-4, 1e-2, 1e9)
    check_method(case(Gate) if kind is Gate else Case(kind(1e9), series=[kind(n) for n in series]), run)


@pytest.mark.parametrize("part", [Taylor(order=1), CFGCache(start=0.0, interval=3)])
def test_a_predictor_and_a_guidance_saver_are_checked_like_methods(part: Any, run: ShortRun) -> None:
    check_method(part, tiny.wan() if isinstance(part, CFGCache) else run)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Half(), "a replayed input is estimated exactly: an input that was seen before gives another"),
        (LowAlone(), "the parts add up to the difference: the parts of a difference do not add up"),
        (OneWeight(), "every part has a weight: 2 parts, but 1 weights on step 0"),
        (CFGCache(start=1.0), r"nothing is skipped \(########\): check it in a more permissive setting"),
    ],
)
def test_a_wrong_one_of_these_is_told_what_is_wrong(part: Any, said: str, run: ShortRun) -> None:
    with pytest.raises(AssertionError, match=said):
        check_method(part, tiny.wan() if isinstance(part, CFGCache) else run)


def test_estimates_that_fade_are_right_where_a_case_says_so(run: ShortRun) -> None:
    fading = Case(WithPredictor(FORA(2), Half()), repeats=False)
    check_method(fading, run)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Counting, r"a (second|branch|sample) .*"),
        (Shared, "every branch has a new state: new_state gives the same object twice"),
        (Mean, "one restless sample is enough: a sample computes .* alone, but"),
        (Trusting, "nan is computed: step 3 of .* has an input that is not a number, and is skipped"),
        (Doubling, "a replayed input is estimated exactly: an input that was seen before gives another"),
    ],
)
def test_a_wrong_one_is_told_what_is_wrong(kind: type[Gate], said: str, run: ShortRun) -> None:
    with pytest.raises(AssertionError, match=said):
        check_method(case(kind), run)


def test_a_setting_that_never_skips_is_told(run: ShortRun) -> None:
    with pytest.raises(AssertionError, match=r"nothing is skipped .*: check it in a more permissive setting"):
        check_method(FORA(1), run)


def test_an_off_that_skips_is_told(run: ShortRun) -> None:
    with pytest.raises(AssertionError, match="gate off is exact: with every step computed, the"):
        check_method(Case(FORA(4), off=FORA(2)), run)


def test_checks_can_be_run_one_by_one() -> None:
    names = [str(check) for check in method_checks(TeaCache(1e9))]
    assert "gate off is exact" in names
    assert "nan is computed" in names
    assert len(set(names)) == len(names) >= 9


@pytest.mark.parametrize("check", method_checks(FirstBlock(1.0)), ids=str)
def test_a_method_passes_on_a_bundled_pipeline(check: Any) -> None:
    check()
