"""The method of a command: a name with settings, or the file of a plan."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skipstone.pipelines import bundled

if TYPE_CHECKING:
    from skipstone.cachers.contract.cacher import Cacher

DEFAULT_METHOD = "teacache"


@dataclass(frozen=True)
class Choice:
    """A method and its settings, or a plan; by default the one that suits the model."""

    method: Annotated[
        str | None,
        typer.Option(
            help="The caching method (see `skipstone methods`). By default the plan that comes with a "
            "bundled model, or teacache."
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
        if self.method == "block-caching" and not self.settings and bundled.block_caching(model):
            from skipstone.pipelines.opening.block_caching_file import load_block_caching

            return load_block_caching(model)
        from skipstone.cachers.settings import make_method

        return make_method(self.method or DEFAULT_METHOD, self.settings or ())


def _following(plan: Path) -> "Cacher[Any]":
    from skipstone.cachers.make import make
    from skipstone.schedules.load import load_plan

    return make(load_plan(plan))
