"""A method from its name and hyper-parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.guidance import Guidance
from skipstone.cachers.contract.predictor import Predictor
from skipstone.cachers.contract.wrapper import Wrapper
from skipstone.cachers.planned import Planned
from skipstone.cachers.registry import METHODS, PREDICTORS, SAVERS
from skipstone.cachers.spelling import guess, meant
from skipstone.cachers.wrappers.limits import RunCap, StepMask, StepRange, Tail, Warmup
from skipstone.cachers.wrappers.with_guidance import WithGuidance
from skipstone.cachers.wrappers.with_predictor import WithPredictor
from skipstone.cachers.wrappers.with_settling import WithSettling
from skipstone.schedules.plan import Plan

WRAPPERS: Mapping[str, type[Wrapper]] = {
    cls.name: cls for cls in (RunCap, StepMask, StepRange, Tail, Warmup, WithSettling)
}
"""The wrappers that can be named: those whose hyper-parameters can be typed."""


def make(method: str | Cacher[Any] | Plan, /, **hyperparameters: Any) -> Cacher[Any]:
    """Make a method from its name and hyper-parameters, or from a plan.

    Raises:
        TypeError: not a name, a method or a plan; an unknown or a missing hyper-parameter; or
            hyper-parameters beside an instance.
        ValueError: an unknown method, or a hyper-parameter outside its range.
    """
    if isinstance(method, Cacher):
        if hyperparameters:
            given = ", ".join(hyperparameters)
            raise TypeError(f"{given}: set hyper-parameters where the {type(method).__name__} is made")
        return method
    if isinstance(method, Plan):
        return make(Planned.name, plan=method, **hyperparameters)
    if not isinstance(method, str):
        raise TypeError(f"expected the name of a method, a method or a plan, got {method!r}")
    (first, values), *parts = _shared_out(method, hyperparameters).items()
    made: Cacher[Any] = _made(first, values)
    for kind, values in parts:
        made = _added(made, kind, values)
    return made


def kinds_of(method: str) -> list[Any]:
    """The classes of a name: a method's, and after each plus a predictor, a guidance saver or a wrapper.

    Raises:
        ValueError: nothing of such a name, or what can be added once is added twice.
    """
    name, *parts = method.split("+")
    if not METHODS.spelt(name) and (part := _part_meant(name)):
        raise ValueError(f"{name!r} is added to a method: fora+{part}, or another method before the plus")
    kinds = [METHODS.named(name), *map(_part, parts)]
    for kind, word in ((Predictor, "predictor"), (Guidance, "guidance saver"), *_each_wrapper()):
        if sum(issubclass(one, kind) for one in kinds) > 1:
            raise ValueError(f"{method}: add one {word} at most")
    return kinds


def owner(key: str, kinds: Sequence[Any]) -> tuple[Any, str]:
    """Whose hyper-parameter a key is, and its name.

    The first that has it, and the one that is named before a dot: ``interval`` of ``fora+cfg-cache`` is that
    of ``fora``, ``cfg-cache.interval`` the other.

    Raises:
        TypeError: nobody's.
    """
    part, _, name = key.rpartition(".")
    for kind in kinds:
        if part in ("", kind.name) and name in _names(kind):
            return kind, name
    method, accepted = "+".join(kind.name for kind in kinds), _accepted(kinds)
    raise TypeError(
        f"{method} has no hyper-parameter {key!r}{guess(key, accepted)}; it has: {', '.join(accepted)}"
    )


def name_of(method: str) -> str:
    """The name of a method as it is registered, however it is spelt: ``fora+taylor`` for ``FORA+TaylorSeer``.

    Raises:
        ValueError: as of `kinds_of`.
    """
    return "+".join(kind.name for kind in kinds_of(method))


def _part(name: str) -> Any:
    part, known = _part_meant(name), (*PREDICTORS, *SAVERS, *WRAPPERS)
    if part is None:
        raise ValueError(
            f"unknown predictor, guidance saver or wrapper {name!r}{guess(name, known)}; "
            f"choose one of: {', '.join(known)}"
        )
    if part in WRAPPERS:
        return WRAPPERS[part]
    return PREDICTORS.named(part) if part in PREDICTORS else SAVERS.named(part)


def _part_meant(name: str) -> str | None:
    wrapper = name if name in WRAPPERS else meant(name, WRAPPERS)
    return PREDICTORS.spelt(name) or SAVERS.spelt(name) or wrapper


def _each_wrapper() -> list[tuple[Any, str]]:
    return [(cls, name) for name, cls in WRAPPERS.items()]


def _added(method: Cacher[Any], kind: Any, values: Mapping[str, Any]) -> Cacher[Any]:
    """The method with what one name after a plus adds."""
    if issubclass(kind, Wrapper):
        wrapped: Cacher[Any] = _made(kind, {"cacher": method, **values})
        return wrapped
    part = _made(kind, values)
    return WithPredictor(method, part) if isinstance(part, Predictor) else WithGuidance(method, part)


def _accepted(kinds: Sequence[Any]) -> list[str]:
    """All hyper-parameters as they are typed."""
    found: list[str] = []
    for kind in kinds:
        found += (f"{kind.name}.{name}" if name in found else name for name in _names(kind))
    return found


def _shared_out(method: str, hyperparameters: Mapping[str, Any]) -> dict[Any, dict[str, Any]]:
    """The hyper-parameters of each class that a name stands for."""
    kinds = kinds_of(method)
    values: dict[Any, dict[str, Any]] = {kind: {} for kind in kinds}
    for key, value in hyperparameters.items():
        kind, name = owner(key, kinds)
        if name in values[kind]:
            raise TypeError(f"{method}: {name} of {kind.name} is given twice")
        values[kind][name] = value
    return values


def _made(kind: Any, values: Mapping[str, Any]) -> Any:
    for field in fields(kind):
        if field.default is MISSING and field.default_factory is MISSING and field.name not in values:
            raise TypeError(f"{kind.name} needs {field.name}=...")
    return kind(**values)


def _names(kind: Any) -> list[str]:
    """What can be set; the method in a wrapper is set by its place in the name."""
    return [field.name for field in fields(kind) if field.name != "cacher"]
