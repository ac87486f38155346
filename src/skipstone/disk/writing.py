"""Write files whole or not at all, where their path leads."""

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from skipstone.disk.errors import FileError, cannot

Writer = Callable[[Path], None]
"""Writes a new file at a path."""


def write(path: Path, writer: Writer) -> None:
    """Let a writer make a file, and bring it to where a path leads.

    A link is followed. A file is replaced when its new content is on the disk, and keeps its mode. A device,
    a pipe or an open file such as ``/dev/stdout`` is written to.

    Args:
        path: the file; its folder must exist.
        writer: writes the content; the path that it is given has the same extension.

    Raises:
        FileError: it cannot be written; what was there is unchanged.
    """
    try:
        if _is_written_to(path):
            _pass_on(path, writer)
        else:
            _replace(path, writer)
    except FileError:
        raise
    except (OSError, ValueError) as error:
        raise cannot("write", path, error) from None


def write_text(path: Path, text: str) -> None:
    """`write` a text."""
    write(path, lambda part: _write_text(part, text))


def check_folder(path: Path) -> None:
    """Refuse a path that cannot be written, before the work whose result it is for.

    Raises:
        FileError: the path is a folder, its folder is missing or not writable, its name is too long, or the
            file that is there is read-only.
    """
    try:
        if not _is_written_to(path):
            _try_folder(_target(path).parent)
        elif not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except FileError:
        raise
    except (OSError, ValueError) as error:
        raise cannot("write", path, error) from None


def _try_folder(folder: Path) -> None:
    try:
        TemporaryDirectory(dir=folder, prefix=".").cleanup()
    except OSError as error:
        raise cannot("write to the folder", folder, error) from None


def _is_written_to(path: Path) -> bool:
    """Whether a path leads to something that must not be replaced by a file.

    Raises:
        OSError: it leads to a folder, or nowhere.
    """
    if _descriptor(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    return not stat.S_ISREG(mode)


def _descriptor(path: Path) -> int | None:
    """The number of this process's open file that a path such as ``/dev/stdout`` names; None for others.

    What is written elsewhere into the same open file must not be written over, so it is not opened again.
    """
    for _ in range(40):  # as many links as a system follows
        if path.name.isdecimal() and os.path.realpath(path.parent) == os.path.realpath("/dev/fd"):
            return int(path.name)
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return None


def _pass_on(path: Path, writer: Writer) -> None:
    with TemporaryDirectory() as folder:
        part = Path(folder) / f"x{path.suffix}"
        writer(part)
        with part.open("rb") as source, _opened(path) as target:
            shutil.copyfileobj(source, target)


def _opened(path: Path) -> IO[bytes]:
    number = _descriptor(path)
    if number is not None:
        return open(os.dup(number), "wb")
    # A pipe that nobody reads would be waited for without an end.
    number = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.set_blocking(number, True)
    return open(number, "wb")


def _replace(path: Path, writer: Writer) -> None:
    target = _target(path)
    with TemporaryDirectory(dir=target.parent, prefix=".") as folder:
        part = Path(folder) / f"x{path.suffix}"
        writer(part)
        if target.exists():
            shutil.copymode(target, part)
        _flush(part)
        part.replace(target)


def _target(path: Path) -> Path:
    """The file that a path leads to.

    Raises:
        OSError: it is read-only, its name is too long, or its folder is missing.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        folder = target.parent if path.parent.is_dir() else path.parent
        raise FileError(f"cannot write {str(path)!r}: there is no folder {str(folder)!r}; make it first")
    try:
        target.stat()
    except FileNotFoundError:
        return target
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "it is read-only")
    return target


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file)
