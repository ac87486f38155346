"""Find and load the pipeline that a user names: bundled, in a folder, or on the hub."""

import json
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone.cachers.spelling import guess
from skipstone.pipelines import bundled
from skipstone.pipelines.opening.complete import check_complete

LONGEST = 400
"""The most characters of another library's message: some list every tensor."""


@dataclass(frozen=True)
class Source:
    """Where a pipeline comes from.

    Args:
        name: the user's name for it.
        location: a folder, or a hub id such as ``Wan-AI/Wan2.1-T2V-1.3B-Diffusers``.
    """

    name: str
    location: Path | str

    @property
    def is_bundled(self) -> bool:
        return self.name in bundled.DEFAULTS

    @property
    def defaults(self) -> dict[str, Any]:
        """The call's arguments that this model was trained for."""
        return dict(bundled.DEFAULTS.get(self.name, {}))


def locate(model: str) -> Source:
    """Find a pipeline by a bundled name, a folder or a hub id, without loading anything.

    Raises:
        ValueError: not one of these, or a folder without a pipeline.
    """
    if model in bundled.DEFAULTS:
        return Source(model, bundled.folder(model))
    folder = _folder(model)
    if folder is not None:
        return Source(model, _checked(folder))
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model):
        return Source(model, model)
    raise ValueError(
        f"unknown model {model!r}{guess(model, bundled.DEFAULTS)}: "
        f"name a bundled model ({', '.join(bundled.DEFAULTS)}), "
        "a folder with a diffusers pipeline, or a hub id (owner/name)"
    )


def _folder(model: str) -> Path | None:
    """The folder of this name, where there is one."""
    try:
        folder = Path(model).expanduser()
        return folder if folder.is_dir() else None
    # The name of no user after ~, a name that is too long or that no file can have.
    except (OSError, RuntimeError, ValueError):
        return None


def _checked(folder: Path) -> Path:
    if not (folder / bundled.INDEX).is_file():
        raise ValueError(
            f"{str(folder)!r} is not a diffusers pipeline: it has no {bundled.INDEX}; "
            "name the folder that save_pretrained() wrote"
        )
    return folder


def pipeline_class(source: Source) -> type[Any]:
    """The diffusers class of a pipeline, from its index alone.

    Raises:
        ValueError: the index cannot be read, or names no pipeline of the installed diffusers.
    """
    import diffusers

    name = _index(source).get("_class_name")
    cls = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not isinstance(cls, type):
        raise ValueError(
            f"{source.name}: {bundled.INDEX} names the class {name!r}, "
            f"which diffusers {diffusers.__version__} does not have; upgrade diffusers"
        )
    if not issubclass(cls, diffusers.DiffusionPipeline) or cls is diffusers.DiffusionPipeline:
        raise ValueError(f"{source.name}: {bundled.INDEX} names {name}, which is not a pipeline that can run")
    return cls


def _index(source: Source) -> dict[str, Any]:
    is_local = isinstance(source.location, Path)
    path = Path(source.location) / bundled.INDEX if is_local else _fetched(str(source.location))
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"cannot read the {bundled.INDEX} of {source.name}: {error}") from None


def _fetched(name: str) -> Path:
    """The index of a pipeline on the hub.

    Raises:
        ValueError: there is no connection, no such pipeline, or no right to it.
    """
    from huggingface_hub import errors, hf_hub_download
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        return Path(hf_hub_download(name, bundled.INDEX))
    except errors.LocalEntryNotFoundError:
        why = "no connection to the hub, and it was not downloaded before: connect, or name a folder"
    except errors.EntryNotFoundError:
        why = f"it has no {bundled.INDEX}, so it is not a diffusers pipeline"
    except errors.RepositoryNotFoundError:
        why = "the hub has no such model, or it is closed to you: check the name, or `hf auth login`"
    except (OSError, ValueError) as error:
        why = str(error)
    raise ValueError(f"cannot load {name}: {why}")


def load(source: Source, dtype: Any, device: Any) -> Any:
    """Load a pipeline onto a device.

    Args:
        source: from `locate`.
        dtype: a ``torch.dtype`` for all of its models.
        device: a ``torch.device``.

    Raises:
        ValueError: files are missing, damaged, or do not belong together.
    """
    try:
        pipe = _opened(source, dtype)
        if isinstance(source.location, Path):
            check_complete(pipe, source.location)
        return pipe.to(device)
    # Several libraries read the folder, and each raises what it likes where a file is damaged.
    except Exception as error:
        why = textwrap.shorten(str(error), LONGEST) or type(error).__name__
        raise ValueError(f"cannot load {source.name}: {why}") from None


def _opened(source: Source, dtype: Any) -> Any:
    from diffusers import DiffusionPipeline

    # diffusers before 0.42 ignores `dtype`, so the older name stays.
    if source.is_bundled:
        return bundled.opened(source.name, torch_dtype=dtype)
    local = isinstance(source.location, Path)
    return DiffusionPipeline.from_pretrained(source.location, torch_dtype=dtype, local_files_only=local)
