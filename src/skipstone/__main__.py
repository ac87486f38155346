"""`python -m skipstone` and `skipstone`: the command line as a process."""

import os
import sys
from contextlib import suppress
from typing import Any

from skipstone.ending import end_as_by_ctrl_c, end_at_once, exit_at_once

INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit with its code."""
    exit_at_once(INTERRUPTED)
    sys.stdout, sys.stderr = _written(sys.stdout), _written(sys.stderr)
    # Libraries that are interrupted while they are imported can go on in an error of their own.
    from skipstone.cli import run

    interrupts = end_as_by_ctrl_c()
    try:
        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = INTERRUPTED
    end_at_once()
    if code and interrupts.came:
        code = INTERRUPTED
    for stream in (sys.stdout, sys.stderr):
        _finish(stream)
    sys.exit(code)


def _written(stream: Any) -> Any:
    """The stream, which writes what its encoding lacks as escapes; one that was closed takes everything."""
    if stream is None:
        return open(os.devnull, "w")
    stream.reconfigure(errors="backslashreplace")
    return stream


def _finish(stream: Any) -> None:
    """Drop what cannot be written: `run` has said so, and Python would say it again."""
    try:
        stream.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


if __name__ == "__main__":
    main()
