"""What processes do in the tests of workers: a module of its own, for they import it by name."""

import json
from pathlib import Path

from skipstone.report.workers import Crew


def refuse(text: str) -> None:
    """In the second process only; the first one waits for it."""
    crew = Crew(on_cpu=True)
    if crew.rank == 1:
        raise ValueError(text)
    crew.wait()


def halves(folder: Path) -> None:
    """Each process writes down its part of ten numbers, and what all have found."""
    crew = Crew(on_cpu=True)
    mine = list(crew.share(range(10)))
    (folder / str(crew.rank)).write_text(json.dumps([mine, sorted(crew.gather(mine))]))
