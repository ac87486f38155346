"""`skipstone methods`: the caching methods, as their docstrings describe them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields
from inspect import cleandoc
from itertools import chain
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer
from rich.console import Console
from rich.text import Text

from skipstone.commands.options import JsonOption
from skipstone.commands.output import print_json, table
from skipstone.printable import printable

if TYPE_CHECKING:
    from skipstone.cachers.registry import Registry


@dataclass(frozen=True)
class Parameter:
    """One hyper-parameter; ``default`` is None if it must be given."""

    name: str
    type: str
    default: Any
    meaning: str


@dataclass(frozen=True)
class Method:
    """One caching method, predictor, guidance saver or wrapper.

    Args:
        name: what `skipstone.attach` and the command line call it.
        kind: ``method``, or ``predictor``, ``guidance saver`` or ``wrapper``, which go with any method:
            ``fora+taylor``.
        claim: what it does, in one sentence.
        details: more about it; may be empty.
        use: when to use it.
        source: where it was published.
        difference: how this implementation differs; may be empty.
        parameters: its hyper-parameters.
        package: the package that it comes from; empty if that cannot be imported.
    """

    name: str
    kind: str
    claim: str
    details: str
    use: str
    source: str
    difference: str
    parameters: tuple[Parameter, ...]
    package: str

    @property
    def is_own(self) -> bool:
        """Whether it comes with skipstone."""
        return self.package == "skipstone"

    @property
    def notes(self) -> list[str]:
        """When to use it, where it was published, and the package if it is another one."""
        labelled = {"Use": self.use, "Source": self.source, "Package": self.package * (not self.is_own)}
        return _labelled_lines(labelled)

    @property
    def more(self) -> list[str]:
        """What a list of all methods leaves out: details, what is different here, and how to attach it."""
        labelled = _labelled_lines({"Difference": self.difference, "Python": self.example})
        return [self.details, *labelled] if self.details else labelled

    @property
    def example(self) -> str:
        """How to attach it; a predictor and a guidance saver need a method."""
        name = self.name if self.kind == "method" else f"fora+{self.name}"
        needed = (p.name for p in self.parameters if p.default is None and "None" not in p.type)
        return f'skipstone.attach(pipe, "{name}"{"".join(f", {one}=..." for one in needed)})'

    @property
    def typed(self) -> str:
        """The name as typed: all but a method's follow a plus."""
        return self.name if self.kind == "method" else f"+{self.name}"

    def as_dict(self) -> dict[str, Any]:
        """The method as plain values, for JSON."""
        return asdict(self)


def methods(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAMES", help="Show only these, such as fora+taylor.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the methods and what can be added to them, their sources and their hyper-parameters."""
    found = named(names) if names else catalogue()
    if as_json:
        print_json({"methods": [method.as_dict() for method in found]})
        return
    console = Console(highlight=False, soft_wrap=True)
    for method in found:
        console.print(Text.assemble((method.typed, "bold"), f"  {printable(method.claim)}"))
        for note in (*method.notes, *(method.more if names else ())):
            console.print(f"  {printable(note)}", markup=False)
        console.print(table(("", p.name, str(p.default), p.meaning) for p in method.parameters), "")


def catalogue() -> list[Method]:
    """All methods, predictors, guidance savers and wrappers, each kind sorted by name."""
    from skipstone.cachers.make import WRAPPERS
    from skipstone.cachers.registry import METHODS, PREDICTORS, SAVERS

    registries: Mapping[str, Registry[Any]]
    registries = {"method": METHODS, "predictor": PREDICTORS, "guidance saver": SAVERS}
    found = [_entry(known, name, kind) for kind, known in registries.items() for name in known]
    return found + [_read(cls, "wrapper") for cls in WRAPPERS.values()]


def named(names: Iterable[str]) -> list[Method]:
    """The entries of some methods, and of what is added to them after a plus.

    Raises:
        ValueError: there is no such method.
    """
    from skipstone.cachers.make import kinds_of
    from skipstone.cachers.spelling import meant

    known = {method.name: method for method in catalogue()}

    def all_of(name: str) -> list[str]:
        alone = meant(name.removeprefix("+"), known)
        return [alone] if alone else [kind.name for kind in kinds_of(name)]

    return [known[one] for one in dict.fromkeys(chain.from_iterable(map(all_of, names)))]


def _entry(registry: "Registry[Any]", name: str, kind: str) -> Method:
    """Describe a class, or what is wrong with its package; the others are shown all the same."""
    try:
        return _read(registry.named(name), kind)
    except ValueError as why:
        return Method(name, kind, f"Not usable: {why}", "", "", "", "", (), "")


def _read(cls: Any, kind: str) -> Method:
    text = cleandoc(cls.__doc__ or "")
    meanings = _meanings(text)
    hints = get_type_hints(cls)
    # What a wrapper wraps is named before the plus.
    settable = (field for field in fields(cls) if field.name != "cacher")
    parameters = tuple(_parameter(field, hints[field.name], meanings) for field in settable)
    claim, *details = re.split(r"^\w+:", text, maxsplit=1, flags=re.MULTILINE)[0].split("\n\n")
    return Method(
        name=cls.name,
        kind=kind,
        claim=_joined(claim),
        details=_joined(" ".join(details)),
        use=_labelled("Use", text),
        source=_labelled("Source", text).rstrip("."),
        difference=_labelled("Difference", text),
        parameters=parameters,
        package=cls.__module__.partition(".")[0],
    )


def _parameter(field: "Field[Any]", hint: Any, meanings: dict[str, str]) -> Parameter:
    default = None if field.default is MISSING else field.default
    return Parameter(field.name, _written(hint), default, meanings.get(field.name, ""))


def _labelled_lines(texts: Mapping[str, str]) -> list[str]:
    return [f"{label}: {text}" for label, text in texts.items() if text]


def _written(hint: Any) -> str:
    """A type as it is written in Python."""
    if hint is NoneType:
        return "None"
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(map(_written, get_args(hint)))
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _labelled(label: str, text: str) -> str:
    """The text from ``label:`` to the next label or empty line."""
    found = re.search(rf"^{label}: (.*?)(?=^\w+:|^\s*$|\Z)", text, re.DOTALL | re.MULTILINE)
    return _joined(found[1]) if found else ""


def _meanings(text: str) -> dict[str, str]:
    """The entries of the ``Args:`` section, by name."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", text, re.DOTALL | re.MULTILINE)
    entries: Iterable[tuple[str, str]] = (
        re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", section[1], re.DOTALL | re.MULTILINE)
        if section
        else ()
    )
    return {name: _joined(meaning) for name, meaning in entries}


def _joined(text: str) -> str:
    return " ".join(text.split())
