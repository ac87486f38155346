"""What rows come to, in figures and in words."""

from typing import Any

import pytest

from skipstone.metrics import METRICS
from skipstone.report.rows import PLAIN, REPEAT, UNCACHED
from skipstone.report.summary import summarise
from skipstone.report.verdict import deciding_metric, verdict
from support.measured import row, sweep_of


def test_a_setting_is_summed_up_over_prompts() -> None:
    speeds, values = (1.5, 2.0, 4.0), (40.0, 30.0, 20.0)
    made = [
        row(prompt=f"p{n}", speedup=s, psnr=v, bytes_held=n)
        for n, (s, v) in enumerate(zip(speeds, values, strict=True))
    ]
    references = [row(UNCACHED, prompt=f"p{n}", speedup=1.0) for n in range(3)]
    line = summarise([*references, *made])[-1]
    assert (line.speedup, line.slowest, line.fastest) == pytest.approx((2.0, 1.5, 4.0))
    assert line.call_speedup == pytest.approx(1.5)
    assert line.bytes_held == 2
    spread = line.scores["psnr"]
    assert (spread.mean, spread.worst, spread.best, spread.worst_frame) == (30, 20, 40, 19)
    assert spread.low == pytest.approx(21)
    assert line.title == "fora interval=2"
    assert line.worst_row(METRICS["psnr"])["prompt"] == "p2"


def test_a_busy_moment_of_the_reference_makes_nothing_look_faster() -> None:
    busy = {"loop_seconds": 30.0, "call_seconds": 35.0}
    plain = [row(PLAIN, steps=steps, speedup=10 / steps) for steps in (8, 5)]
    quiet = [row(UNCACHED, speedup=1.0), row(REPEAT, speedup=1.0), *plain, row(speedup=2.0)]
    line = summarise([{**quiet[0], **busy}, *quiet[1:]])[-1]
    assert (line.speedup, line.call_speedup) == (2.0, 1.5)


def test_the_order_of_rows_does_not_matter() -> None:
    made = sweep_of(*(row(prompt=f"p{n}", psnr=30.0 + n) for n in range(4)), row(PLAIN, steps=5))
    assert summarise(made) == summarise(reversed(made))


def said(*rows: dict[str, Any]) -> dict[str, str]:
    return {finding.title: finding.text for finding in verdict(summarise(sweep_of(*rows)))}


BEST, GOOD = "Hard to tell apart (PSNR at least 35 dB)", "Small differences (PSNR at least 30 dB)"
LIKE = "The same scene, other details (PSNR at least 25 dB)"


def test_the_fastest_setting_that_is_good_enough() -> None:
    words = said(
        row(psnr=36.0, speedup=1.5, setting="interval=2"),
        row(psnr=31.0, speedup=2.5, setting="interval=3"),
        row(psnr=26.0, speedup=3.5, setting="interval=4"),
        row(PLAIN, psnr=26.0, speedup=2.0, steps=5),
    )
    assert words[BEST].startswith(
        "fora interval=2: 1.50x faster loop, 1.29x faster call, PSNR 36.0 dB on average"
    )
    assert words[GOOD].startswith("fora interval=3: 2.50x")
    assert words[GOOD].endswith("Fewer plain steps do not reach this at any speed that was measured.")
    assert words[LIKE].startswith("fora interval=4: 3.50x")
    assert words[LIKE].endswith("5 plain steps reach it at 2.00x.")


def test_where_fewer_steps_are_better() -> None:
    words = said(row(psnr=31.0, speedup=1.8), row(PLAIN, psnr=31.0, speedup=2.0, steps=5))
    assert words[BEST] == "No setting that was measured reaches it."
    assert words[GOOD].startswith(
        "Caching does not pay here: 5 plain steps are 2.00x as fast, and the best cache"
    )


def test_about_as_fast_and_better_is_better() -> None:
    plain = row(PLAIN, psnr=31.0, speedup=2.02, steps=5)
    assert said(row(psnr=34.0, speedup=2.0), plain)[GOOD].startswith("fora interval=2: 2.00x")
    assert said(row(psnr=30.5, speedup=2.0), plain)[GOOD].startswith("Caching does not pay")
    assert said(row(psnr=34.0, speedup=1.9), plain)[GOOD].startswith("Caching does not pay")


def test_a_cache_that_is_slow_does_not_pay() -> None:
    made = sweep_of(row(psnr=50.0, speedup=0.9))
    texts = [finding.text for finding in verdict(summarise(made))]
    assert texts[0].startswith(
        "Caching does not pay here: the best cache (fora interval=2) is 0.90x as fast."
    )
    assert "Not faster than computing every step: fora interval=2." in texts
    assert not any(finding.pays for finding in verdict(summarise(made)))


def test_doubts_are_said() -> None:
    texts = [finding.text for finding in verdict(summarise(sweep_of(row(), row(prompt="p1"))))]
    assert "The sweep is not complete: some settings have 1 runs, others 2." in texts
    assert "Measured on 1 pair of prompt and seed: too few to speak for others." in texts
    assert "Noise floor: uncached runs that were repeated came out identical." in texts


def test_one_setting_that_is_best_for_several_qualities_is_said_once() -> None:
    words = said(row(psnr=36.0, speedup=3.0), row(PLAIN, psnr=26.0, speedup=2.0, steps=5))
    assert next(iter(words)) == BEST
    assert not {GOOD, LIKE} & set(words)
    assert words[BEST].endswith("5 plain steps reach it at 2.00x. The same holds for PSNR 30 and 25 dB.")


def with_lpips(value: float) -> dict[str, float]:
    return {"lpips": value, "lpips_low": value, "lpips_worst": value}


def test_another_metric_that_disagrees_is_told() -> None:
    plain = row(PLAIN, psnr=20.0, speedup=2.0, steps=5, **with_lpips(0.5))
    words = said(row(psnr=36.0, **with_lpips(0.15)), plain)
    assert "But LPIPS 0.150 says: the same scene, other details." in words[BEST]
    assert "But" not in said(row(psnr=36.0, **with_lpips(0.05)), plain)[BEST]
    assert "But LPIPS 0.300 says: another picture." in said(row(psnr=36.0, **with_lpips(0.3)), plain)[BEST]


def test_another_metric_judges_where_there_is_no_psnr() -> None:
    scores = {"lpips": 0.07, "lpips_low": 0.07, "lpips_worst": 0.07}
    made = [{key: v for key, v in {**row(), **scores}.items() if not key.startswith("psnr")}]
    lines = summarise(made)
    assert deciding_metric(lines) == "lpips"
    assert verdict(lines)[1].title == "Small differences (LPIPS at most 0.1)"
    assert verdict(lines)[0].text == "No setting that was measured reaches it."


def test_dear_skipped_steps_are_the_reason() -> None:
    """With half of the steps: twice as fast if skipping costs nothing, 1.6 times if it costs a quarter."""
    free, dear = (row(method=name, speedup=speed) for name, speed in (("fora", 2.0), ("teacache", 1.6)))
    assert not any("skipped step" in text for text in remarks(free, dear))
    begin = "Even the cheapest skipped step (teacache) took 25% of a computed one"
    assert any(text.startswith(begin) for text in remarks(dear))


def test_settings_that_skip_parts_say_nothing_of_skipped_steps() -> None:
    parts = {"attention": {"skipped": 5}}
    assert not any("skipped step" in text for text in remarks(row(speedup=1.6, parts=parts)))


def test_settings_that_two_sweeps_measured_do_not_make_one_incomplete() -> None:
    both = [*sweep_of(row()), *sweep_of(row(PLAIN, steps=5))]
    said_of_both = [finding.text for finding in verdict(summarise(both))]
    assert not any("not complete" in text for text in said_of_both)


@pytest.mark.parametrize("computed_share", [0.98, 1.0])
def test_settings_that_skip_next_to_nothing_say_nothing_of_skipped_steps(computed_share: float) -> None:
    """Runs of the same steps differ by half a percent, too."""
    little = row(speedup=1.005, computed_share=computed_share)
    assert not any("skipped step" in text for text in remarks(little))


def remarks(*rows: dict[str, Any]) -> list[str]:
    return [finding.text for finding in verdict(summarise(sweep_of(*rows))) if not finding.title]
