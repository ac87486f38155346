"""Take the picture of the demo: python docs/make/demo.py (needs gradio, chromium and a minute)."""

import runpy
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

import skipstone

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tests"))

from support.browser import chromium  # noqa: E402  (found by the line above)

PROMPT = "a rocket on a black background"
DRAWN = "[...document.querySelectorAll('#whole img, #fast img')].filter(one => one.naturalWidth).length === 2"


def main() -> None:
    example = runpy.run_path(str(ROOT / "examples/demo.py"), run_name="demo")
    page = example["Demo"](skipstone.load("pebble-image"), PROMPT).page()
    _, address, _ = page.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    with chromium() as shown, TemporaryDirectory() as folder:
        shown.visit(address)
        shown.look(900, 860)
        assert shown.settles("document.querySelector('#draw')")
        shown.run("document.querySelector('#draw').click()")
        assert shown.settles(f"{DRAWN} && document.querySelector('#facts table')")
        shown.picture(Path(folder) / "demo.png")
        Image.open(Path(folder) / "demo.png").convert("RGB").save(ROOT / "docs/demo.webp", quality=80)
    page.close()


if __name__ == "__main__":
    main()
