"""How a process ends from outside: whatever it has begun is undone first."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

SIGNALS = ("SIGTERM", "SIGHUP")
"""What asks a process to end, besides Ctrl-C; Windows lacks some."""


AGAIN = 0.02
"""Seconds after which an interrupt that was lost is sent again."""


class Interrupts:
    """Whether a process was interrupted, by what it can be: libraries turn an interrupt into other errors."""

    def __init__(self) -> None:
        self.came = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self.came = True
        raise KeyboardInterrupt

    def lost(self, unraisable: Any) -> None:
        """Send an interrupt again that came while an object was destroyed, where Python drops it."""
        if unraisable.exc_type is not KeyboardInterrupt:
            sys.__unraisablehook__(unraisable)
            return
        threading.Timer(AGAIN, os.kill, (os.getpid(), signal.SIGINT)).start()


def end_as_by_ctrl_c() -> Interrupts:
    """Let these signals raise `KeyboardInterrupt`: temporary folders are removed, and ffmpeg ends."""
    interrupts = Interrupts()
    sys.unraisablehook = interrupts.lost
    for name in (*SIGNALS, "SIGINT"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), interrupts.note)
    return interrupts


def exit_at_once(code: int) -> None:
    """Let them, and Ctrl-C, end the process with a code where it is: nothing was begun yet."""
    for name in (*SIGNALS, "SIGINT"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, frame: os._exit(code))


def end_at_once() -> None:
    """Let them, and Ctrl-C, end the process where it is: nothing is left to undo."""
    for name in (*SIGNALS, "SIGINT"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
