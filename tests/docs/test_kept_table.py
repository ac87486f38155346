"""How often a promised quality is kept is counted right, and the page has what the rows say."""

import json
from pathlib import Path

import kept_table
import numpy as np
import pytest


def plans(*missing: tuple[int, int]) -> kept_table.Plans:
    """Two plans of 57 prompts with 40 dB and a deviation of 1, but 20 dB and 5 where it is said."""
    found = {computed: np.array([[40.0, 1.0]] * 57) for computed in (3, 7)}
    for computed, prompt in missing:
        found[computed][prompt] = 20.0, 5.0
    return found


def test_the_sparsest_plan_is_taken_that_none_of_the_nineteen_misses() -> None:
    known = plans((3, 0), (3, 40), (7, 41))
    assert [kept_table.calibrated(known, 30.0, n).computed for n in range(3)] == [7, 3, None]
    first, second, _ = (kept_table.calibrated(known, 30.0, n) for n in range(3))
    assert first.kept == pytest.approx(37 / 38)
    assert second.kept == pytest.approx(36 / 38)


def test_prompts_are_called_hard_that_deviate_more_than_the_calibrated_ones() -> None:
    found = kept_table.calibrated(plans((3, 30), (3, 40)), 30.0, 0)
    assert found.hard == pytest.approx(2 / 38)
    assert found.below == pytest.approx(20.0)


def test_ranks_of_equal_order_correlate_fully() -> None:
    rising = np.array([1.0, 2.0, 5.0])
    assert kept_table.correlation(rising, rising**3) == pytest.approx(1.0)
    assert kept_table.correlation(rising, -rising) == pytest.approx(-1.0)


def test_batches_that_not_every_plan_ran_on_are_left_out(tmp_path: Path) -> None:
    key = {"model": "m", "steps": 8, "way": "one", "deviations": []}
    rows = [{**key, "computed": n, "batch": b, "psnr": [30.0 + b]} for n, b in ((2, 0), (2, 1), (3, 0))]
    path = tmp_path / "kept.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = kept_table.plans(path)["m", 8]["one"]
    assert {computed: values[:, 0].tolist() for computed, values in found.items()} == {2: [30.0], 3: [30.0]}


def test_the_page_is_fresh() -> None:
    assert kept_table.PAGE.read_text() == kept_table.page(), "run: python docs/make/kept_table.py"
