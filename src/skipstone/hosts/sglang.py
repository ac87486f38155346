"""SGLang: a plan for every pipeline of its diffusers backend, attached by its plugin group."""

import json
import logging
import os
from typing import Any

from skipstone.hosts.settings import attach_as_set

SETTINGS = "SKIPSTONE_SGLANG"
"""The environment variable with the settings as JSON, such as ``{"speedup": 3}``."""

LOADING = (
    "sglang.multimodal_gen.runtime.pipelines.diffusers_pipeline.DiffusersPipeline._load_diffusers_pipeline"
)
"""What returns a diffusers pipeline that is ready to be called."""

logger = logging.getLogger(__name__)


def register() -> None:
    """Ask SGLang to hand over loaded pipelines, where settings are given; each of its processes calls this.

    Raises:
        ValueError: the settings are no JSON object.
    """
    text = os.environ.get(SETTINGS)
    if not text:
        return
    try:
        settings = dict(json.loads(text))
    except (ValueError, TypeError):
        expected = """a JSON object, such as '{"speedup": 3}'"""
        raise ValueError(f"{SETTINGS} must be {expected}, got {text!r}") from None
    from sglang.multimodal_gen.runtime.platforms.plugins import HookRegistry, HookType

    def attach_to(pipe: Any, *_: Any, **__: Any) -> Any:
        handle = attach_as_set(pipe, settings)
        logger.info("skipstone is attached to %s: %s", type(pipe).__name__, handle.method)
        return pipe

    HookRegistry.register(LOADING, attach_to, HookType.AFTER)
