"""Changing the behaviour of one object by giving it a subclass of its own."""

from typing import Any


def subclass(cls: type[Any], members: dict[str, Any]) -> type[Any]:
    """A subclass with these members that goes by the name of the class itself."""
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (cls,), {**names, **members})


def give_subclass(instance: Any, members: dict[str, Any]) -> None:
    """Move one object to a new subclass of its class that has these members.

    Nothing is stored on the object, so state dicts, copies and configurations stay as they are. Methods in
    ``members`` must compare ``self`` with ``instance``: a deep copy shares the class but not the behaviour.
    """
    instance.__class__ = subclass(type(instance), members)


def take_subclass_back(instance: Any) -> None:
    """Undo `give_subclass`."""
    instance.__class__ = type(instance).__base__
