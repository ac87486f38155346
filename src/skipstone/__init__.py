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
        FreqCa,
        Guidance,
        Hermite,
        MagCache,
        PerModel,
        Planned,
        Predictor,
        Reuse,
        RunCap,
        ScaleShift,
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
    from skipstone.pipelines.fit import (
        fit_adacache,
        fit_block_caching,
        fit_magcache,
        fit_smoothcache,
        fit_teacache,
    )
    from skipstone.pipelines.opening.block_caching_file import load_block_caching, save_block_caching
    from skipstone.pipelines.recording.record import record
    from skipstone.pipelines.run.stats import RunStats
    from skipstone.schedules.plan import Plan, load_plan
    from skipstone.schedules.record import Record, load_record

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
    "FreqCa",
    "Guidance",
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
    "ScaleShift",
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
    "fit_adacache",
    "fit_block_caching",
    "fit_magcache",
    "fit_smoothcache",
    "fit_teacache",
    "load",
    "load_block_caching",
    "load_plan",
    "load_record",
    "record",
    "save_block_caching",
]

_HOMES = {
    "CacheHandle": "pipelines.attach",
    "Plan": "schedules.plan",
    "Record": "schedules.record",
    "RunStats": "pipelines.run.stats",
    "attach": "pipelines.attach",
    "fit_adacache": "pipelines.fit",
    "fit_block_caching": "pipelines.fit",
    "fit_magcache": "pipelines.fit",
    "fit_smoothcache": "pipelines.fit",
    "fit_teacache": "pipelines.fit",
    "load": "pipelines.bundled",
    "load_block_caching": "pipelines.opening.block_caching_file",
    "load_plan": "schedules.plan",
    "load_record": "schedules.record",
    "record": "pipelines.recording.record",
    "save_block_caching": "pipelines.opening.block_caching_file",
}
"""The modules of the public names; all others come from `skipstone.cachers`."""


def __getattr__(name: str) -> Any:
    """Bring in a public name when it is first used: the command line's help need not wait for torch."""
    if name not in __all__:
        raise AttributeError(f"module 'skipstone' has no attribute {name!r}")
    return getattr(import_module(f"skipstone.{_HOMES.get(name, 'cachers')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
