"""Skip denoising steps of diffusers pipelines, and say what it cost."""

from skipstone.cachers import METHODS, Cacher, FirstBlock, TeaCache
from skipstone.pipelines.attach import CacheHandle, attach
from skipstone.pipelines.bundled import load
from skipstone.pipelines.stats import RunStats

__version__ = "0.1.0"

__all__ = ["METHODS", "CacheHandle", "Cacher", "FirstBlock", "RunStats", "TeaCache", "attach", "load"]
