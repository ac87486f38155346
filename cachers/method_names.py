"""The names of the methods that come with skipstone."""

from typing import Literal

MethodName = Literal[
    "adacache", "block-caching", "dbcache", "deepcache", "delta-dit", "dicache", "easycache", "fastercache",
    "first-block", "fora", "magcache", "pab", "planned", "seacache", "shared-prefix", "smoothcache",
    "teacache", "tgate",
]  # fmt: skip
"""For editors to complete; `attach` takes other names too, of methods from elsewhere."""
