"""Loading without what other libraries say and show meanwhile."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep warnings and progress bars of diffusers and transformers off standard error.

    Transformers warns of a missing torchvision as soon as a pipeline's class is imported.
    """
    import diffusers
    import transformers

    with ExitStack() as before:
        for logging in (diffusers.utils.logging, transformers.utils.logging):
            before.callback(logging.set_verbosity, logging.get_verbosity())
            if logging.is_progress_bar_enabled():
                before.callback(logging.enable_progress_bar)
            logging.set_verbosity_error()
            logging.disable_progress_bar()
        yield
