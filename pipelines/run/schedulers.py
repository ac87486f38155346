"""Follow what schedulers do, without changing the scheduler objects.

Two methods of the class are replaced as long as anyone follows one of its objects, and notify the followers
of that object only. So followed schedulers and their copies can be pickled and copied, and followers can
leave in any order. Copies are followed too, since pipelines and servers give one to each frame or request.
"""

import functools
import inspect
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid4

MARK = "_skipstone_followers"
"""The attribute in which a followed scheduler keeps its followers' names; copies inherit it."""

FIRST = ("model_output", "timestep", "sample")
"""What a scheduler's step takes first where it does not name its time."""


class Listener(Protocol):
    """Is notified about the schedulers that it follows."""

    def on_set(self, scheduler: Any) -> None:
        """A schedule was set."""

    def on_step(self, scheduler: Any, taken: "Taken") -> None:
        """A step was taken by a scheduler."""


@dataclass(frozen=True)
class Taken:
    """A step that was taken.

    Args:
        arguments: the step's arguments by name, also those that were given by position.
        latents: what it made of them.
    """

    arguments: Mapping[str, Any]
    latents: Any

    @property
    def timestep(self) -> Any:
        """The time of the step."""
        return self.arguments.get("timestep")

    @property
    def output(self) -> Any:
        """The model's output that it used."""
        return self.arguments.get("model_output")

    @property
    def sample(self) -> Any:
        """The latents before it."""
        return self.arguments.get("sample")


@dataclass
class _Exchanged:
    """The replaced methods of one class, and those that the class itself defined."""

    own: dict[str, Any]
    followers: set[str] = field(default_factory=set)


_classes: dict[type[Any], _Exchanged] = {}
_listeners: "weakref.WeakValueDictionary[str, Listener]" = weakref.WeakValueDictionary()
_lock = threading.RLock()


class Following:
    """Follow schedulers and their copies until `stop`.

    Args:
        listener: is notified; it is held weakly.
    """

    def __init__(self, listener: Listener) -> None:
        self._name = uuid4().hex
        self._marked: weakref.WeakSet[Any] = weakref.WeakSet()
        self._followed: set[type[Any]] = set()
        _listeners[self._name] = listener

    def follow(self, scheduler: Any) -> bool:
        """Follow a scheduler; return whether it was not followed before."""
        if self._name in getattr(scheduler, MARK, ()):
            return False
        setattr(scheduler, MARK, (*getattr(scheduler, MARK, ()), self._name))
        self._marked.add(scheduler)
        self._exchange(type(scheduler))
        return True

    def saw(self, scheduler: Any) -> None:
        """Note a copy, so that `stop` restores it."""
        self._marked.add(scheduler)

    def stop(self) -> None:
        """Restore all schedulers."""
        _listeners.pop(self._name, None)
        for scheduler in list(self._marked):
            _unmark(scheduler, self._name)
        self._marked = weakref.WeakSet()
        with _lock:
            for cls in self._followed:
                _classes[cls].followers.discard(self._name)
                if not _classes[cls].followers:
                    _restore(cls)
            self._followed.clear()

    def _exchange(self, cls: type[Any]) -> None:
        with _lock:
            if cls not in _classes:
                own = {name: cls.__dict__.get(name) for name in ("set_timesteps", "step")}
                _classes[cls] = _Exchanged(own)
                cls.set_timesteps = _heard_setting(cls)
                cls.step = _heard_step(cls)
            _classes[cls].followers.add(self._name)
            self._followed.add(cls)


def _unmark(scheduler: Any, name: str) -> None:
    left = tuple(other for other in getattr(scheduler, MARK, ()) if other != name)
    if left:
        setattr(scheduler, MARK, left)
    else:
        scheduler.__dict__.pop(MARK, None)


def _restore(cls: type[Any]) -> None:
    for name, method in _classes.pop(cls).own.items():
        if method is None:
            delattr(cls, name)
        else:
            setattr(cls, name, method)


def _tell(cls: type[Any], scheduler: Any, what: Callable[[Listener], None]) -> None:
    """Notify the followers of objects of exactly this class: a subclass may call its base's method."""
    if type(scheduler) is not cls:
        return
    for name in getattr(scheduler, MARK, ()):
        listener = _listeners.get(name)
        if listener is not None:
            what(listener)


def _heard_setting(cls: type[Any]) -> Any:
    method = cls.set_timesteps

    @functools.wraps(method)
    def set_timesteps(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = method(self, *args, **kwargs)
        _tell(cls, self, lambda listener: listener.on_set(self))
        return result

    return set_timesteps


def _names(step: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a step's arguments, in order."""
    given = inspect.signature(step).parameters.values()
    named = tuple(one.name for one in given if one.kind is one.POSITIONAL_OR_KEYWORD)[1:]
    return named if "timestep" in named else (*FIRST, *named[len(FIRST) :])


def _heard_step(cls: type[Any]) -> Any:
    method = cls.step
    names = _names(method)

    @functools.wraps(method)
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = method(self, *args, **kwargs)
        latents = result[0] if isinstance(result, tuple) else getattr(result, "prev_sample", None)
        taken = Taken({**dict(zip(names, args, strict=False)), **kwargs}, latents)
        _tell(cls, self, lambda listener: listener.on_step(self, taken))
        return result

    return step
