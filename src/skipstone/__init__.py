"""Skip denoising steps of diffusers pipelines, and say what it cost."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skipstone.cachers import (
        FORA,
        METHODS,
        PREDICTORS,
        AdamsBashforth,
        Cacher,
        DBCache,
        DeepCache,
        DiCache,
        EasyCache,
        FirstBlock,
        FoCa,
        Hermite,
        MagCache,
        PerModel,
        Planned,
        Predictor,
        Reuse,
        RunCap,
        SeaCache,
        Spectrum,
        StepMask,
        StepRange,
        Tail,
        Taylor,
        TeaCache,
        Warmup,
        WithPredictor,
    )
    from skipstone.pipelines.attach import CacheHandle, attach
    from skipstone.pipelines.bundled import load
    from skipstone.pipelines.calibration import calibrate
    from skipstone.pipelines.recording import record
    from skipstone.pipelines.stats import RunStats
    from skipstone.schedules.plan import Plan, load_plan
    from skipstone.schedules.record import Record, load_record

__version__ = "0.1.0"

__all__ = [
    "FORA",
    "METHODS",
    "PREDICTORS",
    "AdamsBashforth",
    "CacheHandle",
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
    "Plan",
    "Planned",
    "Predictor",
    "Record",
    "Reuse",
    "RunCap",
    "RunStats",
    "SeaCache",
    "Spectrum",
    "StepMask",
    "StepRange",
    "Tail",
    "Taylor",
    "TeaCache",
    "Warmup",
    "WithPredictor",
    "attach",
    "calibrate",
    "load",
    "load_plan",
    "load_record",
    "record",
]

_HOMES = {
    "METHODS": "cachers",
    "Cacher": "cachers",
    "FirstBlock": "cachers",
    "TeaCache": "cachers",
    "AdamsBashforth": "cachers",
    "DBCache": "cachers",
    "DeepCache": "cachers",
    "DiCache": "cachers",
    "EasyCache": "cachers",
    "FORA": "cachers",
    "FoCa": "cachers",
    "Hermite": "cachers",
    "MagCache": "cachers",
    "PREDICTORS": "cachers",
    "PerModel": "cachers",
    "Plan": "schedules.plan",
    "Planned": "cachers",
    "Predictor": "cachers",
    "Reuse": "cachers",
    "RunCap": "cachers",
    "SeaCache": "cachers",
    "Spectrum": "cachers",
    "StepMask": "cachers",
    "StepRange": "cachers",
    "Tail": "cachers",
    "Taylor": "cachers",
    "Warmup": "cachers",
    "WithPredictor": "cachers",
    "calibrate": "pipelines.calibration",
    "CacheHandle": "pipelines.attach",
    "attach": "pipelines.attach",
    "load": "pipelines.bundled",
    "Record": "schedules.record",
    "RunStats": "pipelines.stats",
    "load_plan": "schedules.plan",
    "load_record": "schedules.record",
    "record": "pipelines.recording",
}


def __getattr__(name: str) -> Any:
    """Bring in a public name when it is first used: the command line's help need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'skipstone' has no attribute {name!r}")
    return getattr(import_module(f"skipstone.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
