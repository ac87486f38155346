"""vLLM-Omni: a cache backend `skipstone`, added by its plugin group."""

import itertools
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

from skipstone.hosts.settings import attach_as_set
from skipstone.pipelines.attach import CacheHandle
from skipstone.pipelines.model.compiled import written
from skipstone.pipelines.model.models import models_of
from skipstone.pipelines.run.ranks import shared_by
from skipstone.pipelines.run.runs import NamedRun

NAME = "skipstone"

CHOOSES = "get_cache_backend"
"""The function that makes a backend from its name."""

RUNNER = "vllm_omni.diffusion.worker.diffusion_model_runner"
"""The module that has imported that function by name, if it was loaded before plugins are."""

logger = logging.getLogger(__name__)


def register() -> None:
    """Add the backend to vLLM-Omni; each of its processes calls this.

    A vLLM-Omni that is built otherwise keeps working without the backend: a failure here would end it.
    """
    try:
        from vllm_omni.diffusion.cache import selector
        from vllm_omni.diffusion.models.diffusers_adapter.pipeline_diffusers_adapter import (
            DiffusersAdapterPipeline,
        )

        known, refuse = getattr(selector, CHOOSES), DiffusersAdapterPipeline._raise_unsupported_features
    except (ImportError, AttributeError) as error:
        logger.warning("this vLLM-Omni takes no cache backend %r: %s", NAME, error)
        return
    if known.__module__ == __name__:
        return
    chosen = _choosing(known)
    for module in (selector, sys.modules.get(RUNNER)):
        if module is not None:
            setattr(module, CHOOSES, chosen)
    DiffusersAdapterPipeline._raise_unsupported_features = _admitting(refuse)


def _choosing(known: Callable[..., Any]) -> Callable[..., Any]:
    def chosen(cache_backend: str | None, cache_config: Any) -> Any:
        return Backend(cache_config) if cache_backend == NAME else known(cache_backend, cache_config)

    return chosen


def _admitting(refuse: Callable[[Any], None]) -> Callable[[Any], None]:
    """A check that refuses all cache backends but this one."""

    def check(pipeline: Any) -> None:
        config = pipeline.od_config
        if config.cache_backend != NAME:
            return refuse(pipeline)
        config.cache_backend = "none"
        try:
            return refuse(pipeline)
        finally:
            config.cache_backend = NAME

    return check


class Backend:
    """Skip steps of the requests that one process of vLLM-Omni serves, one after the other.

    Args:
        config: the backend's settings, as a mapping or as vLLM-Omni keeps them.
    """

    def __init__(self, config: Any) -> None:
        self.config = config
        self._cache: CacheHandle | None = None
        self._run: NamedRun | None = None
        self._numbers = itertools.count()

    def enable(self, pipeline: Any) -> None:
        """Attach to a pipeline, or to the one of diffusers in it.

        Raises:
            ValueError: processes share the pipeline in a way that steps cannot be skipped in.
        """
        pipe = getattr(pipeline, "_pipeline", pipeline)
        group = _group()
        for model in models_of(pipe).values():
            shared_by(written(model), group)
        self._cache = attach_as_set(pipe, _settings(self.config))
        logger.info("skipstone is attached to %s: %s", type(pipe).__name__, self._cache.method)

    def refresh(self, pipeline: Any, num_inference_steps: int | None, verbose: bool = True) -> None:
        """Begin a run; all calls of the models belong to it until the next request."""
        assert self._cache is not None
        self._leave(verbose)
        # A request may leave the number to the pipeline, whose scheduler tells it.
        run = self._cache.run((NAME, next(self._numbers)), steps=max(1, num_inference_steps or 1))
        self._run = run.__enter__()

    def is_enabled(self) -> bool:
        """Whether it is attached."""
        return self._cache is not None

    def _leave(self, verbose: bool) -> None:
        """End the last request's run, however that request has ended."""
        run, self._run = self._run, None
        if run is None:
            return
        run.__exit__(None, None, None)
        run.end()
        if verbose and run.stats.evaluations:
            logger.info("skipstone: %s", run.stats)


def _settings(config: Any) -> Mapping[str, Any]:
    """The settings that vLLM-Omni does not know of, which it keeps apart from its own."""
    return config if isinstance(config, Mapping) else config._extra_params


def _group() -> Any:
    """The processes that serve a request together; None for this one alone.

    Raises:
        ValueError: they share it as stages of the model, or serve several requests.
    """
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return None
    from vllm_omni.diffusion.distributed import parallel_state as state

    for way in ("data", "pipeline"):
        if getattr(state, f"get_{way}_parallel_world_size")() > 1:
            raise ValueError(f"skipstone skips no steps under {way} parallelism: start an engine without it")
    return state.get_world_group().device_group
