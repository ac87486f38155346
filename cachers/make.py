"""A method from its name and hyper-parameters."""

from dataclasses import MISSING, fields
from typing import Any

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.planned import Planned
from skipstone.cachers.registry import METHODS, PREDICTORS
from skipstone.cachers.wrappers.with_predictor import WithPredictor
from skipstone.schedules.plan import Plan


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
    kinds = kinds_of(method)
    accepted = [field.name for kind in kinds for field in fields(kind)]
    for name in hyperparameters:
        if name not in accepted:
            raise TypeError(f"{method} has no hyper-parameter {name!r}; it has: {', '.join(accepted)}")
    for field in (field for kind in kinds for field in fields(kind)):
        if (
            field.default is MISSING
            and field.default_factory is MISSING
            and field.name not in hyperparameters
        ):
            raise TypeError(f"{method} needs {field.name}=...")
    first, *predictors = (
        kind(**{f.name: hyperparameters[f.name] for f in fields(kind) if f.name in hyperparameters})
        for kind in kinds
    )
    return WithPredictor(first, *predictors) if predictors else first


def kinds_of(method: str) -> list[Any]:
    """The classes of a name: a method's, and after a plus a predictor's.

    Raises:
        ValueError: no such method or predictor.
    """
    name, plus, predictor = method.partition("+")
    return [METHODS.named(name), PREDICTORS.named(predictor)] if plus else [METHODS.named(name)]
