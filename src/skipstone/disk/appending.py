"""Append lines to a file that other processes append to as well."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from skipstone.disk.errors import FileError, cannot

LOCK = ".skipstone.lock"
"""The file whose lock makes processes append to the files of a folder in turn."""

POLL = 0.005
"""How many seconds a process waits before it asks for the lock again."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from appending to files in the same folder.

    Raises:
        FileError: the folder is missing or not writable.
    """
    from filelock import FileLock

    lock = FileLock(Path(os.path.realpath(path)).with_name(LOCK))
    try:
        lock.acquire(poll_interval=POLL)
    except (OSError, ValueError) as error:
        raise cannot("write", path, error) from None
    try:
        yield
    finally:
        lock.release()


def check_file(path: Path) -> None:
    """Refuse what lines cannot be read back from: a pipe would be waited for without an end.

    Raises:
        FileError: there is something, and it is no file.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise FileError(f"cannot write {str(path)!r}: it is no file; name another file")


def append(path: Path, lines: Iterable[bytes], opening: bytes) -> None:
    """Append lines of JSON after the last whole one; they are on the disk when this returns.

    The caller holds the lock.

    Args:
        path: the file, made if it is missing.
        lines: what to append, without newlines.
        opening: what every line begins with; by this a torn last line is known.

    Raises:
        FileError: they cannot be written, or the last line is of something else; the file is unchanged.
    """
    try:
        with path.open("ab+", buffering=0) as file:
            tail = _after_last_newline(file)
            end = file.seek(0, os.SEEK_END)
            if is_torn(tail, opening):
                end -= len(tail)
            elif tail and not is_whole(tail):
                raise FileError(f"cannot write {str(path)!r}: it ends in something else; name another file")
            missing = b"\n" if is_whole(tail) else b""
            _extend(file, end, missing + b"".join(line + b"\n" for line in lines))
    except FileError:
        raise
    except (OSError, ValueError) as error:
        raise cannot("write", path, error) from None


def is_torn(tail: bytes, opening: bytes) -> bool:
    """Whether a last line was cut off while it was written; a crash may leave zeros."""
    begun = tail.rstrip(b"\0")
    return (begun.startswith(opening) or opening.startswith(begun)) and not is_whole(tail)


def is_whole(tail: bytes) -> bool:
    """Whether a last line lacks only its newline."""
    try:
        return isinstance(json.loads(tail), dict)
    except (ValueError, RecursionError):
        return False


def _after_last_newline(file: IO[bytes]) -> bytes:
    if not file.seek(0, os.SEEK_END):
        return b""
    file.seek(-1, os.SEEK_END)
    if file.read(1) == b"\n":
        return b""
    file.seek(0)
    return file.read().rpartition(b"\n")[2]


def _extend(file: IO[bytes], end: int, content: bytes) -> None:
    """Replace what follows ``end``; if that fails, nothing follows it."""
    file.truncate(end)
    try:
        while content:
            content = content[file.write(content) :]
        os.fsync(file)
    except OSError:
        file.truncate(end)
        raise
