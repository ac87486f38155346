"""Change the behaviour of single objects by giving them a subclass."""

import functools
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from skipstone.pipelines.model.compiled import uncompiled

Members = Mapping[str, Callable[..., Any] | property]

_changing = threading.RLock()
"""Held while objects change their class, which threads do that share a model."""


def give_subclass(instance: Any, members: Members) -> "Swap":
    """Move one object to a new subclass of its class that has these members, until the swap is undone.

    Nothing is stored on the object, and copies, pickles and slices of it have the plain class.
    """
    with _changing:
        return Swap(type(instance), [instance], members)


class Swap:
    """Objects of one class that are moved to a subclass with other members.

    The members apply to these objects only; all others, and these after `undo`, use those of the class. Swaps
    of one object can be undone in any order: a swap under other ones stays, without effect, until the last
    one above it is undone. The objects are held weakly.

    Args:
        cls: the class of the objects.
        instances: the objects.
        members: methods and properties by name. A method that `torch.compile` must not trace stays so.
    """

    def __init__(self, cls: type[Any], instances: Iterable[Any], members: Members) -> None:
        self._owners: set[int] = set()
        given = _subclass(cls, {name: self._guarded(cls, name, member) for name, member in members.items()})
        given.swap = self
        self._instances = [self._give(given, instance) for instance in instances]

    def undo(self) -> None:
        """Give the objects their class back; a second call does nothing."""
        self._owners.clear()
        with _changing:
            for instance in (held() for held in self._instances):
                while instance is not None and _is_given(type(instance)) and not type(instance).swap._owners:
                    instance.__class__ = type(instance).__base__

    def _give(self, given: type[Any], instance: Any) -> "weakref.ref[Any]":
        instance.__class__ = given
        self._owners.add(owner := id(instance))
        return weakref.ref(instance, lambda _: self._owners.discard(owner))

    def _guarded(self, cls: type[Any], name: str, member: Callable[..., Any] | property) -> Any:
        if isinstance(member, property):
            return self._guarded_property(getattr(cls, name), member)
        owners, below = self._owners, getattr(cls, name)

        @functools.wraps(member)
        def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
            return (member if id(self) in owners else below)(self, *args, **kwargs)

        hidden = hasattr(member, "_torchdynamo_disable")
        return uncompiled(guarded, recursive=False) if hidden else guarded

    def _guarded_property(self, below: property, member: property) -> property:
        owners = self._owners
        return property(lambda self: (member if id(self) in owners else below).__get__(self))


class _Given(type):
    """The metaclass of these subclasses: calling one makes an object of the plain class."""

    swap: Swap

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return plain(cls)(*args, **kwargs) if _is_given(cls) else super().__call__(*args, **kwargs)


def plain(cls: type[Any]) -> type[Any]:
    """The plain class behind the subclasses of a swap."""
    return next(base for base in cls.__mro__ if not _is_given(base))


def _is_given(cls: type[Any]) -> bool:
    return "swap" in vars(cls) and isinstance(cls, _Given)


def _subclass(cls: type[Any], members: dict[str, Any]) -> Any:
    """A subclass with the class's own name, whose objects are made and copied as objects of the class."""

    def new(kind: type[Any], *args: Any, **kwargs: Any) -> Any:
        make: Callable[..., Any] = cls.__new__
        # object.__new__ rejects arguments, since this subclass overrides __new__.
        return make(plain(kind)) if make is object.__new__ else make(plain(kind), *args, **kwargs)

    def reduce(self: Any, protocol: Any) -> Any:
        del protocol  # Later ones refuse to write another class than the object's present one.
        reduce_below: Callable[..., Any] = cls.__reduce_ex__
        make, given, *state = reduce_below(self, 1)
        return _plainly(make), tuple(map(_plainly, given)), *state

    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    kind = _Given if issubclass(_Given, type(cls)) else type("_Given", (_Given, type(cls)), {})
    return kind(cls.__name__, (cls,), {**names, "__new__": new, "__reduce_ex__": reduce, **members})


def _plainly(part: Any) -> Any:
    return plain(part) if isinstance(part, _Given) else part
