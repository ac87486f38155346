"""What handles, plans, records and statistics look like at a prompt, in a notebook and in a plot."""

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

import skipstone
from skipstone import plotting
from skipstone.schedules.expectation import estimated_psnr
from support.bending import bending
from support.recorded import Listening
from support.toy import ToyModel, ToyPipeline

PIPE = ToyPipeline(ToyModel())


@pytest.fixture(scope="module")
def stats() -> skipstone.RunStats:
    with torch.no_grad(), skipstone.attach(PIPE, "fora", interval=3) as cache:
        assert repr(cache) == "cache: fora interval 3\nno run yet"
        PIPE(bending(8))
        first, run, strip = repr(cache).splitlines()
        assert (first, run, strip) == ("cache: fora interval 3", str(cache.last_run), "#..#..#.")
        assert cache._repr_html_() == cache.last_run._repr_html_()
        return cache.last_run


@pytest.fixture(scope="module")
def plan() -> skipstone.Plan:
    with torch.no_grad():
        found = skipstone.record(Listening(ToyModel()), bending(16)).plan(computed=4)
    # What a skipped step costs is not measured: the toy is so small that it depends on the machine.
    return replace(found, record=replace(found.record, skip_cost=0.01), validations=())


def seen(html: str) -> str:
    """The words of a piece of HTML, which must be well-formed."""
    return " ".join("".join(ElementTree.fromstring(html).itertext()).split())


def test_statistics_are_two_lines_with_the_strip(stats: skipstone.RunStats) -> None:
    assert repr(stats).splitlines() == [str(stats), "#..#..#."]


def test_statistics_in_a_notebook(stats: skipstone.RunStats) -> None:
    html = replace(stats, notes=("a <b>note</b>",))._repr_html_()
    assert "3 of 8 steps computed: #..#..#." in seen(html)
    assert "steps skipped5 of 8" in seen(html)
    assert "computed: its turn in the interval3" in seen(html)
    assert "a <b>note</b>" in seen(html)
    assert "<svg" in html
    assert "<svg" not in skipstone.RunStats("fora")._repr_html_()


def test_a_plan_is_two_lines_with_the_strip(plan: skipstone.Plan) -> None:
    title, strip = repr(plan).splitlines()
    assert title.startswith("plan: 4 of 16 steps computed, about ")
    assert plan.outlook in title
    assert strip == plan.strip


def test_a_plan_in_a_notebook_has_its_curve(plan: skipstone.Plan) -> None:
    html = plan._repr_html_()
    assert plan.outlook in seen(html)
    assert "PSNR to expect, dB by x faster" in html
    assert html.count("<svg") == 2
    mute = replace(plan.record, moments={k: v for k, v in plan.record.moments.items() if k.name != "output"})
    assert replace(plan, record=mute)._repr_html_().count("<svg") == 1


def test_the_curve_of_a_plan_goes_through_it(plan: skipstone.Plan) -> None:
    curve = plan.curve()
    assert (plan.speedup, estimated_psnr(plan.record, plan.strip)) in curve
    speeds, values = zip(*curve, strict=True)
    assert list(speeds) == sorted(speeds, reverse=True)
    assert max(values) < 60


def test_a_record_is_two_lines(plan: skipstone.Plan) -> None:
    title, hint = repr(plan.record).splitlines()
    assert title == "record of 16 steps of ToyModel, from 16 prompts"
    assert hint.startswith("plan with it: record.plan(speedup=2.0)")
    assert "transformer branch 0 residual16 steps" in seen(plan.record._repr_html_())


class Axes:
    """Notes what is drawn on it."""

    def __init__(self) -> None:
        self.drawn: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.drawn.append((name, args, kwargs))


def test_plots_are_drawn_on_given_axes(plan: skipstone.Plan, stats: skipstone.RunStats) -> None:
    axes = Axes()
    assert stats.plot(axes) is axes
    (bars, labels) = axes.drawn
    colours = [bars[2]["color"][n] for n in range(8)]
    assert [colour == plotting.COLOURS["#"] for colour in colours] == [mark == "#" for mark in stats.strip]
    assert labels[2]["title"] == "fora interval 3: 5 of 8 steps skipped"
    axes = Axes()
    assert plan.plot(axes) is axes
    line, mark, _ = axes.drawn
    assert list(zip(*line[1], strict=True)) == plan.curve()
    assert mark[1][0] == [plan.speedup]


def test_without_matplotlib_plots_say_how_to_get_it(
    stats: skipstone.RunStats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ImportError, match="plots need matplotlib: pip install matplotlib"):
        stats.plot()
