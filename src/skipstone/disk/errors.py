"""The error of a file, in one line that says what would do."""

import errno
from pathlib import Path

REMEDIES = {
    errno.ENOSPC: "free some space, or name a file on another disk",
    errno.EDQUOT: "free some space, or name a file on another disk",
    errno.EFBIG: "free some space, or name a file on another disk",
    errno.EACCES: "name a file in a folder of your own",
    errno.EPERM: "name a file in a folder of your own",
    errno.EROFS: "name a file in a folder of your own",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.EISDIR: "name a file in it",
    errno.ENXIO: "start the program that reads it first",
}
"""What would do about the errors of a system."""

LONGEST = 200
"""The most characters of what another library says."""


class FileError(OSError, ValueError):
    """A file cannot be read, written or used.

    Both an ``OSError`` and a ``ValueError``, so that whoever catches either catches this. Its text is one
    line.
    """


def cannot(do: str, path: str | Path, error: Exception) -> FileError:
    """The error of a file that something cannot be done with.

    Args:
        do: what was to be done, such as ``write``.
        path: the file.
        error: what the system or a library says.
    """
    number = getattr(error, "errno", None)
    said = getattr(error, "strerror", None) or shortened(str(error))
    remedy = REMEDIES.get(number or 0, "name another file")
    return FileError(f"cannot {do} {str(path)!r}: {said}; {remedy}")


def shortened(text: str) -> str:
    """A text from outside in one line: without control characters, and not too long."""
    line = "".join(mark if mark.isprintable() else " " for mark in text)
    words = " ".join(line.split())
    return words if len(words) <= LONGEST else f"{words[: LONGEST - 3]}..."
