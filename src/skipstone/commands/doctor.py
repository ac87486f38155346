"""`skipstone doctor`: what this machine has, what is missing, and how to get it."""

import json
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer
from rich.console import Console

from skipstone.commands.output import table
from skipstone.pipelines import bundled

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "torchmetrics", "imageio", "pillow")


@dataclass(frozen=True)
class Diagnosis:
    """One thing that skipstone uses.

    Args:
        name: what it is.
        found: its version or state.
        advice: what to do; empty if nothing is missing.
        needed: whether `skipstone generate` needs it.
    """

    name: str
    found: str
    advice: str = ""
    needed: bool = True

    @property
    def is_fatal(self) -> bool:
        return bool(self.advice) and self.needed

    @property
    def status(self) -> str:
        return "missing" if self.is_fatal else "note" if self.advice else "ok"


def doctor() -> None:
    """Show what this machine has, what is missing, and how to get it."""
    diagnoses = examine()
    Console(highlight=False).print(table((d.status, d.name, d.found, d.advice) for d in diagnoses))
    if any(diagnosis.is_fatal for diagnosis in diagnoses):
        raise typer.Exit(1)


def examine() -> list[Diagnosis]:
    """Examine everything that skipstone uses."""
    return [
        Diagnosis("python", platform.python_version()),
        *(_package(name) for name in PACKAGES),
        _triton(),
        _ffmpeg(),
        _device(),
        *(_model(name) for name in bundled.DEFAULTS),
    ]


def _package(name: str) -> Diagnosis:
    try:
        return Diagnosis(name, version(name))
    except PackageNotFoundError:
        return Diagnosis(name, "not installed", f"pip install {name}")


def _triton() -> Diagnosis:
    found = _package("triton")
    advice = "only needed for fused kernels on a GPU; plain torch is used instead" if found.advice else ""
    return Diagnosis(found.name, found.found, advice, needed=False)


def _ffmpeg() -> Diagnosis:
    try:
        import imageio_ffmpeg

        version, path = imageio_ffmpeg.get_ffmpeg_version(), imageio_ffmpeg.get_ffmpeg_exe()
        return Diagnosis("ffmpeg", f"{version}, {path}")
    except (ImportError, RuntimeError) as error:
        advice = "pip install imageio-ffmpeg; until then write gif, webp or png"
        return Diagnosis("ffmpeg", str(error), advice, needed=False)


def _device() -> Diagnosis:
    try:
        from skipstone.pipelines.opening.devices import available
    except ImportError as error:
        return Diagnosis("device", str(error), "mend the torch installation")
    kinds = available()
    advice = "no GPU: the bundled models run well without, larger ones slowly" if kinds == ["cpu"] else ""
    return Diagnosis("device", ", ".join(kinds), advice, needed=False)


def _model(name: str) -> Diagnosis:
    try:
        problem = _problem(bundled.folder(name))
    except ValueError as missing:
        return Diagnosis(name, "", str(missing))
    if problem:
        return Diagnosis(name, problem, "reinstall skipstone: its bundled files are damaged")
    return Diagnosis(name, "readable")


def _problem(folder: Path) -> str:
    """What is wrong with a bundled model's folder; empty if nothing is."""
    from safetensors import SafetensorError, safe_open

    try:
        index = json.loads((folder / bundled.INDEX).read_text())
        for part in (folder / name for name, value in index.items() if isinstance(value, list) and value[0]):
            if not any(part.iterdir()):
                return f"{part.name} is empty"
        for weights in folder.glob("*/*.safetensors"):
            with safe_open(weights, framework="numpy"):
                pass
    except (OSError, ValueError, SafetensorError) as error:
        return str(error)
    return ""
