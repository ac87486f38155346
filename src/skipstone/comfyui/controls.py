"""ControlNets run before the model is called: where the call may be skipped, they wait until it is not."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any


class Waiting:
    """What a ControlNet gives for one call, once it is asked for.

    Args:
        ask: runs the ControlNet.
    """

    def __init__(self, ask: Callable[[], Any]) -> None:
        self.ask = ask


class WaitingControl:
    """A ControlNet that runs when its result is asked for; in all else it is the ControlNet itself.

    Args:
        control: the ControlNet.
    """

    def __init__(self, control: Any) -> None:
        self.control = control

    def get_control(self, *args: Any, **kwargs: Any) -> Waiting:
        return Waiting(partial(self.control.get_control, *args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.control, name)


@contextmanager
def waiting_controls(guider: Any) -> Iterator[None]:
    """Let the ControlNets of a guider's conditions wait; conditions that share one still do."""
    conds = [one for several in guider.conds.values() for one in several or ()]
    found = [(one, one["control"]) for one in conds if one.get("control") is not None]
    waiting = {id(control): WaitingControl(control) for _, control in found}
    for one, control in found:
        one["control"] = waiting[id(control)]
    try:
        yield
    finally:
        for one, control in found:
            one["control"] = control


def asked(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call that is computed: what waits is run."""
    given = {name: _asked(value) for name, value in kwargs.items()}
    return tuple(map(_asked, args)), given


def _asked(value: Any) -> Any:
    return value.ask() if isinstance(value, Waiting) else value
