"""What is written appears whole or not at all, where its path leads."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from skipstone.disk import writing
from skipstone.disk.errors import FileError
from skipstone.disk.writing import check_folder, write, write_text


def full(part: Path) -> None:
    """Writes half a file before the disk is full."""
    part.write_text("half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_new_or_the_old_one_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")
    with pytest.raises(FileError, match=r"cannot write '.*a.json': No space left .*; free some space"):
        write(path, full)
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_is_not_begun_before_it_is_whole(tmp_path: Path) -> None:
    path, seen = tmp_path / "a.json", list[bool]()
    write(path, lambda part: seen.append(path.exists()) or part.write_text("new"))  # type: ignore[func-returns-value]
    assert seen == [False]
    assert path.read_text() == "new"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link, dangling = tmp_path / "target.json", tmp_path / "link.json", tmp_path / "dangling.json"
    target.write_text("old")
    link.symlink_to("target.json")
    dangling.symlink_to(tmp_path / "later.json")
    write_text(link, "new")
    write_text(dangling, "new")
    assert link.is_symlink()
    assert dangling.is_symlink()
    assert target.read_text() == (tmp_path / "later.json").read_text() == "new"


def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    path.chmod(0o640)
    write_text(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "new")
    assert os.read(reader, 10) == b"new"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_pipe_without_a_reader_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="start the program that reads it first"):
        write_text(tmp_path / "pipe", "new")


def device(folder: Path, name: str, minor: int) -> Path:
    """A device that can be spared: only root could replace that of the system."""
    if os.getuid():
        return Path("/dev") / name
    os.mknod(folder / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
    return folder / name


def test_a_device_is_written_to(tmp_path: Path) -> None:
    null, link = device(tmp_path, "null", 3), tmp_path / "link"
    link.symlink_to(null)
    for path in (null, link):
        check_folder(path)
        write_text(path, "new")
    assert stat.S_ISCHR(link.stat().st_mode)
    assert link.is_symlink()
    with pytest.raises(FileError, match="No space left on device; free some space"):
        write_text(device(tmp_path, "full", 7), "new")


def test_an_open_file_is_written_on_where_it_is(tmp_path: Path) -> None:
    """As ``-o /dev/stdout > file`` does, whose shell has opened the file."""
    link = tmp_path / "out.json"
    with (tmp_path / "file").open("wb", buffering=0) as file:
        link.symlink_to(f"/dev/fd/{file.fileno()}")
        file.write(b"before ")
        write_text(Path(f"/dev/fd/{file.fileno()}"), "new ")
        write_text(link, "newer ")
        file.write(b"after")
    assert (tmp_path / "file").read_text() == "before new newer after"


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a folder": (lambda folder: folder, "it is a folder; name a file in it"),
    "no folder": (lambda folder: folder / "none" / "a.json", "there is no folder '.*none'; make it first"),
    "a file as folder": (lambda folder: written(folder / "file") / "a.json", "(Not a directory|no folder)"),
    "too long": (lambda folder: folder / ("a" * 251 + ".json"), "File name too long; give it a shorter name"),
    "a circle of links": (lambda folder: circle(folder / "link"), "Too many levels of symbolic links"),
    "a zero byte": (lambda folder: folder / "a\0.json", "embedded null"),
    "a folder of the system": (lambda folder: Path("/proc/a.json"), "cannot write"),
}  # fmt: skip


def written(path: Path) -> Path:
    path.write_text("old")
    return path


def circle(path: Path) -> Path:
    path.symlink_to(path)
    return path


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_written_is_known_before(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    path = make(tmp_path)
    before = sorted(tmp_path.iterdir())
    for attempt in (check_folder, lambda path: write_text(path, "new")):
        with pytest.raises(FileError, match=message) as error:
            attempt(path)
        assert len(str(error.value).splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_read_only_file_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.json")
    monkeypatch.setattr(writing.os, "access", lambda path, mode: False)  # root may write anything
    for attempt in (check_folder, lambda path: write_text(path, "new")):
        with pytest.raises(FileError, match="it is read-only"):
            attempt(path)
    assert path.read_text() == "old"


NAMES = ["a" * 250 + ".json", "a" * 255, "x." + "b" * 253, "苹" * 83 + ".json", "-", "~", " "]


@pytest.mark.parametrize("name", NAMES)
def test_what_the_file_system_takes_can_be_written(tmp_path: Path, name: str) -> None:
    check_folder(tmp_path / name)
    write_text(tmp_path / name, "new")
    assert (tmp_path / name).read_text() == "new"
