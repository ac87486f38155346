"""Processes that share the work of a report."""

import json
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest

from skipstone.report import workers
from skipstone.report.workers import Crew, spread
from support.crews import halves, refuse


def test_each_process_has_its_part_and_learns_of_the_others(tmp_path: Path) -> None:
    spread(2, halves, tmp_path)
    even, odd = (json.loads((tmp_path / rank).read_text()) for rank in "01")
    assert even == [[0, 2, 4, 6, 8], list(range(10))]
    assert odd == [[1, 3, 5, 7, 9], list(range(10))]


def test_what_one_process_refuses_is_said_as_it_is() -> None:
    with pytest.raises(ValueError, match=r"^not like this$"):
        spread(2, refuse, "not like this")


def test_there_are_no_processes_but_the_crew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is ended by a message goes on for ever where Ctrl-C comes twice."""
    before, wait, seen = len(active_children()), workers._wait, []

    def counted(crew: Any) -> None:
        seen.append(len(active_children()) - before)
        wait(crew)

    monkeypatch.setattr(workers, "_wait", counted)
    spread(2, halves, tmp_path)
    assert seen == [2]


def test_one_alone_does_everything() -> None:
    crew = Crew(on_cpu=True)
    crew.wait()
    assert list(crew.share([1, 2, 3])) == crew.gather([1, 2, 3]) == [1, 2, 3]
