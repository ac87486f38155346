"""The command line: `skipstone generate`, `plan`, `report`, `check`, `methods` and `doctor`."""

import os
import sys
import textwrap
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer

from skipstone.commands.check import check
from skipstone.commands.doctor import doctor
from skipstone.commands.generate import generate
from skipstone.commands.methods import methods
from skipstone.commands.options import with_bare_options, with_groups
from skipstone.commands.plan import plan
from skipstone.commands.report import report
from skipstone.pipelines.opening.sources import LONGEST
from skipstone.printable import printable

FORMER = {"cacher": "method"}
"""Old names of options, which still work."""

TRACEBACK = "SKIPSTONE_TRACEBACK"
"""The environment variable that lets an error that was not foreseen be raised, for reports of bugs."""

NO_MEMORY = ("out of memory", "allocate memory", "not enough memory")

app = typer.Typer(
    help="Skip denoising steps of diffusers pipelines, and measure what it costs.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"token_normalize_func": lambda name: FORMER.get(name, name)},
)
for command in (generate, plan, report, check, methods, doctor):
    app.command()(with_groups(command))


def _show_version(wanted: bool) -> None:
    if wanted:
        from skipstone import __version__

        print(f"skipstone {__version__}")
        raise typer.Exit


@app.callback()
def _skipstone(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Options that belong to no command."""


def run(arguments: Sequence[str]) -> int:
    """Run one command; a user's mistake becomes one line on standard error.

    Args:
        arguments: the words after ``skipstone``; without any, the help is shown.

    Returns:
        0 for success; 1 if `doctor` finds something missing or `check` an unmet demand; 2 for bad input, too
        little memory or a result that cannot be written; 130 when interrupted.
    """
    try:
        with warnings.catch_warnings():
            _show_notices()
            words = with_bare_options(arguments) or ["--help"]
            code = app(args=words, prog_name="skipstone", standalone_mode=False) or 0
        # A full disk or a closed pipe shows here at the latest.
        sys.stdout.flush()
        return code
    except typer.TyperException as error:
        _complain(error.format_message())
    except (ValueError, TypeError) as error:
        _complain(str(error))
    except OSError as error:
        _complain(f"{error.strerror or error}: {error.filename or 'standard output'}")
    except SystemExit:
        # Nothing but typer exits here, when it finds a pipe closed.
        _complain("the pipe that the result goes to is closed")
    # What is not foreseen, in the pipeline or here, is a line too.
    except Exception as error:
        if _is_of_memory(error):
            _complain("there is too little memory for this: ask for a smaller size, or for fewer frames")
        elif TRACEBACK in os.environ:
            raise
        else:
            where = f"{TRACEBACK}=1 shows where it comes from, skipstone doctor whether packages go together"
            _complain(f"{type(error).__name__}: {textwrap.shorten(str(error), LONGEST)}; {where}")
    return 2


def _complain(text: str) -> None:
    """Say what is wrong in one line, where that can be said."""
    with suppress(OSError):
        print("error:", printable(" ".join(text.split())), file=sys.stderr, flush=True)


def _is_of_memory(error: Exception) -> bool:
    """Whether memory has run out; torch says so in words, and differently for each device."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)


def _show_notices() -> None:
    """Let what skipstone warns of be a line, and what other libraries warn of nothing."""
    from skipstone.notice import Notice

    warnings.simplefilter("ignore")
    warnings.simplefilter("always", Notice)
    warnings.showwarning = lambda message, *others: print("note:", printable(str(message)), file=sys.stderr)
