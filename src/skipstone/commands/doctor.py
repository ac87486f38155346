"""`skipstone doctor`: what this machine has, what is missing, and how to get it."""

import json
import platform
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import typer
from packaging.requirements import Requirement
from rich.console import Console

from skipstone.commands.output import table
from skipstone.pipelines import bundled
from skipstone.pipelines.opening.sources import LONGEST
from skipstone.quiet import quiet_libraries

PACKAGES = (
    "torch", "diffusers", "transformers", "accelerate", "torchmetrics", "imageio", "pillow", "numpy",
    "safetensors", "pydantic", "typer",
)  # fmt: skip

PAIRS = (
    (
        ("diffusers<0.36", "transformers>=5"),
        "these two do not go together: pip install -U diffusers, or pip install 'transformers<5'",
    ),
)
"""Packages that cannot be used beside each other, and what would do."""


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
        *_pairs(),
        *_ftfy(),
        _pipelines(),
        _triton(),
        _ffmpeg(),
        _device(),
        *(_model(name) for name in bundled.DEFAULTS),
        _lpips(),
        *_autoencoders(),
    ]


def _package(name: str) -> Diagnosis:
    needed = _requirements().get(name, Requirement(name))
    try:
        found = version(name)
    except PackageNotFoundError:
        return Diagnosis(name, "not installed", f"pip install '{needed}'")
    is_new_enough = needed.specifier.contains(found, prereleases=True)
    return Diagnosis(name, found, "" if is_new_enough else f"pip install '{needed}'")


def _requirements() -> dict[str, Requirement]:
    """What skipstone needs, by the names of packages; empty for a copy that is not installed."""
    try:
        needed = map(Requirement, requires("skipstone") or ())
    except PackageNotFoundError:
        return {}
    own = (one for one in needed if "extra" not in str(one.marker))
    return {one.name: Requirement(f"{one.name}{one.specifier}") for one in own}


def _pairs() -> Iterator[Diagnosis]:
    for pair, advice in PAIRS:
        if all(map(_is_installed, pair)):
            yield Diagnosis(" + ".join(pair), "both installed", advice)


def _ftfy() -> Iterator[Diagnosis]:
    """Wan's pipelines of old diffusers clean prompts with a package that they do not install."""
    if _is_installed("diffusers<0.36") and not _is_installed("ftfy"):
        advice = "pip install ftfy: Wan's pipelines of this diffusers need it, as pebble-video does"
        yield Diagnosis("ftfy", "not installed", advice, needed=False)


def _is_installed(text: str) -> bool:
    wanted = Requirement(text)
    try:
        return wanted.specifier.contains(version(wanted.name), prereleases=True)
    except PackageNotFoundError:
        return False


def _pipelines() -> Diagnosis:
    """Whether pipelines can be imported: packages may each be there and not go together."""
    try:
        with quiet_libraries():
            from diffusers import FluxPipeline, WanPipeline
    # Whatever a package raises when it meets a version that it does not know.
    except Exception as error:
        why = textwrap.shorten(str(error), LONGEST)
        advice = "packages do not go together: pip install -U diffusers transformers"
        return Diagnosis("pipelines", why, advice)
    return Diagnosis("pipelines", f"{WanPipeline.__name__} and {FluxPipeline.__name__} can be imported")


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
        problem = _problem(bundled.parts(name)) or _damage(bundled.folder(name))
        streams = _streams(bundled.folder(name))
    except ValueError as missing:
        return Diagnosis(name, "", str(missing), needed=False)
    if problem:
        again = "install it anew: pip install --force-reinstall --no-deps skipstone-pebble"
        return Diagnosis(name, problem, again)
    return Diagnosis(name, f"readable{streams}")


def _streams(folder: Path) -> str:
    """Whether a model's frames can be streamed.

    Raises:
        ValueError: the file that says so cannot be read.
    """
    try:
        from skipstone.pipelines.causal.settings import settings_in
    except ImportError:  # The packages are diagnosed above.
        return ""
    settings = settings_in(folder)
    return "" if settings is None else f", can be streamed: {settings}"


def _lpips() -> Diagnosis:
    from skipstone.metrics import lpips

    advice = lpips.obstacle() or ""
    return Diagnosis("LPIPS", "" if advice else "its weights are there", advice, needed=False)


def _autoencoders() -> Iterator[Diagnosis]:
    """Which video autoencoders decode in chunks, as far as that is known without a trial."""
    try:
        import diffusers

        from skipstone.pipelines.vae.kept_plans import kept_trials
        from skipstone.pipelines.vae.own_loops import LOOPS
    except ImportError:  # The packages are diagnosed above.
        return
    own = (name for name in sorted(LOOPS) if hasattr(diffusers, name))
    yield Diagnosis("decoding in chunks", f"{', '.join(own)} have their own; others are tried when used")
    for name, found in sorted(set(kept_trials())):
        yield Diagnosis(name, found)


def _problem(folder: Path) -> str:
    """What is wrong with a bundled model's folder; empty if nothing is."""
    try:
        index = json.loads((folder / bundled.INDEX).read_text())
        for part in (folder / name for name, value in index.items() if isinstance(value, list) and value[0]):
            if not any(part.iterdir()):
                return f"{part.name} is empty"
    except (OSError, ValueError) as error:
        return str(error)
    return _damage(folder)


def _damage(folder: Path) -> str:
    """What is wrong with a folder's weights; empty if nothing is."""
    from safetensors import SafetensorError, safe_open

    try:
        for weights in folder.glob("*/*.safetensors"):
            with safe_open(weights, framework="numpy"):
                pass
    except (OSError, ValueError, SafetensorError) as error:
        return str(error)
    return ""
