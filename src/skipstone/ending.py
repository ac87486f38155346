"""How a process ends from outside: whatever it has begun is undone first."""

import signal

SIGNALS = ("SIGTERM", "SIGHUP")
"""What asks a process to end, besides Ctrl-C; Windows lacks some."""


def end_as_by_ctrl_c() -> None:
    """Let these signals raise `KeyboardInterrupt`: temporary folders are removed, and ffmpeg ends."""
    for name in SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)


def end_at_once() -> None:
    """Let them, and Ctrl-C, end the process where it is: nothing is left to undo."""
    for name in (*SIGNALS, "SIGINT"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
