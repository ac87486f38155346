"""The method of a command: a name with settings, or the file of a plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skipstone.pipelines import bundled

if TYPE_CHECKING:
    from skipstone.cachers.contract.cacher import Cacher

DEFAULT_METHOD = "teacache"

FITTED = ":fitted"
"""After a method's name: measure its constants first, as in a report."""


@dataclass(frozen=True)
class Choice:
    """A method and its settings, or a plan; by default the one that suits the model."""

    method: Annotated[
        str | None,
        typer.Option(
            help="The caching method (see `skipstone methods`); with `:fitted`, as in teacache:fitted, its "
            "constants are measured in a run before. By default the plan that comes with a bundled model, or "
            "teacache."
        ),
    ] = None
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A hyper-parameter of the method.")
    ] = None
    plan: Annotated[
        Path | None, typer.Option(help="A plan that `skipstone plan` wrote, instead of a method.")
    ] = None

    @property
    def given(self) -> list[str]:
        """The options that were typed."""
        values = {"--plan": self.plan, "--method": self.method, "--set": self.settings}
        return [option for option, value in values.items() if value]

    @property
    def label(self) -> str:
        """What to call it: the name that was typed, or the plan's file."""
        return self.method or (str(self.plan) if self.plan else "")

    @property
    def is_fitted(self) -> bool:
        """Whether constants of the method are to be measured on the pipeline."""
        return self.method is not None and self.method.endswith(FITTED)

    def fit(self, pipe: Any, arguments: Mapping[str, Any]) -> "Cacher[Any]":
        """Make the method with constants that one uncached run shows.

        Raises:
            TypeError: the method has no such hyper-parameter.
            ValueError: the method has nothing to measure, or this model cannot be measured.
        """
        from skipstone.report.candidates import candidate
        from skipstone.report.fits import fitted

        prompt = arguments["prompt"]
        others = {name: value for name, value in arguments.items() if name != "prompt"}
        return fitted(candidate(self.method or ""), pipe, prompt, others).usual(self.settings or ())

    def make(self, model: str) -> "Cacher[Any]":
        """Make the method for a model.

        For a bundled model, `block-caching` without settings takes the measured changes and the trained
        adjustment that come with the model.

        Raises:
            TypeError: the method has no such hyper-parameter.
            ValueError: a plan beside a method, an unknown method, a value that the method refuses, or a file
                without a plan.
        """
        if self.plan is not None and len(self.given) > 1:
            raise ValueError(f"{', '.join(self.given)}: each of them says how to skip, give one")
        plan = self.plan if self.given else bundled.default_plan(model)
        if plan is not None:
            return _following(plan)
        from skipstone.cachers.make import name_of
        from skipstone.settings import make_method

        name = name_of(self.method or DEFAULT_METHOD)
        if name == "block-caching" and not self.settings and bundled.block_caching(model):
            from skipstone.pipelines.opening.block_caching_file import load_block_caching

            return load_block_caching(model)
        if name.split("+")[0] == "planned":
            raise ValueError(f"--method {self.method}: a plan is in a file, give --plan FILE instead")
        return make_method(name, self.settings or ())


def _following(plan: Path) -> "Cacher[Any]":
    from skipstone.cachers.make import make
    from skipstone.schedules.load import load_plan

    return make(load_plan(plan))
