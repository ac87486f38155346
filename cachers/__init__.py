"""The caching methods and predictors, one file each, and the names that the command line knows them by."""

from typing import Any

from skipstone.cachers.adams_bashforth import AdamsBashforth
from skipstone.cachers.base import Cacher, Probe, Reason, Site, Step
from skipstone.cachers.dbcache import DBCache
from skipstone.cachers.deepcache import DeepCache
from skipstone.cachers.dicache import DiCache
from skipstone.cachers.easycache import EasyCache
from skipstone.cachers.first_block import FirstBlock
from skipstone.cachers.foca import FoCa
from skipstone.cachers.fora import FORA
from skipstone.cachers.hermite import Hermite
from skipstone.cachers.limits import RunCap, StepMask, StepRange, Tail, Warmup
from skipstone.cachers.magcache import MagCache
from skipstone.cachers.per_model import PerModel
from skipstone.cachers.planned import Planned
from skipstone.cachers.predictor import Predictor
from skipstone.cachers.reuse import Reuse
from skipstone.cachers.seacache import SeaCache
from skipstone.cachers.spectrum import Spectrum
from skipstone.cachers.taylor import Taylor
from skipstone.cachers.teacache import TeaCache
from skipstone.cachers.with_predictor import WithPredictor

METHODS: dict[str, type[Cacher[Any]]] = {
    method.name: method
    for method in (
        DBCache,
        DeepCache,
        DiCache,
        EasyCache,
        FirstBlock,
        FORA,
        MagCache,
        Planned,
        SeaCache,
        TeaCache,
    )
}

PREDICTORS: dict[str, type[Predictor]] = {
    predictor.name: predictor for predictor in (AdamsBashforth, FoCa, Hermite, Reuse, Spectrum, Taylor)
}

__all__ = [
    "FORA",
    "METHODS",
    "PREDICTORS",
    "AdamsBashforth",
    "Cacher",
    "DBCache",
    "DeepCache",
    "DiCache",
    "EasyCache",
    "FirstBlock",
    "FoCa",
    "Hermite",
    "MagCache",
    "PerModel",
    "Planned",
    "Predictor",
    "Probe",
    "Reason",
    "Reuse",
    "RunCap",
    "SeaCache",
    "Site",
    "Spectrum",
    "Step",
    "StepMask",
    "StepRange",
    "Tail",
    "Taylor",
    "TeaCache",
    "Warmup",
    "WithPredictor",
]
