"""Settings that are checked against their declarations when they are given.

A declaration is a type and its bounds: ``threshold: Annotated[float, Ge(0)] = 0.1``. Numbers are finite, and
nothing is converted: a text or True is no number, a class is no instance.
"""

from collections.abc import Callable, Collection
from dataclasses import astuple, fields, is_dataclass
from functools import cache, reduce, wraps
from inspect import signature
from operator import or_
from reprlib import repr as shortened
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from pydantic import AllowInfNan, BeforeValidator, ConfigDict, InstanceOf, TypeAdapter, ValidationError

P = ParamSpec("P")
T = TypeVar("T")

MOST = 1_000_000_000
"""The largest count that is not a slip of the keyboard."""

Natural = Annotated[int, Ge(0), Le(MOST)]
"""A count, from 0."""

Positive = Annotated[int, Ge(1), Le(MOST)]
"""A count, from 1."""

Share = Annotated[float, Ge(0), Le(1)]
"""A part of a whole."""

Threshold = Annotated[float, Ge(0)]
"""What a change is compared with."""

Change = Annotated[float, AllowInfNan(), Ge(0)]
"""A measured relative change: infinite from nothing to something, but a number."""


class Declared:
    """A base of dataclasses whose fields are checked; their own ``__post_init__`` calls this one first."""

    def __post_init__(self) -> None:
        cls: Any = type(self)
        for name, kind in declarations(cls).items():
            value = getattr(self, name)
            check(name, value, kind)
            if isinstance(value, np.generic):
                object.__setattr__(self, name, value.item())


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """Check the arguments of a function by their annotations."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        kinds = get_type_hints(function, include_extras=True)
        for name, value in signature(function).bind(*args, **kwargs).arguments.items():
            if name in kinds:
                check(name, value, kinds[name])
        return function(*args, **kwargs)

    return call


def check(name: str, value: object, kind: Any) -> None:
    """Check one value.

    Args:
        name: its name in the error message.
        value: the value; a number of numpy counts as Python's.
        kind: its declaration.

    Raises:
        TypeError: a value of another type.
        ValueError: a number out of bounds or not finite, or a word that is not among the accepted ones.
    """
    try:
        _validator(kind).validate_python((value,))
    except ValidationError as refused:
        kinds = [problem["type"] for problem in refused.errors(include_url=False)]
        is_other_type = all(kind.endswith(("_type", "instance_of")) for kind in kinds)
        error = TypeError if is_other_type else ValueError
        raise error(f"{name} must be {accepted(kind)}, got {_shown(value)}") from None


@cache
def declarations(cls: Any) -> dict[str, Any]:
    """The declaration of each field of a dataclass.

    Raises:
        ValueError: a type that cannot be read.
    """
    try:
        hints = get_type_hints(cls, include_extras=True)
    except NameError as why:
        raise ValueError(f"the types of {cls.__name__}'s hyper-parameters cannot be read: {why}") from why
    return {field.name: hints[field.name] for field in fields(cls) if field.init}


@cache
def _validator(kind: Any) -> Any:
    """What validates one value, in a tuple: pydantic takes no rules for a bare dataclass."""
    rules = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    return TypeAdapter(tuple[_strict(kind)], config=rules)  # type: ignore[arg-type, misc]


NUMBERS = (int, float, bool)


def _strict(kind: Any) -> Any:
    """The declaration as pydantic keeps it: with numbers that are numbers, and instances not looked into."""
    origin, parts = get_origin(kind), get_args(kind)
    plain = origin or kind
    if kind in NUMBERS or (origin is Annotated and parts[0] in NUMBERS):
        return Annotated[kind, BeforeValidator(_number)]
    if is_dataclass(plain):
        return InstanceOf[plain]  # type: ignore[misc, valid-type]
    if origin in (Union, UnionType):
        return reduce(or_, map(_strict, _choices(parts)))
    is_collection = isinstance(origin, type) and issubclass(origin, Collection)
    return origin[tuple(map(_strict, parts))] if is_collection else kind


def _number(value: object) -> float | None:
    """A number of numpy as one of Python's; a tensor converts to a number but is not one."""
    plain = value.item() if isinstance(value, np.generic) else value
    return plain if isinstance(plain, int | float) else None


WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    bool: "True or False",
    NoneType: "None",
}

SIGNS: dict[Any, str] = {Ge: ">=", Gt: ">", Le: "<=", Lt: "<"}


def accepted(kind: Any) -> str:
    """A declaration in words."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        word = "a number" if AllowInfNan() in parts else accepted(parts[0])
        return " ".join(filter(None, (word, _bounds(parts[1:]))))
    if origin in (Union, UnionType):
        return " or ".join(map(accepted, _choices(parts)))
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if parts and issubclass(origin, Collection):
        name, each = origin.__name__, (accepted(part) for part in parts if part is not Ellipsis)
        return f"a {name.lower()} of {', '.join(each)}"
    return WORDS.get(kind) or f"an instance of {getattr(origin or kind, '__name__', kind)}"


def _choices(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """What a union accepts; words beside any text are there for editors to complete."""
    return tuple(part for part in parts if get_origin(part) is not Literal) if str in parts else parts


def _bounds(limits: tuple[Any, ...]) -> str:
    match limits:
        case (Ge(ge=low), Le(le=high)):
            return f"from {low} to {high}"
    sides = [f"{SIGNS[type(limit)]} {astuple(limit)[0]}" for limit in limits if type(limit) in SIGNS]
    return " and ".join(sides)


def _shown(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}: make an instance of it"
    return " ".join(shortened(value).split())
