"""Writers that fail anywhere, and several at once: the old file or the new one, and every row of all."""

import errno
import os
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipstone.disk.errors import FileError
from skipstone.disk.writing import write
from skipstone.report.rows import RowFile, read_rows
from support.measured import HEADER, row
from support.mutations import EXAMPLES, check_refusal, fuzzed

TURNS, ROWS = (100, 150) if EXAMPLES else (1, 30)

ERRORS = [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE, errno.EACCES, errno.ESTALE]


CHARACTERS = st.characters(exclude_characters="/\0", exclude_categories=["Cs"])
NAMES = st.text(CHARACTERS, min_size=1, max_size=60).filter(lambda name: name not in (".", ".."))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@fuzzed
@given(
    name=NAMES,
    written=st.binary(max_size=50),
    old=st.none() | st.binary(max_size=50),
    number=st.none() | st.sampled_from(ERRORS),
    is_link=st.booleans(),
)
def test_a_file_is_the_old_one_or_the_new_one(
    folder: Path, name: str, written: bytes, old: bytes | None, number: int | None, is_link: bool
) -> None:
    home = folder / "home"
    home.mkdir()
    try:
        _try_writing(home, home / name, written, old, number, is_link)
    finally:
        for path in home.iterdir():
            path.unlink()
        home.rmdir()


def _try_writing(
    home: Path, path: Path, written: bytes, old: bytes | None, number: int | None, is_link: bool
) -> None:
    target = home / "target" if is_link else path
    if is_link and path != target:
        path.symlink_to(target)
    if old is not None:
        target.write_bytes(old)
    before = sorted(home.iterdir())

    def writer(part: Path) -> None:
        part.write_bytes(written)
        if number is not None:
            raise OSError(number, os.strerror(number))

    try:
        write(path, writer)
    except FileError as error:
        check_refusal(error, "cannot write")
        expected = old
    else:
        expected = written if number is None else old
        before = sorted({*before, target})
    assert sorted(home.iterdir()) == before
    assert (target.read_bytes() if target.exists() else None) == expected


@pytest.mark.parametrize("shares", [(0, 0, 0), (0, 1, 2)], ids=["one file", "files of their own"])
def test_the_rows_of_three_writers_are_all_there(tmp_path: Path, shares: tuple[int, ...]) -> None:
    """In the long mode 150 of each, a hundred times."""
    processes = get_context("fork")
    for turn in range(TURNS):
        path = tmp_path / f"rows[{turn}].jsonl"
        RowFile(path).append(HEADER)
        writers = [processes.Process(target=_append, args=(path, share, n)) for n, share in enumerate(shares)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        RowFile(path).absorb()
        prompts = [kept["prompt"] for kept in read_rows(path)[1:]]
        assert sorted(prompts) == sorted(f"{n} {count}" for n in range(3) for count in range(ROWS))


def _append(path: Path, share: int, writer: int) -> None:
    file = RowFile(path, share)
    for count in range(ROWS):
        file.append(row(prompt=f"{writer} {count}"))
