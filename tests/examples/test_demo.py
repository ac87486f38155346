"""The demo in examples/, in a real browser: two pictures, a strip, and what was expected and measured."""

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline

import skipstone
from support import saved
from support.browser import CHROMIUM, Page, chromium

gradio = pytest.importorskip("gradio", reason='gradio is not installed: pip install -e ".[demo]"')
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "demo.py"), run_name="demo")

TABLE = "document.querySelector('#facts table')?.innerText"

CALL: dict[str, Any] = {"height": 16, "width": 16, "num_inference_steps": 12, "true_cfg_scale": 3.0}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    pipe = FluxPipeline.from_pretrained(saved.save_flux(tmp_path_factory.mktemp("flux")))
    pipe.set_progress_bar_config(disable=True)
    return EXAMPLE["Demo"](pipe, "a red apple", negative_prompt="a", **CALL)


@pytest.fixture(scope="module")
def page(demo: Any) -> Iterator[Page]:
    shown = demo.page()
    _, address, _ = shown.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    try:
        with chromium() as opened:
            opened.visit(address)
            yield opened
    finally:
        shown.close()


def draw(page: Page, speed: float, prompt: str) -> None:
    """Set the slider and the prompt, press the button, and wait for both pictures."""
    assert page.settles("['draw', 'facts', 'speed', 'prompt'].every(id => document.getElementById(id))")
    before = page.run(f"{TABLE} ?? ''")
    for place, value in (("#speed input[type=range]", speed), ("#prompt textarea", prompt)):
        page.run(
            f"(() => {{ const one = document.querySelector('{place}'); one.value = {value!r};"
            " one.dispatchEvent(new Event('input', {bubbles: true}));"
            " one.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )
    page.run("document.querySelector('#draw').click()")
    drawn = "[...document.querySelectorAll('#whole img, #fast img')].filter(one => one.naturalWidth).length"
    assert page.settles(f"{TABLE} && {TABLE} !== {before!r} && {drawn} === 2")


def facts(page: Page) -> dict[str, str]:
    rows = "[...document.querySelectorAll('#facts tr')].map(row => [...row.cells].map(one => one.innerText))"
    return dict(page.run(rows))


@pytest.mark.parametrize(("speed", "computed"), [(3.0, 4), (2.0, 6)])
def test_both_pictures_and_their_cost_are_shown(page: Page, demo: Any, speed: float, computed: int) -> None:
    draw(page, speed, "a blue apple")
    seen = facts(page)
    assert seen["steps computed"] == f"{computed} of 12"
    assert seen["speed"].startswith(f"expected {speed:.2f}x, measured ")
    assert seen["PSNR"].startswith("expected ")
    label = page.run("document.querySelector('#strip svg').getAttribute('aria-label')")
    strip = demo.record.plan(speedup=speed).strip
    assert label == f"{computed} of 12 steps computed: {strip}"
    sizes = "[...document.querySelectorAll('#whole img, #fast img')].map(one => one.naturalWidth)"
    assert page.run(sizes) == [16, 16]


def test_the_measured_psnr_is_that_of_the_two_pictures(demo: Any) -> None:
    whole, fast, shown = demo.compare("a red apple", 3.0, 7)
    with skipstone.attach(demo.pipe, demo.record.plan(speedup=3.0)):
        generator = torch.Generator().manual_seed(7)
        assert demo.pipe("a red apple", generator=generator, **demo.arguments).images[0] == fast
    generator = torch.Generator().manual_seed(7)
    assert demo.pipe("a red apple", generator=generator, **demo.arguments).images[0] == whole
    a, b = (np.asarray(one, dtype=float) / 255 for one in (whole, fast))
    psnr = 10 * np.log10(1 / ((a - b) ** 2).mean())
    assert f"measured {psnr:.1f} dB" in shown


def test_nothing_is_asked_of_other_machines(page: Page) -> None:
    hosts = {url.split("/")[2].split(":")[0] for url in page.requests if url.startswith("http")}
    assert hosts == {"127.0.0.1"}
