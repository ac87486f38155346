"""A process that is told to end undoes what it has begun."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from skipstone import __main__, cli, ending
from skipstone.report import workers


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    hook = sys.unraisablehook
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    sys.unraisablehook = hook


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_removes_temporary_folders(number: int, tmp_path: Path) -> None:
    ending.end_as_by_ctrl_c()
    with pytest.raises(KeyboardInterrupt), TemporaryDirectory(dir=tmp_path):
        os.kill(os.getpid(), number)
    assert not list(tmp_path.iterdir())


def exit_code(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(sys, "argv", ["skipstone", "methods"])
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    return ended.value.code


def test_an_interrupted_command_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(arguments: object) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    monkeypatch.setattr(cli, "run", interrupted)
    monkeypatch.setattr(__main__, "_written", lambda stream: stream)
    assert exit_code(monkeypatch) == 130
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_interrupt_that_a_library_turned_into_an_error_exits_with_130(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(arguments: object) -> int:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        return 2

    monkeypatch.setattr(cli, "run", interrupted)
    monkeypatch.setattr(__main__, "_written", lambda stream: stream)
    assert exit_code(monkeypatch) == 130


def test_an_interrupt_while_libraries_are_imported_ends_with_130(tmp_path: Path) -> None:
    (tmp_path / "torchmetrics.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt:\n    raise RecursionError\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    found = subprocess.run(
        [sys.executable, "-m", "skipstone", "methods"],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "")


def test_an_interrupt_that_is_lost_in_a_destructor_comes_again() -> None:
    class Destroyed:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    def destroy() -> None:
        Destroyed()
        time.sleep(10)

    ending.end_as_by_ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        destroy()


def test_streams_that_were_closed_take_everything() -> None:
    with __main__._written(None) as stream:
        stream.write("a result")


def test_what_an_encoding_lacks_is_written_as_an_escape() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    __main__._written(stream).write("é ≥")
    stream.flush()
    assert stream.buffer.getvalue() == rb"\xe9 \u2265"  # type: ignore[attr-defined]


def test_processes_that_share_work_end_with_the_one_that_waits() -> None:
    ended = []

    class Process:
        def terminate(self) -> None:
            ended.append(self)

    class Crew:
        processes = (Process(), Process())

        def join(self) -> bool:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workers._wait(Crew())
    assert ended == list(Crew.processes)
