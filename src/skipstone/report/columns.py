"""What the columns of a row may hold."""

import math
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, JsonValue, ValidationError, model_validator
from typing_extensions import Self

from skipstone.disk.errors import FileError, shortened
from skipstone.disk.reading import Name, Plain, Schema, parsed
from skipstone.metrics.comparison import METRICS

SCHEMA = 1
"""The version of the layout. Rows of another version are refused."""

MEASURED = UNCACHED, REPEAT, PLAIN, CACHED = "uncached", "repeat", "plain", "cached"
"""The kinds of timed rows: the reference, the reference again, fewer steps without a cache, a method."""

SEARCH = "search"
"""The kind of a search row: how much of one run a setting computes."""

SWEEP = "sweep"
"""The kind of the row that says what the others were measured on."""

REMEDY = "delete the line, or measure again"

TYPES = {".mp4": "video/mp4", ".webp": "image/webp"}
"""The clips that a page can show."""


def _inside(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or path.suffix not in TYPES:
        raise ValueError(f"should be a file in the folder of the rows that ends in {' or '.join(TYPES)}")
    return text


FARTHEST = 1e9
"""The largest value of a metric."""

Text = Annotated[str, Field(max_length=10**5)]
Count = Annotated[int, Field(ge=0, le=10**15)]
Steps = Annotated[int, Field(ge=1, le=10**6)]
Positive = Annotated[float, Field(gt=1e-9, le=1e9)]
Share = Annotated[float, Field(ge=0, le=1)]
Value = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST)]
Clip = Annotated[Name, AfterValidator(_inside)]


class Columns(Schema):
    """What every row has; columns that are not known are kept as they are."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    version: int = Field(alias="schema")


class SweepColumns(Columns):
    """What the other rows were measured on."""

    kind: Literal["sweep"]
    model: Text
    pipeline: Text
    scheduler: Text
    arguments: dict[Text, Plain]
    dtype: Text
    fps: Positive | None
    device: Text
    versions: dict[Text, Text]
    python: Text
    command: Text
    speedups: list[Value]
    metrics: list[Text]
    left_out: dict[Text, Text]


class SettingColumns(Columns):
    """A row of one setting."""

    method: Text
    setting: Text
    steps_asked: Steps | None
    prompt: Text
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    steps: Steps


class SearchColumns(SettingColumns):
    """How much of one run a setting computes."""

    kind: Literal["search"]
    work_share: Annotated[float, Field(gt=0, le=1)]


class MeasuredColumns(SettingColumns):
    """A timed run, and its metrics."""

    kind: Literal["uncached", "repeat", "plain", "cached"]
    loop_seconds: Positive
    call_seconds: Positive
    speedup: Positive
    call_speedup: Positive
    computed_share: Share
    bytes_held: Count
    strip: Annotated[str, Field(pattern=r"^[#+.]*$", max_length=10**6)]
    expected_errors: list[Annotated[Value, Field(ge=0)] | None]
    parts: dict[Text, JsonValue] = Field(default_factory=dict)
    not_measured: dict[Text, Text] = Field(default_factory=dict)
    clip: Clip | None = None
    difference: Clip | None = None

    @model_validator(mode="after")
    def _check_method(self) -> Self:
        is_named = bool(self.method.partition(":")[0])
        if is_named != (self.kind == CACHED):
            wanted = "be the name of a method" if self.kind == CACHED else "be empty"
            got = shortened(self.method)
            raise ValueError(f"method of a row of kind {self.kind!r} should {wanted}, got {got}")
        return self

    @model_validator(mode="after")
    def _check_metrics(self) -> Self:
        for name in METRICS:
            found = [self.__pydantic_extra__.get(column) for column in columns_of(name)]
            if found != [None] * 3 and not all(map(_is_number, found)):
                raise ValueError(f"{', '.join(columns_of(name))} should be numbers")
        return self


COLUMNS: Mapping[str, type[Columns]] = {
    SWEEP: SweepColumns,
    SEARCH: SearchColumns,
    **dict.fromkeys(MEASURED, MeasuredColumns),
}
"""The columns of each kind of row."""


class AnyColumns(Columns):
    """A row of which only the kind and the version are looked at."""

    kind: Name = ""


def columns_of(metric: str) -> tuple[str, str, str]:
    """The columns of a metric: of the whole clip, of its worst frames, and of the worst one."""
    return metric, f"{metric}_low", f"{metric}_worst"


def row_of(line: bytes, place: str) -> dict[str, Any]:
    """The row that a line holds, column by column as it should be.

    Args:
        line: JSON.
        place: the file and the number of the line.

    Raises:
        FileError: it holds no row, or one that is damaged or of another version.
    """
    kind = any_row_of(line, place).get("kind", "")
    if kind not in COLUMNS:
        raise FileError(f"{place} is of kind {kind!r}, which this skipstone does not know: {REMEDY}")
    columns = parsed(line, COLUMNS[kind], place, REMEDY)
    return with_reasons(columns.model_dump(by_alias=True, exclude_unset=True))


def any_row_of(line: bytes, place: str) -> dict[str, Any]:
    """The row that a line holds, whatever its columns; arguments and errors as of `row_of`."""
    try:
        row = AnyColumns.model_validate_json(line)
    except ValidationError:
        raise FileError(f"{place} is no row of a report: {line[:60]!r}; {REMEDY}") from None
    if row.version != SCHEMA:
        raise FileError(f"{place} is of schema {row.version}, and this skipstone reads {SCHEMA}: {REMEDY}")
    return row.model_dump(by_alias=True, exclude_unset=True)


def with_reasons(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose metrics are all finite: those that are not are among what was not measured."""
    names = [name for name in METRICS if name in row and row.get("kind") in MEASURED]
    odd = {name: row[name] for name in names if not _is_finite(row, name)}
    if not odd:
        return dict(row)
    dropped = {column for name in odd for column in (*columns_of(name), f"{name}_frames")}
    reasons = {name: f"it came out as {value}, which is no number" for name, value in odd.items()}
    kept = {name: value for name, value in row.items() if name not in dropped}
    return {**kept, "not_measured": {**row.get("not_measured", {}), **reasons}}


def _is_finite(row: Mapping[str, Any], metric: str) -> bool:
    values = [row.get(column) for column in columns_of(metric)]
    return all(value is not None and math.isfinite(value) for value in values)


def _is_number(value: object) -> bool:
    """Whether a value is a number that can be drawn, or none at all, as infinity and NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= FARTHEST or value != value or value in (math.inf, -math.inf)
