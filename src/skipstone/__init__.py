"""Skip denoising steps of diffusers pipelines, and say what it cost."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skipstone.cachers import METHODS, Cacher, FirstBlock, TeaCache
    from skipstone.pipelines.attach import CacheHandle, attach
    from skipstone.pipelines.bundled import load
    from skipstone.pipelines.stats import RunStats

__version__ = "0.1.0"

__all__ = ["METHODS", "CacheHandle", "Cacher", "FirstBlock", "RunStats", "TeaCache", "attach", "load"]

_HOMES = {
    "METHODS": "cachers",
    "Cacher": "cachers",
    "FirstBlock": "cachers",
    "TeaCache": "cachers",
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
