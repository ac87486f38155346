"""The methods and predictors by name, and how one is made from its name and hyper-parameters."""

from dataclasses import MISSING, fields
from typing import Any

from skipstone.cachers.adacache import AdaCache
from skipstone.cachers.block_caching import BlockCaching
from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.predictor import Predictor
from skipstone.cachers.dbcache import DBCache
from skipstone.cachers.deepcache import DeepCache
from skipstone.cachers.delta_dit import DeltaDiT
from skipstone.cachers.dicache import DiCache
from skipstone.cachers.easycache import EasyCache
from skipstone.cachers.faster_cache import FasterCache
from skipstone.cachers.first_block import FirstBlock
from skipstone.cachers.fora import FORA
from skipstone.cachers.magcache import MagCache
from skipstone.cachers.pab import PAB
from skipstone.cachers.planned import Planned
from skipstone.cachers.predictors.adams_bashforth import AdamsBashforth
from skipstone.cachers.predictors.foca import FoCa
from skipstone.cachers.predictors.freqca import FreqCa
from skipstone.cachers.predictors.hermite import Hermite
from skipstone.cachers.predictors.reuse import Reuse
from skipstone.cachers.predictors.spectrum import Spectrum
from skipstone.cachers.predictors.taylor import Taylor
from skipstone.cachers.seacache import SeaCache
from skipstone.cachers.smoothcache import SmoothCache
from skipstone.cachers.teacache import TeaCache
from skipstone.cachers.tgate import TGate
from skipstone.cachers.wrappers.with_predictor import WithPredictor
from skipstone.schedules.plan import Plan

METHODS: dict[str, type[Cacher[Any]]] = {
    method.name: method
    for method in (
        AdaCache,
        BlockCaching,
        DBCache,
        DeepCache,
        DeltaDiT,
        DiCache,
        EasyCache,
        FasterCache,
        FirstBlock,
        FORA,
        MagCache,
        PAB,
        Planned,
        SeaCache,
        SmoothCache,
        TeaCache,
        TGate,
    )
}

PREDICTORS: dict[str, type[Predictor]] = {
    predictor.name: predictor
    for predictor in (AdamsBashforth, FoCa, FreqCa, Hermite, Reuse, Spectrum, Taylor)
}


def make(method: str | Cacher[Any] | Plan, /, **hyperparameters: Any) -> Cacher[Any]:
    """A method from its name and hyper-parameters, or from a plan.

    Raises:
        TypeError: a hyper-parameter that the method does not have, or hyper-parameters beside an instance.
        ValueError: an unknown method, or a hyper-parameter outside its range.
    """
    if isinstance(method, Cacher):
        if hyperparameters:
            given = ", ".join(hyperparameters)
            raise TypeError(f"{given}: set hyper-parameters where the {type(method).__name__} is made")
        return method
    if isinstance(method, Plan):
        return make(Planned.name, plan=method, **hyperparameters)
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
            raise TypeError(f"{method} needs {field.name}=..., which can only be given in Python")
    gate, *predictors = (
        kind(**{f.name: hyperparameters[f.name] for f in fields(kind) if f.name in hyperparameters})
        for kind in kinds
    )
    return WithPredictor(gate, *predictors) if predictors else gate


def kinds_of(method: str) -> list[Any]:
    """The classes that a name stands for: a method's, and a predictor's where one follows after a plus.

    Raises:
        ValueError: no such method or predictor.
    """
    gate, plus, predictor = method.partition("+")
    if gate not in METHODS:
        raise ValueError(f"unknown method {gate!r}; choose one of: {', '.join(sorted(METHODS))}")
    if plus and predictor not in PREDICTORS:
        raise ValueError(f"unknown predictor {predictor!r}; choose one of: {', '.join(sorted(PREDICTORS))}")
    return [METHODS[gate], PREDICTORS[predictor]] if plus else [METHODS[gate]]
