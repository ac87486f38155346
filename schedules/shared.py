"""The plans of a repository on the hub."""

import warnings
from collections.abc import Sequence
from functools import cached_property

from skipstone.disk.errors import FileError
from skipstone.disk.hub import Repository, UnreachableError, check_repo
from skipstone.disk.reading import MOST
from skipstone.notice import Notice
from skipstone.schedules.load import shared_plan
from skipstone.schedules.plan import Plan

MOST_PLANS = 100
"""How many plans of a repository are read."""


class SharedPlans:
    """The plans of a repository, which are fetched when they are first asked for.

    Args:
        repo: the repository, such as ``me/plans``.

    Raises:
        ValueError: that is no name of a repository.
    """

    def __init__(self, repo: str) -> None:
        check_repo(repo)
        self.repo = repo

    @cached_property
    def plans(self) -> Sequence[Plan]:
        """All of them that can be read; other files may lie beside them.

        Raises:
            FileError: there is no such repository, it holds too much, or the hub does not answer.
        """
        there = Repository(self.repo)
        sizes = {
            file.removesuffix(".json"): size for file, size in there.sizes.items() if file.endswith(".json")
        }
        if len(sizes) > MOST_PLANS or sum(sizes.values()) > MOST:
            raise FileError(f"{self.repo!r} holds too much to look through: load a plan by its name")
        found = [_plan(there, name) for name in sorted(sizes)]
        return [plan for plan in found if plan is not None]


def _plan(there: Repository, name: str) -> Plan | None:
    try:
        return shared_plan(there, name)
    except UnreachableError:
        raise
    except FileError as why:
        warnings.warn(f"left out: {why}", Notice, stacklevel=2)
        return None
