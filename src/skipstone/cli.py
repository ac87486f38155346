"""The command line: `skipstone generate`, `plan`, `report`, `check`, `methods` and `doctor`."""

import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from skipstone.commands.check import check
from skipstone.commands.doctor import doctor
from skipstone.commands.generate import generate
from skipstone.commands.methods import methods
from skipstone.commands.options import with_groups
from skipstone.commands.plan import plan
from skipstone.commands.report import report

FORMER = {"cacher": "method"}
"""Old names of options, which still work."""

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


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; a user's mistake becomes one line on standard error.

    Args:
        arguments: the words after ``skipstone``; without any, the help is shown.

    Returns:
        0 for success; 1 if `doctor` finds something missing or `check` an unmet demand; 2 for bad input; 130
        when interrupted.
    """
    try:
        with warnings.catch_warnings():
            _show_notices()
            return app(args=list(arguments) or ["--help"], prog_name="skipstone", standalone_mode=False) or 0
    except typer.TyperException as error:
        print("error:", " ".join(error.format_message().split()), file=sys.stderr)
    except (ValueError, TypeError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
    return 2


def _show_notices() -> None:
    """Let what skipstone warns of be a line, and what other libraries warn of nothing."""
    from skipstone.notice import Notice

    warnings.simplefilter("ignore")
    warnings.simplefilter("always", Notice)
    warnings.showwarning = lambda message, *others: print("note:", message, file=sys.stderr)
