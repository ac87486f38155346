"""The page of methods is what docstrings and rows make it."""

import re
import sys
from pathlib import Path
from typing import Any

import methods
import pytest

from skipstone.cachers import METHODS
from skipstone.cachers.contract.words import ModelFacts
from skipstone.commands.methods import catalogue
from skipstone.report.rows import PLAIN
from skipstone.schedules.published.fitting import THRESHOLD
from skipstone.schedules.published.polynomials import IDENTITY
from support.measured import row, sweep_of
from support.programs import run_here

DOCS = Path(__file__).parents[2] / "docs"


def sweep(psnr: float) -> list[dict[str, Any]]:
    return sweep_of(
        row(psnr=psnr, method="fora+taylor"),
        row(psnr=20.0, setting="interval=3", speedup=3.0, parts={"block": {"computed": 1, "skipped": 3}}),
        row(PLAIN, psnr=25.0, steps=5, computed_share=1.0),
    )


def test_the_page_is_fresh() -> None:
    assert run_here("docs/make/methods.py", "--check") == 0, "run: python docs/make/methods.py"


def test_every_method_has_a_section() -> None:
    written = methods.page({})
    for method in catalogue():
        assert f"### `{method.typed}`" in written
        assert all(f"- `{parameter.name}` (" in written for parameter in method.parameters)
    assert "Nothing was measured for this page yet" in written


def test_what_was_measured_is_said_of_each_model() -> None:
    written = methods.page({"pebble-image": sweep(40.0), "pebble-video": sweep(24.0)})
    assert "everywhere on pebble-image: `fora`." in written
    assert "everywhere on pebble-video: `fora+taylor`, `fora`." in written
    assert (
        "- Measured, `fora+taylor` on pebble-image: Better than fewer plain steps at every setting, by 15.0 "
        "to 15.0 dB. `interval=2` keeps 40.0 dB, 40.0 for the worst prompt, at 2.00x."
    ) in written
    taylor = written.index("### `+taylor`")
    assert written.index("`fora+taylor` on pebble-image: Better") > taylor
    assert (
        "| pebble-image | `fora` | interval=3 | 5.0 | 25% of block | 3.00x | 1.80x | 20.0 | 20.0 |  | 1.00 | "
        "-5.0 dB |"
    ) in written


def test_the_figures_show_every_method_and_both_models() -> None:
    lines = {name: methods.summarise(sweep(psnr)) for name, psnr in (("image", 40.0), ("video", 24.0))}
    drawn = methods.panels(lines)
    assert ">fora+taylor</text>" in drawn
    assert drawn.count("fora+taylor interval=2: 2.00x, 40.0 dB") == 1
    assert drawn.count('class="curve few series-0"') == drawn.count('class="curve few series-1"') == 2
    assert methods.overview(lines).count("fewer steps</text>") == 2


def test_defaults_are_the_stricter_setting_of_both_models(monkeypatch: pytest.MonkeyPatch) -> None:
    import defaults

    def settings(good: int) -> list[dict[str, Any]]:
        rungs = ((2, 1.8), (3, 2.5), (5, 4.0))
        made = (row(setting=f"interval={n}", speedup=s, psnr=31.0 if n <= good else 20.0) for n, s in rungs)
        return sweep_of(*made, row(PLAIN, psnr=25.0, steps=5))

    found = {
        name: methods.standings(methods.summarise(settings(good)))
        for name, good in (("image", 5), ("video", 3))
    }
    (line,) = defaults.rows(found, 30)
    assert line == [
        "fora",
        "mean: interval=5 (4.00x)\nworst: interval=5 (4.00x)",
        "mean: interval=3 (2.50x)\nworst: interval=3 (2.50x)",
        "interval=3\ninterval=3",
        "interval=2",
    ]


def test_work_counts_skipped_parts_and_the_blocks_that_run_on_skipped_steps() -> None:
    facts = ModelFacts("Toy", blocks=6)
    work = sys.modules["work"].Work({"block": 0.9, "self attention": 0.3}, block=0.15, facts=facts)
    parts = {"self attention": {"computed": 1, "skipped": 1}}
    of_blocks = [
        row(method=name, setting="threshold=0.1") for name in ("first-block", "dbcache", "dbcache:blocks=2")
    ]
    rows = sweep_of(row(method="pab", parts=parts), *of_blocks)
    lines = {line.method: line for line in methods.summarise(rows)}
    assert work.share(lines["pab"]) == pytest.approx(0.5 * (1 - 0.3 / 2))
    assert work.share(lines["first-block"]) == work.share(lines["dbcache"]) == pytest.approx(0.5 + 0.5 * 0.15)
    assert work.share(lines["dbcache:blocks=2"]) == pytest.approx(0.5 + 0.5 * 2 * 0.15)


def default_threshold(label: str) -> float:
    """The threshold of a method, as the rows call it, without any setting."""
    name, _, rest = label.partition(":")
    if name == "teacache":
        return THRESHOLD if rest else IDENTITY.threshold
    threshold: float = METHODS[name]().threshold
    return threshold


def test_default_thresholds_keep_30_db_on_both_models() -> None:
    import defaults

    found = {
        model: methods.standings(methods.by_work(methods.summarise(rows), model))
        for model, rows in methods.kept_rows().items()
    }
    safe = {
        method: float(threshold.group(1))
        for method, *_, both, _ in defaults.rows(found, 30)
        if (threshold := re.search(r"threshold=([\d.]+)", both.splitlines()[0]))
    }
    assert len(safe) >= 11
    assert {method: default_threshold(method) <= most for method, most in safe.items()} == dict.fromkeys(
        safe, True
    )
