"""Methods, predictors and guidance savers by name: skipstone's, registered ones, and those of packages."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from typing import Any, Generic, TypeVar

from skipstone.cachers import builtin
from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.guidance import Guidance
from skipstone.cachers.contract.predictor import Predictor
from skipstone.cachers.contract.wrapper import Wrapper
from skipstone.cachers.spelling import guess, meant

KindT = TypeVar("KindT", bound=Cacher[Any] | Predictor | Guidance)

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Registry(Mapping[str, type[KindT]], Generic[KindT]):
    """Classes of one kind by name. A class from another package is imported when it is first used.

    Args:
        kind: the base class of all of them.
        word: the word for one of them in error messages.
        group: the group of entry points in which installed packages list theirs.
        own: the classes to begin with.
    """

    def __init__(self, kind: type[KindT], word: str, group: str, own: Iterable[Any]) -> None:
        self._kind, self._word, self._group = kind, word, group
        self._known: dict[str, type[KindT]] = {cls.name: cls for cls in own}

    def __getitem__(self, name: str) -> type[KindT]:
        if name not in self:
            raise KeyError(name)
        return self.named(name)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._known, *self._installed}))

    def __len__(self) -> int:
        return len({*self._known, *self._installed})

    def __contains__(self, name: object) -> bool:
        return name in self._known or name in self._installed

    def spelt(self, name: str) -> str | None:
        """The name that a spelling such as ``TeaCache`` stands for; None if there is none."""
        return name if name in self else meant(name, self)

    def named(self, name: str) -> type[KindT]:
        """Return the class of this name, however it is spelt.

        Raises:
            ValueError: no class or several packages have this name, or its package cannot be used.
        """
        first, *others = self._found(self.spelt(name) or name).values() or [None]
        if first is None:
            raise ValueError(
                f"unknown {self._word} {name!r}{guess(name, self)}; choose one of: {', '.join(self)}"
            )
        if others:
            raise ValueError(
                f"several are called {name!r}: {' and '.join(self._found(name))}; "
                f"uninstall one, or give the {self._word} itself in place of its name"
            )
        return self._loaded(first) if isinstance(first, EntryPoint) else first

    def add(self, name: str, cls: Any) -> None:
        """Add a class under its name.

        Raises:
            TypeError: not a class of this kind, or one that is abstract, a wrapper or no dataclass.
            ValueError: the name cannot be typed, differs from the class's own ``name``, or is taken.
        """
        self._check(name, cls)
        # A class that is defined again, as in a notebook, replaces the earlier one.
        others = [origin for origin in self._found(name) if origin != _origin(cls)]
        if others:
            raise ValueError(f"there is a {self._word} {name!r} already, {others[0]}; use another name")
        self._known[name] = cls

    def _found(self, name: str) -> dict[str, type[KindT] | EntryPoint]:
        """Everything of this name, by its origin."""
        known = [self._known[name]] if name in self._known else []
        return {_origin(found): found for found in (*self._installed.get(name, ()), *known)}

    @cached_property
    def _installed(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        # One package can appear twice, under two entries of sys.path.
        for point in dict.fromkeys(entry_points(group=self._group)):
            found.setdefault(point.name, []).append(point)
        return found

    def _loaded(self, point: EntryPoint) -> type[KindT]:
        try:
            cls = point.load()
            self._check(point.name, cls)
        # Another package may raise anything when it is imported.
        except Exception as why:
            raise ValueError(
                f"the {self._word} {point.name!r} of {_origin(point)} cannot be used: {why}"
            ) from why
        known: type[KindT] = cls
        return known

    def _check(self, name: str, cls: Any) -> None:
        if not (isinstance(cls, type) and issubclass(cls, self._kind)):
            raise TypeError(f"expected a class that derives from {self._kind.__name__}, got {cls!r}")
        if issubclass(cls, Wrapper):
            raise TypeError(f"{cls.__name__} changes another method: make it in Python, around that one")
        if isabstract(cls):
            raise TypeError(f"{cls.__name__} does not define {', '.join(sorted(cls.__abstractmethods__))}")
        if "__dataclass_params__" not in vars(cls):
            raise TypeError(f"{cls.__name__} is not a dataclass: write @dataclass(frozen=True) above it")
        if any(field.name == "name" for field in fields(cls)):
            raise TypeError(f"the name of {cls.__name__} is a hyper-parameter: declare it as ClassVar[str]")
        if not NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be typed: use small letters, digits and hyphens")
        if getattr(cls, "name", None) != name:
            raise ValueError(
                f"{cls.__name__} is called {getattr(cls, 'name', None)!r}: use that name, not {name!r}"
            )


def _origin(found: Any) -> str:
    """The dotted path of a class or of an entry point."""
    if isinstance(found, EntryPoint):
        return found.value.replace(":", ".")
    return f"{found.__module__}.{found.__qualname__}"


def _own(kind: type[Any]) -> list[type[Any]]:
    return [cls for cls in vars(builtin).values() if isinstance(cls, type) and issubclass(cls, kind)]


METHODS: Registry[Cacher[Any]] = Registry(
    Cacher,  # type: ignore[type-abstract]
    "method",
    "skipstone.cachers",
    _own(Cacher),
)
"""The classes of methods by their names."""

PREDICTORS: Registry[Predictor] = Registry(
    Predictor,  # type: ignore[type-abstract]
    "predictor",
    "skipstone.predictors",
    _own(Predictor),
)
"""The classes of predictors by their names."""

SAVERS: Registry[Guidance] = Registry(
    Guidance,  # type: ignore[type-abstract]
    "guidance saver",
    "skipstone.savers",
    _own(Guidance),
)
"""The classes of guidance savers by their names."""


def register(name: str, cls: type[Cacher[Any]] | type[Predictor] | type[Guidance]) -> None:
    """Make a method, a predictor or a guidance saver available by name in this process.

    To make it available on the command line too, a package declares an entry point: in the group
    ``skipstone.cachers`` for methods, ``skipstone.predictors`` for predictors, ``skipstone.savers`` for
    guidance savers.

    Args:
        name: the class's ``name``: small letters, digits and hyphens.
        cls: a frozen dataclass that derives from `Cacher`, `Predictor` or `Guidance`.

    Raises:
        TypeError: not such a class.
        ValueError: the name is taken, cannot be typed, or differs from the class's own.
    """
    bases = cls.__mro__ if isinstance(cls, type) else ()
    registry: Registry[Any] = PREDICTORS if Predictor in bases else SAVERS if Guidance in bases else METHODS
    registry.add(name, cls)
