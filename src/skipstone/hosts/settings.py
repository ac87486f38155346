"""What an engine's settings may say."""

from collections.abc import Mapping
from typing import Any

from skipstone.pipelines.attach import CacheHandle, attach
from skipstone.schedules.load import load_plan

KNOWN = ("plan", "speedup", "plans", "snapshots", "cache_device")
"""A plan's file or its address on the hub, and keyword arguments of `attach`."""


def attach_as_set(pipe: Any, settings: Mapping[str, Any]) -> CacheHandle:
    """Attach what an engine's settings ask for.

    Args:
        pipe: the pipeline, or what has models and a scheduler as one.
        settings: values by the names of `KNOWN`; a plan or a speedup among them.

    Raises:
        TypeError: neither a plan nor a speedup, or both.
        ValueError: an unknown setting, or one that `attach` refuses.
    """
    others = sorted({*settings} - {*KNOWN})
    if others:
        raise ValueError(f"skipstone has no setting {others[0]!r}; it has: {', '.join(KNOWN)}")
    given = dict(settings)
    plan = given.pop("plan", None)
    return attach(pipe, None if plan is None else load_plan(plan), **given)
