"""The table of stacks is arithmetic on its rows, and a speed that is off is explained."""

from typing import Any

import pytest
import stack

BARE = {
    "part": "speed", "model": "m", "makes": "M", "way": "plan alone", "uncached_seconds": [3.0, 5.0],
    "planned_seconds": 2.0, "computed": 5, "steps": 10, "got": 2.0, "off": 0.0,
}  # fmt: skip


def row(**changed: Any) -> dict[str, Any]:
    return {**BARE, **changed}


def test_the_gain_is_over_the_bare_model() -> None:
    compiled = row(way="blocks compiled", uncached_seconds=[2.0, 2.0], planned_seconds=1.0)
    text = stack.section([BARE, compiled])
    assert "| M | plan alone | 4.00 | 2.00 | 5 of 10 | 2.00x | +0.0% | 2.00x |" in text
    assert "| M | blocks compiled | 2.00 | 1.00 | 5 of 10 | 2.00x | +0.0% | 4.00x |" in text
    assert "Off by" not in text


def test_quality_has_a_table_of_its_own() -> None:
    measured = {"psnr": 41.26, "psnr_of_stack": 100.0, "dtype": "float32", "device": "cpu"}
    text = stack.section([BARE, {**row(part="quality", way="int8 weights"), **measured}])
    assert text.endswith("| `m` | int8 weights | 5 of 10 | 41.3 | 100.0 |\n")
    assert "10 steps, a plan for 2.5x, 8 pictures, float32, cpu." in text
    assert "| int8 weights |" not in text.partition("stack.py quality")[0]


def test_what_is_off_is_told() -> None:
    text = stack.section([BARE, row(way="group offload", off=-0.3)])
    assert text.endswith(f"- group offload: {stack.WHY['group offload']}.\n")
    with pytest.raises(KeyError):
        stack.section([BARE, row(way="plan alone", off=0.2)])


def test_stacks_that_are_off_for_the_same_reason_are_told_together() -> None:
    ways = "compiled whole", "fp8, blocks compiled"
    text = stack.section([BARE, *(row(way=way, off=-0.1) for way in ways)])
    assert text.count(stack.FIXED) == 1
    assert f"- compiled whole; fp8, blocks compiled: {stack.FIXED}.\n" in text
