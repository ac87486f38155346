"""The checks of methods find what is wrong with one."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from skipstone import FORA, Cacher, FirstBlock, Outcome, Probe, Step, TeaCache
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


def case(kind: type[Gate]) -> Case:
    return Case(kind(1e9), series=[kind(value) for value in (0.01, 0.1, 0.3, 1.0, 1e9)])


def test_a_right_method_passes(run: ShortRun) -> None:
    check_method(case(Gate), run)


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
