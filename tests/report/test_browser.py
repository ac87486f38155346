"""The page in a real browser: no complaints, clips that play together, a table that sorts, any screen."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from skipstone.report import write_page
from skipstone.report.previews import Previews, difference
from support.browser import CHROMIUM, Page, chromium
from support.measured import row, sweep_of

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"
)

FRAMES, FPS = 48, 16


def clip(speed: float) -> torch.Tensor:
    """A bright bar that moves, ``(frames, 48, 64, 3)``."""
    columns = torch.arange(64).float()
    bars = [torch.sigmoid(4 - (columns - speed * frame).abs()) for frame in range(FRAMES)]
    return torch.stack(bars)[:, None, :, None].repeat(1, 48, 1, 3)


def rows(folder: Path, fps: float | None) -> list[dict[str, Any]]:
    """Two methods on two prompts, with clips."""
    previews, reference = Previews(folder / "clips", fps), clip(1.0)

    def shown(name: str, speed: float) -> dict[str, str]:
        made, unlike = clip(speed), difference(clip(speed), reference)
        return {
            "clip": previews.write(made, name),
            "difference": previews.write(unlike, f"{name}-difference"),
        }

    found = [
        row(
            method=method,
            setting=f"interval={n}",
            psnr=40.0 - n,
            speedup=1.0 + n / 3,
            **shown(f"{method}{n}", 1.1),
        )
        for method in ("fora", "teacache")
        for n in (2, 3, 10)
    ]
    header, uncached, repeat, *rest = sweep_of(*found, row("plain", steps=5, psnr=25.0, speedup=1.9))
    uncached = {**uncached, "clip": previews.write(reference, "reference")}
    return [{**header, "fps": fps}, uncached, repeat, *rest]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A report of videos, open in a browser."""
    folder = tmp_path_factory.mktemp("page")
    write_page(rows(folder, FPS), folder / "page.html", folder)
    with chromium() as opened:
        opened.open(folder / "page.html")
        yield opened
        assert opened.complaints == []


def texts(page: Page, column: int) -> list[str]:
    return list(
        page.run(
            f"[...document.querySelectorAll('#settings tbody tr')].map(r => r.cells[{column}].innerText)"
        )
    )


def press(page: Page, heading: str) -> None:
    buttons = "[...document.querySelectorAll('#settings thead button')]"
    page.run(f"{buttons}.find(button => button.innerText.startsWith('{heading}')).click()")


def test_nothing_is_fetched_and_nothing_complained_about(page: Page) -> None:
    assert page.complaints == []
    assert {url.split(":")[0] for url in page.requests} == {"file", "blob"}
    assert sum(url.startswith("file") for url in page.requests) == 1


def test_every_clip_can_be_played(page: Page) -> None:
    assert page.settles("[...document.querySelectorAll('video')].every(v => v.readyState >= 2)")
    lengths = page.run("[...document.querySelectorAll('video')].map(v => v.duration)")
    # Of six settings three clips each; those of fewer steps were not kept.
    assert lengths == pytest.approx([FRAMES / FPS] * 18, abs=0.02)


def test_clips_play_when_they_are_seen_and_stop_together(page: Page) -> None:
    page.run("document.querySelector('.clips').scrollIntoView()")
    first = "[...document.querySelector('.clips').querySelectorAll('video')]"
    assert page.settles(f"{first}.every(v => !v.paused && v.currentTime > 0.3)")
    page.run("document.querySelector('.clips button').click()")
    assert page.settles(f"{first}.every(v => v.paused && !v.seeking)")
    times = page.run(f"{first}.map(v => v.currentTime)")
    assert max(times) - min(times) < 1 / FPS
    last = "[...document.querySelectorAll('.clips')].at(-1).querySelector('video')"
    assert page.run(f"{last}.currentTime") == 0


def test_the_slider_moves_all_clips_of_a_case(page: Page) -> None:
    slider = "document.querySelector('.clips input')"
    page.run(f"{slider}.value = 0.5; {slider}.dispatchEvent(new Event('input'))")
    first = "[...document.querySelector('.clips').querySelectorAll('video')]"
    assert page.settles(f"{first}.every(v => !v.seeking && Math.abs(v.currentTime - v.duration / 2) < 0.05)")


def test_the_table_sorts_by_numbers_and_by_words(page: Page) -> None:
    assert len(texts(page, 0)) == 9
    press(page, "loop")
    rising = [float(text.rstrip("x")) for text in texts(page, 2)]
    assert rising == sorted(rising)
    assert len(set(rising)) > 3
    press(page, "loop")
    assert [float(text.rstrip("x")) for text in texts(page, 2)] == rising[::-1]
    press(page, "setting")
    settings = texts(page, 1)
    # Ten comes after three, as people count.
    assert settings.index("interval=3") < settings.index("interval=10")
    assert page.run("document.querySelectorAll('#settings [aria-sort]').length") == 1
    press(page, "PSNR")
    assert texts(page, 5)[-1] == ""


def test_one_plot_is_shown_at_a_time(page: Page) -> None:
    shown = "[...document.querySelectorAll('.tabs figure')].filter(f => f.offsetParent).length"
    assert page.run(shown) == 1


def box(page: Page, selector: str) -> dict[str, float]:
    """Where an element is, in pixels."""
    return dict(page.run(f"document.querySelector('{selector}').getBoundingClientRect().toJSON()"))


@pytest.mark.parametrize(("width", "height"), [(390, 844), (800, 1180), (1400, 900)])
def test_the_tabs_stand_in_a_row_above_the_plot(page: Page, width: int, height: int) -> None:
    page.look(width, height)
    tab = box(page, "label[for=tab-psnr]")
    plot, around = (box(page, f"#curves {name}") for name in (".tabs figure svg", ".tabs"))
    assert 20 < tab["height"] < 50
    assert tab["width"] < 120
    assert tab["bottom"] <= plot["top"]
    assert plot["left"] == around["left"]
    assert plot["width"] == pytest.approx(min(around["width"], 54 * 16), abs=1)


def test_of_many_methods_the_foremost_are_drawn_until_all_are_asked_for(tmp_path: Path) -> None:
    methods = [f"method-{n}" for n in range(9)]
    made = [row(method=name, psnr=50.0 - n, speedup=2.0) for n, name in enumerate(methods)]
    write_page(sweep_of(*made, row("plain", steps=5, psnr=25.0)), tmp_path / "page.html", tmp_path)
    legend = "[...document.querySelectorAll('.legend li')].filter(one => one.offsetParent)"
    shown = f"{legend}.map(one => one.innerText.trim())"
    plots = "[...document.querySelectorAll('#curves figure svg')].filter(one => one.clientWidth)"
    markers = f"{plots}.map(one => one.querySelectorAll('.marker').length)"
    with chromium() as page:
        page.open(tmp_path / "page.html")
        assert page.run(shown) == ["fewer plain steps", *methods[:5]]
        assert page.run(markers) == [6]
        page.run("document.getElementById('every-method').click()")
        assert page.run(shown) == ["fewer plain steps", *methods]
        assert page.run(markers) == [10]
        assert page.complaints == []


@pytest.mark.parametrize(("width", "height"), [(390, 844), (820, 1180), (1400, 900)])
def test_no_page_is_wider_than_the_screen(page: Page, width: int, height: int) -> None:
    page.look(width, height)
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run("document.querySelector('#settings .wide').scrollWidth") >= page.run(
        "document.querySelector('#settings table').offsetWidth"
    )


def test_light_and_dark(page: Page) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        page.look(1200, 900, scheme)
        colours[scheme] = page.run(
            "(() => { const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]; })()"
        )
    assert colours["light"] == ["rgb(255, 255, 255)", "rgb(26, 26, 26)"]
    assert colours["dark"] == ["rgb(21, 23, 26)", "rgb(232, 234, 237)"]


def test_on_paper_all_plots_are_shown_and_no_buttons(page: Page) -> None:
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.run("[...document.querySelectorAll('.tabs figure')].every(f => f.offsetParent)")
    assert not page.run("[...document.querySelectorAll('.controls')].some(c => c.offsetParent)")
    page.call("Emulation.setEmulatedMedia", media="")


def test_pictures_are_shown(tmp_path: Path) -> None:
    write_page(rows(tmp_path, None), tmp_path / "page.html", tmp_path)
    with chromium() as page:
        page.open(tmp_path / "page.html")
        assert page.settles("[...document.querySelectorAll('.clips img')].every(i => i.naturalWidth === 64)")
        assert page.run("document.querySelectorAll('.clips img').length") == 18
        assert page.run("document.querySelectorAll('video, .controls').length") == 0
        assert page.complaints == []
