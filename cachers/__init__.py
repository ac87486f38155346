"""The caching methods and predictors, one file each, and the names that the command line knows them by."""

from skipstone.cachers.adacache import AdaCache
from skipstone.cachers.block_caching import BlockCaching
from skipstone.cachers.cfg_cache import CFGCache
from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.guidance import Guidance
from skipstone.cachers.contract.predictor import Predictor
from skipstone.cachers.contract.words import Probe, Reason, Site, Step
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
from skipstone.cachers.registry import METHODS, PREDICTORS
from skipstone.cachers.scale_shift import ScaleShift
from skipstone.cachers.seacache import SeaCache
from skipstone.cachers.smoothcache import SmoothCache
from skipstone.cachers.teacache import TeaCache
from skipstone.cachers.tgate import TGate
from skipstone.cachers.wrappers.limits import RunCap, StepMask, StepRange, Tail, Warmup
from skipstone.cachers.wrappers.per_model import PerModel
from skipstone.cachers.wrappers.with_guidance import WithGuidance
from skipstone.cachers.wrappers.with_predictor import WithPredictor

__all__ = [
    "FORA",
    "METHODS",
    "PAB",
    "PREDICTORS",
    "AdaCache",
    "AdamsBashforth",
    "BlockCaching",
    "CFGCache",
    "Cacher",
    "DBCache",
    "DeepCache",
    "DeltaDiT",
    "DiCache",
    "EasyCache",
    "FasterCache",
    "FirstBlock",
    "FoCa",
    "FreqCa",
    "Guidance",
    "Hermite",
    "MagCache",
    "PerModel",
    "Planned",
    "Predictor",
    "Probe",
    "Reason",
    "Reuse",
    "RunCap",
    "ScaleShift",
    "SeaCache",
    "Site",
    "SmoothCache",
    "Spectrum",
    "Step",
    "StepMask",
    "StepRange",
    "TGate",
    "Tail",
    "Taylor",
    "TeaCache",
    "Warmup",
    "WithGuidance",
    "WithPredictor",
]
