"""Different methods for the models of one pipeline, such as the two experts of Wan2.2."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from skipstone.cachers.contract.cacher import Cacher
from skipstone.cachers.contract.words import ModelFacts
from skipstone.cachers.contract.wrapper import Wrapper


@dataclass(frozen=True)
class PerModel(Wrapper):
    """Use one method, and other ones for the named models.

    Args:
        cacher: the method for all other models.
        overrides: the method of each named model; the names are the pipeline's, such as ``transformer_2``.

    Raises:
        ValueError: when attached to a pipeline without a model of that name.
    """

    name: ClassVar[str] = "per-model"

    overrides: Mapping[str, Cacher[Any]]

    def for_model(self, model: ModelFacts) -> Cacher[Any]:
        for name in self.overrides:
            if name not in model.siblings:
                known = ", ".join(model.siblings)
                raise ValueError(f"an override for {name!r}, but the pipeline's models are: {known}")
        return self.overrides.get(model.name, self.cacher).for_model(model)

    def describe(self) -> str:
        others = (f"{name}: {cacher.describe()}" for name, cacher in self.overrides.items())
        return "; ".join((self.cacher.describe(), *others))
