"""A package with methods of its own, as pip would install it."""

from pathlib import Path

MODULE = '''
from dataclasses import dataclass
from typing import ClassVar

from skipstone import ByStep, Predictor, rungs


@dataclass(frozen=True)
class EveryThird(ByStep):
    """Compute every third step.

    Args:
        phase: the first step, from 0.
    """

    name: ClassVar[str] = "every-third"
    ladder = rungs(phase=range(3))

    phase: int = 0

    def reason_to_compute(self, probe, step, state):
        return "it is a third one" if step.index % 3 == self.phase else None


@dataclass(frozen=True)
class Half(Predictor):
    """Take half of the newest residual."""

    name: ClassVar[str] = "half"
    history = 1

    def combine(self, at, times):
        return [0.5]
'''
POINTS = {
    "skipstone.cachers": {"every-third": "acme_caches:EveryThird"},
    "skipstone.predictors": {"half": "acme_caches:Half"},
}


def installed(folder: Path, points: dict[str, dict[str, str]] = POINTS, module: str = "acme_caches") -> Path:
    """A folder for the module path that holds the package and its entry points."""
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(MODULE)
    return with_entry_points(folder, module, points)


def with_entry_points(folder: Path, package: str, points: dict[str, dict[str, str]]) -> Path:
    """The folder, as if pip had installed a package with such entry points there."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    groups = (
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in named.items())])
        for group, named in points.items()
    )
    (info / "entry_points.txt").write_text("\n".join(groups) + "\n")
    return folder
