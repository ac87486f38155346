"""Skip denoising steps of diffusers pipelines, and measure what it costs."""

from importlib import import_module
from inspect import ismodule
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skipstone.names import *  # noqa: F403

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line's help need not wait for torch."""
    if name == "__all__":
        return sorted(_names())
    if name.startswith("_") or name not in (names := _names()):
        raise AttributeError(f"module 'skipstone' has no attribute {name!r}")
    return names[name]


def __dir__() -> list[str]:
    return ["__version__", *sorted(_names())]


def _names() -> dict[str, Any]:
    names = vars(import_module("skipstone.names"))
    return {n: value for n, value in names.items() if not n.startswith("_") and not ismodule(value)}
