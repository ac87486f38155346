"""Hyper-parameters as typed on the command line: ``threshold=0.2``."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import short
from skipstone.cachers.make import kinds_of, make, owner
from skipstone.declared import declarations


def make_method(
    name: str, settings: Sequence[str], measured: Mapping[str, Any] = MappingProxyType({})
) -> Cacher[Any]:
    """Make a method from its name and typed settings.

    Args:
        name: the method's name; a predictor's and a guidance saver's may follow, each after a plus.
        settings: each one ``key=value``, with a hyper-parameter as key.
        measured: hyper-parameters whose values cannot be typed.

    Raises:
        TypeError: the method has no such hyper-parameter.
        ValueError: an unknown method, a setting without ``=``, or a value that the method refuses.
    """
    return make(name, **values_of(name, settings), **measured)


def values_of(name: str, settings: Sequence[str]) -> dict[str, Any]:
    """The values of typed settings; arguments and errors as above."""
    kinds = kinds_of(name)
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting}: expected key=value")
        if key in values:
            raise ValueError(f"--set {key} is given twice")
        kind, own = owner(key, kinds)
        values[key] = _convert(key, text, declarations(kind)[own])
    return values


def _convert(key: str, text: str, kind: Any) -> Any:
    if get_origin(kind) is Annotated:
        return _convert(key, text, get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return _convert_optional(key, text, get_args(kind))
    if get_origin(kind) is Literal:
        return _choose(key, text, {str(choice): choice for choice in get_args(kind)})
    if kind is bool:
        return _choose(key, text, {"true": True, "false": False})
    if get_origin(kind) is tuple:
        return _convert_tuple(key, text, get_args(kind))
    if kind not in (int, float, str):
        raise ValueError(f"--set {key}: this hyper-parameter can only be set in Python")
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"--set {key}={text}: expected {kind.__name__}, got {text!r}") from None


def _convert_optional(key: str, text: str, kinds: tuple[Any, ...]) -> Any:
    inner = [kind for kind in kinds if kind is not type(None)]
    if text == "none" and len(inner) < len(kinds):
        return None
    return _convert(key, text, inner[0])


def _convert_tuple(key: str, text: str, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    """Convert values between commas: one for each kind, or any number of one kind."""
    texts = text.split(",") if text else []
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(texts)
    if len(kinds) != len(texts):
        raise ValueError(f"--set {key}={text}: expected {len(kinds)} values between commas, got {len(texts)}")
    return tuple(_convert(key, one, kind) for one, kind in zip(texts, kinds, strict=True))


def typed(value: object) -> str:
    """A hyper-parameter's value as text that `make_method` reads."""
    if isinstance(value, tuple):
        return ",".join(map(typed, value))
    return str(value).lower() if value is None or isinstance(value, bool) else short(value)


def _choose(key: str, text: str, choices: dict[str, Any]) -> Any:
    if text not in choices:
        raise ValueError(f"--set {key}={text}: expected one of: {', '.join(choices)}")
    return choices[text]
