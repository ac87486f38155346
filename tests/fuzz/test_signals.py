"""Signals at any moment of a command: it ends with its code, and leaves neither folders nor processes."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from skipstone.disk.appending import LOCK
from support import saved
from support.mutations import EXAMPLES

pytestmark = pytest.mark.skipif(not EXAMPLES, reason="only in the long mode: each signal takes a process")

LONGEST = 12.0
"""Seconds from the start within which the signal comes; a command takes about as long."""

ENDED = {0, 130}
"""It was done already, or it was interrupted."""

KILLED = {-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}
"""The signal came before the first line of skipstone or after its last one, and nothing was under way."""

Line = Sequence[str]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[Line]:
    """Commands that write with ffmpeg, with pillow, and rows and a page."""
    folder = tmp_path_factory.mktemp("models")
    model = saved.save_wan(folder / "wan")
    (model / "causal.json").write_text('{"chunk": 2, "window": 4}')
    video = ("--model", str(model), "--size", "32x32", "--frames", "5")
    (folder / "prompts.txt").write_text("a cat\na dog\n")
    return [
        ("generate", "a cat", "-o", "a.mp4", *video, "--steps", "4", "--compare", "--scale", "16"),
        ("generate", "a cat", "-o", "b.mp4", *video, "--frames", "400", "--steps", "4", "--stream"),
        ("generate", "a cat", "-o", "a.gif", *video, "--steps", "4", "--method", "fora"),
        ("report", "-o", "a.html", *video, "--steps", "2", "--prompts", str(folder / "prompts.txt"),
         "--methods", "fora:interval=2", "--metrics", "psnr"),
    ]  # fmt: skip


@pytest.mark.parametrize("turn", range(min(EXAMPLES, 200)))
def test_signals(turn: int, lines: list[Line], tmp_path: Path) -> None:
    chooser = random.Random(turn)
    number = chooser.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    with (tmp_path / "err").open("w+") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "skipstone", *chooser.choice(lines)],
            cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=err, start_new_session=True,
        )  # fmt: skip
        time.sleep(chooser.uniform(0.1, LONGEST))
        process.send_signal(number)
        code = process.wait(timeout=60)
        err.seek(0)
        said = err.read()
    assert code in ENDED | KILLED, said
    assert "Traceback" not in said
    assert not left_over(tmp_path)
    assert not still_running(process.pid)


def left_over(folder: Path) -> list[Path]:
    """Temporary files and folders beside the results; a lock may stay beside rows."""
    found = (path for path in folder.iterdir() if path.name.startswith((".", "tmp")))
    return [path for path in found if path.name != LOCK]


def still_running(session: int) -> list[str]:
    """The processes of a session that is over."""
    found = subprocess.run(["ps", "-o", "args=", "-s", str(session)], capture_output=True, text=True)
    return [line for line in found.stdout.splitlines() if "defunct" not in line]
