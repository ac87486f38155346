"""Opening the pipeline that a command names, with the arguments of its call."""

import warnings
from typing import Any

from skipstone.pipelines.opening.arguments import Options, call_arguments, check_options
from skipstone.pipelines.opening.sizes import check_sizes
from skipstone.pipelines.opening.sources import Source, load, pipeline_class


def open_pipeline(
    source: Source, options: Options, device: str | None, dtype: str | None
) -> tuple[Any, dict[str, Any]]:
    """A pipeline and the arguments that carry out what a user asks of it, cheapest checks first.

    Args:
        source: which pipeline.
        options: what is asked for.
        device: where to run, None for the fastest.
        dtype: number type, None for what suits the device.

    Raises:
        ValueError: something cannot be done as asked.
    """
    from skipstone.pipelines.opening.devices import find_device, find_dtype

    where = find_device(device)
    numbers = find_dtype(dtype, where, source.is_bundled)
    _quieten()
    check_options(pipeline_class(source), options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = load(source, numbers, where)
    pipe.set_progress_bar_config(disable=True)
    arguments = call_arguments(pipe, source, options)
    check_sizes(pipe, arguments)
    return pipe, arguments


def _quieten() -> None:
    """Leave standard error to what concerns the user."""
    import diffusers
    import transformers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
