"""Small files on the Hugging Face hub: read within bounds, pushed in one commit."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from skipstone.disk.errors import FileError, shortened
from skipstone.disk.reading import MEGABYTE, MOST, read_bytes

WORD = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}"
"""A name of an owner, a repository or a file: it leads to no other folder."""

ADDRESS = re.compile(rf"(?P<repo>{WORD}/{WORD})/(?P<name>(?!.*\.json$){WORD})")

REPO = re.compile(rf"{WORD}/{WORD}")

PATIENCE = 10.0
"""How many seconds the hub has to begin its answer."""

CARD = "README.md"

REMEDY = "connect, or name a file"


class UnreachableError(FileError):
    """The hub does not answer."""


def address(path: str | Path) -> tuple[str, str] | None:
    """The repository and the name of a file on the hub, as in ``me/plans/flux-dev``.

    None for the path of a file; what exists as a file is one.
    """
    found = ADDRESS.fullmatch(Path(path).as_posix())
    return None if found is None or os.path.exists(path) else (found["repo"], found["name"])


def checked_address(text: str) -> tuple[str, str]:
    """The repository and the name under which a file is pushed.

    Raises:
        ValueError: it is no address.
    """
    found = ADDRESS.fullmatch(text)
    if found is None:
        raise ValueError(f"expected OWNER/REPOSITORY/NAME, such as me/plans/flux-dev-28-steps, got {text!r}")
    return found["repo"], found["name"]


def check_repo(repo: str) -> None:
    """Refuse what is no name of a repository.

    Raises:
        ValueError: it is none.
    """
    if not REPO.fullmatch(repo):
        raise ValueError(f"expected a repository of the hub, such as me/plans, got {repo!r}")


class Repository:
    """What lies in a repository of the hub, as it is when first asked.

    Args:
        name: the repository, such as ``me/plans``.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def _now(self) -> tuple[str | None, Mapping[str, int]]:
        """The newest commit, and the bytes of each file."""
        from huggingface_hub import HfApi

        with _said(self.name):
            info = HfApi().model_info(self.name, files_metadata=True, timeout=PATIENCE)
        return info.sha, {file.rfilename: file.size or 0 for file in info.siblings or ()}

    @property
    def commit(self) -> str | None:
        """The newest commit."""
        return self._now[0]

    @property
    def sizes(self) -> Mapping[str, int]:
        """The bytes of each file in its first folder; files with names that lead elsewhere are left out.

        Raises:
            FileError: there is no such repository, or the hub does not answer.
        """
        return {file: size for file, size in self._now[1].items() if re.fullmatch(WORD, file)}

    def read(self, file: str) -> bytes:
        """Read a file; one that was read before needs no connection.

        Raises:
            FileError: there is no such file, it is too large, or the hub does not answer.
        """
        try:
            self._check(file)
            path = self._fetched(file)
        except UnreachableError:
            kept = self._kept(file)
            if kept is None:
                raise
            path = kept
        return read_bytes(path)

    def present(self, file: str) -> str:
        """The text of a file at the newest commit, which may then be replaced; empty if there is no file.

        Raises:
            FileError: it is too large or no UTF-8, or the hub does not answer.
        """
        if file not in self.sizes:
            return ""
        self._check(file)
        try:
            return read_bytes(self._fetched(file, self.commit)).decode()
        except UnicodeDecodeError:
            raise FileError(f"cannot add to {file!r} of {self.name!r}: save it as UTF-8 first") from None

    def _check(self, file: str) -> None:
        if file not in self.sizes:
            known = ", ".join(sorted(self.sizes)[:10])
            raise FileError(f"cannot read {file!r} of {self.name!r}: the hub has only {known}")
        if self.sizes[file] > MOST:
            raise FileError(f"cannot read {file!r} of {self.name!r}: it has more than {MOST // MEGABYTE} MB")

    def _fetched(self, file: str, commit: str | None = None) -> Path:
        from huggingface_hub import HfApi

        with _said(self.name):
            return Path(HfApi().hf_hub_download(self.name, file, revision=commit))

    def _kept(self, file: str) -> Path | None:
        """The file as it was fetched before; None if it was not."""
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.name, file)
        return Path(found) if isinstance(found, str) else None


def push(repo: str, files: Callable[[str], Mapping[str, str]], message: str, private: bool) -> str:
    """Put texts into a repository, which is made where there is none, in one commit.

    Args:
        repo: the repository.
        files: makes the texts by their names from the repository's present card.
        message: of the commit.
        private: whether a new repository is closed to others.

    Returns:
        The address of the commit.

    Raises:
        FileError: there is no right to it, no connection, the card cannot be read, or somebody else has
            pushed meanwhile.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    with _said(repo):
        HfApi().create_repo(repo, private=private, exist_ok=True)
    there = Repository(repo)
    texts = files(there.present(CARD))
    added = [CommitOperationAdd(name, text.encode()) for name, text in texts.items()]
    with _said(repo):
        done = HfApi().create_commit(repo, added, commit_message=message, parent_commit=there.commit)
    return done.commit_url


@contextmanager
def _said(repo: str) -> Iterator[None]:
    """Say in one line what the hub says.

    Its library raises errors of requests, httpx or httpx2, by its version, where the hub does not answer.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.RepositoryNotFoundError:
        why = "it has no such repository, or it is closed to you: check the name, or `hf auth login`"
        raise FileError(f"the hub refuses {repo!r}: {why}") from None
    except errors.HFValidationError as error:
        raise FileError(f"the hub refuses {repo!r}: {shortened(str(error))}") from None
    except Exception as error:
        said, answer = shortened(str(error)), getattr(error, "response", None)
        if answer is not None and answer.status_code < 500:
            raise FileError(f"the hub refuses {repo!r}: {said}; `hf auth login`, or try again") from None
        raise UnreachableError(f"cannot reach {repo!r} on the hub: {said}; {REMEDY}") from None
