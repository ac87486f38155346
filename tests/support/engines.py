"""Stand-ins of engines: the parts that a plugin meets, from their description or from an installed wheel.

The engines themselves need GPUs and dozens of packages. Where their wheels are installed without these, the
functions that a plugin depends on are taken out of their files and run in the stand-ins' place.
"""

import ast
import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ADAPTER = "vllm_omni.diffusion.models.diffusers_adapter.pipeline_diffusers_adapter"
SELECTOR = "vllm_omni.diffusion.cache.selector"
RUNNER = "vllm_omni.diffusion.worker.diffusion_model_runner"
STATE = "vllm_omni.diffusion.distributed.parallel_state"
HOOKS = "sglang.multimodal_gen.runtime.platforms.plugins"
LOADER = "sglang.multimodal_gen.runtime.pipelines.diffusers_pipeline"


def wheel(package: str) -> Path | None:
    """Where a package is installed; it is not imported."""
    found = importlib.util.find_spec(package)
    places = [] if found is None else list(found.submodule_search_locations or ())
    return Path(places[0]).parent if places else None


def piece(folder: Path, module: str, *names: str, **known: Any) -> Any:
    """A function or a class of a module's file, alone: by the names of what it is in, outermost first.

    Args:
        folder: where the package is.
        module: the module.
        names: the names.
        known: what it finds as global names.
    """
    node = defines(folder, module, *names)
    assert node is not None, f"{module} has no {'.'.join(names)}"
    later = ast.ImportFrom("__future__", [ast.alias("annotations")], 0)
    tree = ast.fix_missing_locations(ast.Module([later, node], []))
    exec(compile(tree, module, "exec"), known)
    return known[names[-1]]


def defines(folder: Path, module: str, *names: str) -> ast.stmt | None:
    """Where a module's file defines a name in others, outermost first; None if it does not."""
    path = folder.joinpath(*module.split(".")).with_suffix(".py")
    body, node = ast.parse(path.read_text()).body, None
    for name in names:
        node = next((one for one in body if getattr(one, "name", None) == name), None)
        body = getattr(node, "body", [])
    return node


@dataclasses.dataclass
class Config:
    """Settings of a cache backend: known ones, and others."""

    num_inference_steps: int | None = None
    _extra_params: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Config":
        return cls(_extra_params=data)


def choose(cache_backend: str | None, cache_config: Any) -> Any:
    """The backend of a name."""
    if cache_backend in (None, "none"):
        return None
    raise ValueError(f"Unsupported cache backend: {cache_backend}")


def refuse(self: Any) -> None:
    """The adapter's check."""
    if self.od_config.cache_backend not in ("none", None):
        raise NotImplementedError(f"Cache backend '{self.od_config.cache_backend}' is not supported")


def refresh(self: Any, reqs: list[Any], *, od_config: Any) -> None:
    """What the runner does before requests."""
    if self.cache_backend is not None and self.cache_backend.is_enabled():
        self.cache_backend.refresh(self.pipeline, reqs[0].sampling_params.num_inference_steps)


class VLLMOmni:
    """One worker of vLLM-Omni: its plugins, a pipeline, and requests.

    Args:
        patch: puts the modules where they are imported from.
        folder: where the wheel is; None for what stands in for it.
    """

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path | None) -> None:
        self._folder, logger = folder, SimpleNamespace(warning=pytest.fail)
        known: dict[str, Any] = {"Any": Any, "dataclass": dataclasses.dataclass, "field": dataclasses.field}
        self.Config = self._piece(
            Config, "vllm_omni.diffusion.data", "DiffusionCacheConfig", fields=dataclasses.fields, **known
        )
        chosen = self._piece(choose, SELECTOR, "get_cache_backend", DiffusionCacheConfig=self.Config)
        check = self._piece(refuse, ADAPTER, "DiffusersAdapterPipeline", "_raise_unsupported_features")
        self._refresh = self._piece(
            refresh, RUNNER, "DiffusionModelRunner", "_refresh_cache_for_requests", logger=logger
        )
        self.Adapter = type("DiffusersAdapterPipeline", (Adapter,), {"_raise_unsupported_features": check})
        modules = {
            SELECTOR: {"get_cache_backend": chosen},
            RUNNER: {"get_cache_backend": chosen},
            ADAPTER: {"DiffusersAdapterPipeline": self.Adapter},
        }
        chosen.__module__ = SELECTOR
        install(patch, modules)
        self.cache_backend: Any = None

    def _piece(self, standing_in: Any, *names: str, **known: Any) -> Any:
        return standing_in if self._folder is None else piece(self._folder, *names, **known)

    def load(self, make: Callable[[Any], Any], backend: str, **settings: Any) -> None:
        """Load a pipeline as a worker does: its weights, then its cache."""
        parallel = SimpleNamespace(
            tensor_parallel_size=1, cfg_parallel_size=1, sequence_parallel_size=1, data_parallel_size=1
        )
        self.od_config = SimpleNamespace(
            cache_backend=backend, cache_config=self.Config.from_dict(settings), parallel_config=parallel,
            diffusion_offload_config=None, enforce_eager=False, quantization_config=None,
            diffusers_load_kwargs={},
        )  # fmt: skip
        self.pipeline = make(self.od_config)
        choosing = sys.modules[RUNNER].get_cache_backend  # type: ignore[attr-defined]
        self.cache_backend = choosing(backend, self.od_config.cache_config)
        if self.cache_backend is not None:
            self.cache_backend.enable(self.pipeline)

    def execute(self, **asked: Any) -> Any:
        """Serve one request."""
        sampling = SimpleNamespace(num_inference_steps=asked["num_inference_steps"], timesteps=None)
        self._refresh(self, [SimpleNamespace(sampling_params=sampling)], od_config=self.od_config)
        return self.pipeline.forward(asked)


class Adapter:
    """A pipeline of diffusers in vLLM-Omni."""

    def __init__(self, od_config: Any, pipe: Any) -> None:
        self.od_config = od_config
        self._raise_unsupported_features()
        self._pipeline = pipe

    def _raise_unsupported_features(self) -> None:
        raise NotImplementedError

    def forward(self, asked: Mapping[str, Any]) -> Any:
        return self._pipeline(**asked)


def install(patch: pytest.MonkeyPatch, modules: Mapping[str, Mapping[str, Any]]) -> None:
    """Let modules be imported that hold just these names, with the packages that they are in."""
    for name, names in modules.items():
        module = ModuleType(name)
        vars(module).update(names)
        parents = name.split(".")[:-1]
        for count in range(1, len(parents) + 1):
            package = ".".join(parents[:count])
            if not isinstance(sys.modules.get(package), ModuleType) or "__stands_in__" not in vars(
                sys.modules[package]
            ):
                made = ModuleType(package)
                vars(made).update(__path__=[], __stands_in__=True)
                patch.setitem(sys.modules, package, made)
        patch.setitem(sys.modules, name, module)
        patch.setattr(sys.modules[".".join(parents)], name.rpartition(".")[2], module, raising=False)
