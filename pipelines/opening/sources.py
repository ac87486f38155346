"""Find and load the pipeline that a user names: bundled, in a folder, or on the hub."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipstone.cachers.spelling import guess
from skipstone.pipelines import bundled


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
    folder = Path(model).expanduser()
    if folder.is_dir():
        return Source(model, _checked(folder))
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model):
        return Source(model, model)
    raise ValueError(
        f"unknown model {model!r}{guess(model, bundled.DEFAULTS)}: "
        f"name a bundled model ({', '.join(bundled.DEFAULTS)}), "
        "a folder with a diffusers pipeline, or a hub id (owner/name)"
    )


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
        ValueError: the index cannot be read, or names a class that the installed diffusers lacks.
    """
    import diffusers

    name = _index(source).get("_class_name")
    cls = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not isinstance(cls, type):
        raise ValueError(
            f"{source.name}: {bundled.INDEX} names the class {name!r}, "
            f"which diffusers {diffusers.__version__} does not have; upgrade diffusers"
        )
    return cls


def _index(source: Source) -> dict[str, Any]:
    try:
        if isinstance(source.location, Path):
            return dict(json.loads((source.location / bundled.INDEX).read_text()))
        from diffusers import DiffusionPipeline

        return dict(DiffusionPipeline.load_config(source.location))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"cannot read the {bundled.INDEX} of {source.name}: {error}") from None


def load(source: Source, dtype: Any, device: Any) -> Any:
    """Load a pipeline onto a device.

    Args:
        source: from `locate`.
        dtype: a ``torch.dtype`` for all of its models.
        device: a ``torch.device``.

    Raises:
        ValueError: files are missing or damaged.
    """
    from diffusers import DiffusionPipeline
    from safetensors import SafetensorError

    local = isinstance(source.location, Path)
    try:
        # diffusers before 0.42 ignores `dtype`, so the older name stays.
        pipe = DiffusionPipeline.from_pretrained(source.location, torch_dtype=dtype, local_files_only=local)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"cannot load {source.name}: {error}") from None
    return pipe.to(device)
