"""The small models that were trained for skipstone; their weights come in a package of their own."""

import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from skipstone.disk.weights import INSTALL, folder_of
from skipstone.notice import Notice
from skipstone.pipelines.bundled.doubts import doubts
from skipstone.quiet import quiet_libraries

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "pebble-video": {
        "num_inference_steps": 50,
        "guidance_scale": 4.0,
        "height": 128,
        "width": 128,
        "num_frames": 33,
    },
    "pebble-image": {
        "num_inference_steps": 50,
        "true_cfg_scale": 4.0,
        "negative_prompt": "",
        "height": 128,
        "width": 128,
    },
    "pebble-stream": {
        "num_inference_steps": 8,
        "guidance_scale": 1.0,
        "height": 128,
        "width": 128,
        "num_frames": 9,
    },
}
"""For each bundled model, the call's arguments that it was trained for."""

PARTS = {"pebble-stream": "pebble-video"}
"""The bundled models that have only a transformer, each with the model whose other parts it uses."""

FPS = 16
"""Frames per second that the bundled video models were trained on."""

INDEX = "model_index.json"
"""The index file of a diffusers pipeline's folder."""


def folder(name: str) -> Path:
    """The folder of a bundled model.

    Raises:
        ValueError: there is no bundled model of that name, or its weights are not installed.
    """
    if name not in DEFAULTS:
        raise ValueError(f"unknown bundled model {name!r}; choose one of: {', '.join(DEFAULTS)}")
    found = folder_of(name)
    if found is None or not (found / INDEX).is_file():
        raise ValueError(f"{name} is not installed: {INSTALL}, or name another model by folder or hub id")
    return found


def parts(name: str) -> Path:
    """The folder with the text encoder and the autoencoder of a bundled model.

    Raises:
        ValueError: as of `folder`.
    """
    return folder(PARTS.get(name, name))


def default_plan(name: str) -> Path | None:
    """The plan for a speedup of 2.5 that comes with a bundled model, or None."""
    return _file(name, "plan.json")


BLOCK_CACHING = "block-caching.safetensors"
"""The file of a bundled model's trained `BlockCaching`."""


def block_caching(name: str) -> Path | None:
    """The trained Block Caching that comes with a bundled model, or None."""
    return _file(name, BLOCK_CACHING)


def _file(name: str, file: str) -> Path | None:
    """A file of a bundled model, or None."""
    found = folder_of(name) if name in DEFAULTS else None
    return found / file if found is not None and (found / file).is_file() else None


def warn(name: str, arguments: Mapping[str, Any]) -> None:
    """Warn of words in a prompt that a bundled model does not know, and of sizes it was not trained for.

    Args:
        name: of any model; there is nothing to say of others.
        arguments: those of the pipeline's call.
    """
    if name in DEFAULTS:
        for doubt in doubts(name, parts(name), DEFAULTS[name], arguments):
            warnings.warn(doubt, Notice, stacklevel=2)


def load(name: str, **kwargs: Any) -> Any:
    """Load a bundled model as an ordinary diffusers pipeline.

    Called with only a prompt, it uses what the model was trained for: the size, steps and guidance of
    `DEFAULTS` replace the defaults of the pipeline's class. Words that it does not know and other sizes are
    warned of.

    Args:
        name: ``pebble-video`` (text to video, a `WanPipeline`), ``pebble-image`` (text to image, a
            `FluxPipeline`) or ``pebble-stream`` (a `WanPipeline` whose frames do not see later ones, for
            `stream`; called by itself it makes the first chunk of a video).
        kwargs: passed on to ``from_pretrained``.

    Raises:
        ValueError: there is no bundled model of that name, or its weights are not installed.
    """
    with quiet_libraries():
        from skipstone.pipelines.bundled.own_call import give_defaults

        pipe = opened(name, **kwargs)
    give_defaults(pipe, DEFAULTS[name], partial(warn, name))
    return pipe


def opened(name: str, **kwargs: Any) -> Any:
    """A bundled model as a pipeline with the defaults of its class; arguments are those of `load`."""
    from diffusers import DiffusionPipeline

    from skipstone.pipelines.bundled.rows import give_transformer

    if name not in PARTS:
        return DiffusionPipeline.from_pretrained(folder(name), local_files_only=True, **kwargs)
    pipe = DiffusionPipeline.from_pretrained(parts(name), local_files_only=True, transformer=None, **kwargs)
    give_transformer(pipe, folder(name) / "transformer")
    pipe.register_to_config(_name_or_path=str(folder(name)))
    return pipe
