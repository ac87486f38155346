"""The pipeline of a command, and the arguments of its call."""

import warnings
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from skipstone.commands.options import finite, sides
from skipstone.pipelines import bundled
from skipstone.pipelines.opening.arguments import Options, call_arguments, check_options, makes_video
from skipstone.pipelines.opening.sizes import check_sizes
from skipstone.pipelines.opening.sources import Source, load, locate, pipeline_class


@dataclass(frozen=True)
class Opening:
    """Which pipeline, on which device, and the arguments of its call; None leaves a value to the model."""

    model: Annotated[
        str,
        typer.Option(
            help="pebble-video, pebble-image, pebble-stream, a folder with a diffusers pipeline, or a hub id."
        ),
    ] = "pebble-video"
    steps: Annotated[int | None, typer.Option(min=1, max=10_000, help="Number of denoising steps.")] = None
    guidance: Annotated[float | None, typer.Option(min=0, callback=finite, help="Guidance scale.")] = None
    negative: Annotated[str | None, typer.Option(help="Negative prompt.")] = None
    size: Annotated[
        str | None, typer.Option(metavar="WxH", callback=sides, help="Width and height in pixels.")
    ] = None
    frames: Annotated[int | None, typer.Option(min=1, max=10_000, help="Number of frames of a video.")] = None
    device: Annotated[str | None, typer.Option(help="cuda, mps or cpu; by default the fastest one.")] = None
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32, bfloat16 or float16. By default float32 on a CPU and for bundled models, "
            "otherwise bfloat16."
        ),
    ] = None

    @property
    def source(self) -> Source:
        """Find where the pipeline comes from.

        Raises:
            ValueError: there is no such model.
        """
        return locate(self.model)

    def options(self, prompt: str) -> Options:
        """The options of the pipeline's call."""
        width, height = (int(side) for side in self.size.split("x")) if self.size else (None, None)
        return Options(prompt, self.negative, self.steps, self.guidance, width, height, self.frames)

    def checked_class(self) -> type[Any]:
        """The pipeline's class; nothing is loaded.

        Raises:
            ValueError: there is no such model, or it cannot do this.
        """
        _quieten()
        cls = pipeline_class(self.source)
        check_options(cls, self.options(""))
        return cls

    def frame_rate(self, asked: float | None) -> float | None:
        """The frames a second of a video; None if the model makes images.

        Raises:
            ValueError: a frame rate is asked of images.
        """
        cls = self.checked_class()
        if makes_video(cls):
            return asked or bundled.FPS
        if asked is not None:
            raise ValueError(f"{cls.__name__} makes images, which have no frames a second: drop --fps")
        return None

    def open(self, prompt: str, rank: int = 0) -> tuple[Any, dict[str, Any]]:
        """Load the pipeline onto its device; return it with the arguments of its call. Cheap checks come
        first.

        Args:
            prompt: the prompt.
            rank: the number of this process, if several share the work; each has its own GPU.

        Raises:
            ValueError: the pipeline or the device cannot do this.
        """
        pipe = self.loaded(rank)
        arguments = call_arguments(pipe, self.source, self.options(prompt))
        check_sizes(pipe, arguments)
        bundled.warn(self.model, arguments)
        return pipe, arguments

    def loaded(self, rank: int = 0) -> Any:
        """Load the pipeline onto its device; `open` with nothing said of a call."""
        from skipstone.pipelines.opening.devices import find_device, find_dtype

        device = find_device(self.device)
        if device.type == "cuda" and device.index is None:
            device = find_device(f"cuda:{rank}")
        numbers = find_dtype(self.dtype, device, self.source.is_bundled)
        self.checked_class()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipe = load(self.source, numbers, device)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def open_for_many(self) -> tuple[Any, dict[str, Any]]:
        """The pipeline on this process's device, and the arguments of its call except the prompt."""
        from skipstone.report.workers import local_rank

        pipe, arguments = self.open("", local_rank())
        del arguments["prompt"]
        return pipe, arguments


def _quieten() -> None:
    """Silence what other libraries write to standard error."""
    import diffusers
    import transformers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
