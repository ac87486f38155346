"""The caching methods, one file each, and the names that the command line knows them by."""

from typing import Any

from skipstone.cachers.base import Cacher, Probe, Reason, Site, Step
from skipstone.cachers.first_block import FirstBlock
from skipstone.cachers.teacache import TeaCache

METHODS: dict[str, type[Cacher[Any]]] = {
    method.name: method
    for method in (
        FirstBlock,
        TeaCache,
    )
}

__all__ = ["METHODS", "Cacher", "FirstBlock", "Probe", "Reason", "Site", "Step", "TeaCache"]
