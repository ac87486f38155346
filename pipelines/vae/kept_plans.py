"""Plans of decoders and encoders, found once and kept in the user's cache folder."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from skipstone.disk.cache_folder import cache_folder
from skipstone.disk.reading import Name, Schema, read_bytes
from skipstone.pipelines.vae.attentions import Memory
from skipstone.pipelines.vae.padded import Padded
from skipstone.pipelines.vae.planner import FRAMES, NotChunkedError, Plan, find_plan
from skipstone.pipelines.vae.side import Side
from skipstone.pipelines.vae.units import Unit
from skipstone.pipelines.vae.windows import Trimmed, Window
from skipstone.schedules import files

KIND = "chunk plan"

PACKAGES = ("skipstone", "torch", "diffusers")
"""A plan that was found with other versions of these is found again."""

UNITS: dict[str, type[Window]] = {"window": Window, "trimmed": Trimmed, "padded": Padded}


@dataclass(frozen=True)
class Found:
    """What the trial of a decoder or an encoder has shown.

    Args:
        plan: the units of its parts; None if its chunks cannot give the whole.
        why: why they cannot.
        dropped: how many frames the autoencoder drops from the beginning of what its coder makes.
        notes: what went wrong with the file.
    """

    plan: Plan | None
    why: str = ""
    dropped: int = 0
    notes: tuple[str, ...] = ()


class UnitFile(Schema):
    """A unit as it is kept."""

    kind: Literal["window", "trimmed", "padded", "memory"]
    left: Annotated[int, Field(ge=0, le=64)] = 0
    rate: tuple[Annotated[int, Field(ge=1, le=64)], Annotated[int, Field(ge=1, le=64)]] = (1, 1)
    right: Annotated[int, Field(ge=0, le=64)] = 0

    @classmethod
    def of(cls, unit: Unit) -> "UnitFile":
        if not isinstance(unit, Window):
            return cls(kind="memory")
        kind: Any = next(name for name, made in UNITS.items() if made is type(unit))
        return cls(kind=kind, left=unit.left, rate=unit.rate.as_integer_ratio(), right=unit.right)

    def unit(self) -> Unit:
        if self.kind == "memory":
            return Memory()
        return UNITS[self.kind](self.left, Fraction(*self.rate), self.right)


class PlanFile(files.Head):
    """A plan as it is kept, or why there is none."""

    coder: Name
    versions: dict[Name, Name]
    why: Annotated[str, Field(max_length=500)]
    dropped: Annotated[int, Field(ge=0, le=64)]
    units: dict[Name, UnitFile]


_found: dict[str, Found] = {}
"""What was found in this process, by the kind of the decoder or encoder."""


def found(side: Side) -> Found:
    """The plan of a side: that of this process, that of the cache folder, or one by trial.

    Raises:
        TypeError: it cannot run a video.
    """
    if side.kind not in _found:
        _found[side.kind] = _from_file(side)
    return _found[side.kind]


def kept_trials() -> Iterator[tuple[str, str]]:
    """The decoders and encoders whose trials are kept, and what they have shown."""
    folder = cache_folder("chunks")
    for path in sorted(folder.glob("*.json")) if folder is not None else ():
        try:
            kept = files.read(read_bytes(path), KIND, PlanFile, repr(str(path)))
        except ValueError:  # It is made again when it is needed.
            continue
        yield kept.coder, f"runs as written: {kept.why}" if kept.why else "runs in chunks"


def _from_file(side: Side) -> Found:
    folder, name = cache_folder("chunks"), f"{type(side.vae).__name__} {side.name}"
    path = None if folder is None else folder / f"{side.kind}.json"
    if path is None or not os.path.isfile(path):
        return _kept(_tried(side, ()), name, path)
    try:
        kept = files.read(read_bytes(path), KIND, PlanFile, repr(str(path)))
    except ValueError as why:
        return _kept(_tried(side, (f"planned again, as {why}",)), name, path)
    if kept.versions != _versions() or not kept.units.keys() <= dict(side.coder.named_modules()).keys():
        return _kept(_tried(side, ()), name, path)
    units = {name: unit.unit() for name, unit in kept.units.items()}
    return Found(None if kept.why else units, kept.why, kept.dropped)


def _tried(side: Side, notes: tuple[str, ...]) -> Found:
    dropped = side.dropped()
    try:
        plan = find_plan(side.coder, side.channels, side.frames(FRAMES), side.edge, side.others)
    except NotChunkedError as why:
        return Found(None, str(why), dropped, notes)
    return Found(plan, "", dropped, notes)


def _kept(made: Found, name: str, path: Path | None) -> Found:
    """Keep what was found for other processes. A decode does not depend on it."""
    if path is None:
        return made
    units = {name: UnitFile.of(unit).model_dump() for name, unit in (made.plan or {}).items()}
    content = {"why": made.why, "dropped": made.dropped, "units": units}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, KIND, {"coder": name, "versions": _versions(), **content})
    except (OSError, ValueError) as error:
        return replace(made, notes=(*made.notes, f"the plan is not kept for other processes: {error}"))
    return made


def _versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}
