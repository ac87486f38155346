"""Skip denoising steps of diffusers pipelines, and say what it cost."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skipstone.cachers import (
        FORA,
        METHODS,
        PAB,
        PREDICTORS,
        AdaCache,
        AdamsBashforth,
        BlockCaching,
        Cacher,
        CFGCache,
        DBCache,
        DeepCache,
        DeltaDiT,
        DiCache,
        EasyCache,
        FasterCache,
        FirstBlock,
        FoCa,
        Guidance,
        Hermite,
        MagCache,
        PerModel,
        Predictor,
        Reuse,
        RunCap,
        SeaCache,
        SmoothCache,
        Spectrum,
        StepMask,
        StepRange,
        Tail,
        Taylor,
        TeaCache,
        TGate,
        Warmup,
        WithGuidance,
        WithPredictor,
    )
    from skipstone.pipelines.attach import CacheHandle, attach
    from skipstone.pipelines.bundled import load
    from skipstone.pipelines.calibration import (
        calibrate,
        fit_adacache,
        fit_block_caching,
        fit_smoothcache,
        fit_teacache,
    )
    from skipstone.pipelines.stats import RunStats

__version__ = "0.1.0"

__all__ = [
    "FORA",
    "METHODS",
    "PAB",
    "PREDICTORS",
    "AdaCache",
    "AdamsBashforth",
    "BlockCaching",
    "CFGCache",
    "CacheHandle",
    "Cacher",
    "DBCache",
    "DeepCache",
    "DeltaDiT",
    "DiCache",
    "EasyCache",
    "FasterCache",
    "FirstBlock",
    "FoCa",
    "Guidance",
    "Hermite",
    "MagCache",
    "PerModel",
    "Predictor",
    "Reuse",
    "RunCap",
    "RunStats",
    "SeaCache",
    "SmoothCache",
    "Spectrum",
    "StepMask",
    "StepRange",
    "TGate",
    "Tail",
    "Taylor",
    "TeaCache",
    "Warmup",
    "WithGuidance",
    "WithPredictor",
    "attach",
    "calibrate",
    "fit_adacache",
    "fit_block_caching",
    "fit_smoothcache",
    "fit_teacache",
    "load",
]

_HOMES = {
    "METHODS": "cachers",
    "Cacher": "cachers",
    "FirstBlock": "cachers",
    "TeaCache": "cachers",
    "AdaCache": "cachers",
    "AdamsBashforth": "cachers",
    "BlockCaching": "cachers",
    "DBCache": "cachers",
    "DeepCache": "cachers",
    "DiCache": "cachers",
    "EasyCache": "cachers",
    "FORA": "cachers",
    "FoCa": "cachers",
    "Hermite": "cachers",
    "MagCache": "cachers",
    "CFGCache": "cachers",
    "FasterCache": "cachers",
    "Guidance": "cachers",
    "WithGuidance": "cachers",
    "PAB": "cachers",
    "TGate": "cachers",
    "DeltaDiT": "cachers",
    "PREDICTORS": "cachers",
    "PerModel": "cachers",
    "Predictor": "cachers",
    "Reuse": "cachers",
    "RunCap": "cachers",
    "SeaCache": "cachers",
    "SmoothCache": "cachers",
    "Spectrum": "cachers",
    "StepMask": "cachers",
    "StepRange": "cachers",
    "Tail": "cachers",
    "Taylor": "cachers",
    "Warmup": "cachers",
    "WithPredictor": "cachers",
    "calibrate": "pipelines.calibration",
    "fit_adacache": "pipelines.calibration",
    "fit_block_caching": "pipelines.calibration",
    "fit_smoothcache": "pipelines.calibration",
    "fit_teacache": "pipelines.calibration",
    "CacheHandle": "pipelines.attach",
    "attach": "pipelines.attach",
    "load": "pipelines.bundled",
    "RunStats": "pipelines.stats",
}


def __getattr__(name: str) -> Any:
    """Bring in a public name when it is first used: the command line's help need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'skipstone' has no attribute {name!r}")
    return getattr(import_module(f"skipstone.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
