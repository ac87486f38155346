"""After a run that skipped less than was asked for: why, and what to try."""

import pytest

import skipstone
from skipstone import FirstBlock, Reason, reached
from skipstone.cachers.contract.threshold import Changed
from skipstone.pipelines.run.advice import above, advice, unasked
from support import tiny


def test_a_change_that_reached_the_threshold_is_told_and_reads_as_its_reason() -> None:
    reason = reached(0.3, 0.2)
    assert isinstance(reason, Changed)
    assert (reason, reason.change) == (Reason.CHANGED, 0.3)
    assert str(reason) == str(Reason.CHANGED)
    assert reached(0.19, 0.2) is None
    assert reached(0.2, 0.2) == Reason.CHANGED
    assert reached(float("nan"), 0.2) is Reason.NOT_FINITE


def test_a_threshold_that_skips_is_named() -> None:
    reasons = [Reason.FIRST_STEP, *(Changed(change) for change in (0.11, 0.5, 0.14, 0.3)), Reason.LAST_STEP]
    assert advice(reasons, 20) == "the smallest change was 0.11: try threshold=0.15"
    assert str(advice([Changed(0.11)], 20)).endswith("try threshold=0.12")


@pytest.mark.parametrize(
    ("value", "larger"), [(0.11, 0.12), (0.114, 0.12), (3.0, 3.1), (99.9, 100.0), (0.0, 0.01)]
)
def test_the_next_number_of_two_digits(value: float, larger: float) -> None:
    assert above(value) == larger


def test_what_was_tried_skips() -> None:
    """The threshold that the line names is above the change of at least one step."""
    run = tiny.flux()
    with skipstone.attach(run.pipe, FirstBlock(0.0)) as cache:
        run(num_inference_steps=12)
    threshold = float(str(cache.last_run).partition("try threshold=")[2].split(";")[0])
    with skipstone.attach(run.pipe, FirstBlock(threshold)) as cache:
        run(num_inference_steps=12)
    assert cache.last_run.skipped > 0


def test_few_steps_are_told_before_a_threshold() -> None:
    assert advice([Reason.FIRST_STEP, Changed(0.4), Reason.LAST_STEP], 3) == (
        "3 steps leave too few that could be skipped: take more steps"
    )
    assert advice(["the moon is full"], 20) is None


def test_only_what_the_method_did_not_choose_counts_against_it() -> None:
    counts = {str(Reason.INTERVAL): 5, str(Reason.CONDITION_CHANGED): 2, "the moon is full": 1}
    assert unasked(counts) == {str(Reason.CONDITION_CHANGED): 2}


def test_the_line_says_why_fewer_were_skipped_than_asked() -> None:
    stats = skipstone.RunStats(
        "fora interval 2", steps=10, skipped_steps=4, evaluations=10, computed=6, skipped=4,
        reasons={str(Reason.INTERVAL): 5, str(Reason.SHAPE_CHANGED): 1},
    )  # fmt: skip
    assert f"more was computed than the method asked for: {Reason.SHAPE_CHANGED} (1)" in str(stats)
    assert "more was computed" not in str(skipstone.RunStats("fora", evaluations=2, skipped=1))
