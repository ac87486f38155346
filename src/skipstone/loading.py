"""From what a user typed to a pipeline that is ready to be called."""

from typing import Any

from skipstone.pipelines.arguments import Options, call_arguments
from skipstone.pipelines.sizes import check_sizes
from skipstone.pipelines.sources import Source, load


def load_pipeline(
    source: Source, options: Options, device: str | None, dtype: str | None
) -> tuple[Any, dict[str, Any]]:
    """A pipeline on its device, and the arguments of its call.

    Raises:
        ValueError: the device, the type or a size cannot be had, or files are missing or damaged.
    """
    from skipstone.pipelines.devices import find_device, find_dtype

    place = find_device(device)
    pipe = load(source, find_dtype(dtype, place, source.is_bundled), place)
    pipe.set_progress_bar_config(disable=True)
    arguments = call_arguments(pipe, source, options)
    check_sizes(pipe, arguments)
    return pipe, arguments


def quieten() -> None:
    """Leave standard error to what concerns the user."""
    import diffusers
    import transformers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
