"""One method for steps or layers, and a prefix of frames that is computed once."""

from dataclasses import dataclass
from typing import ClassVar

from skipstone.cachers.contract.wrapper import Wrapper
from skipstone.cachers.wrappers.with_settling import refuse_settling


@dataclass(frozen=True)
class WithSharedPrefix(Wrapper):
    """Let a method skip steps or layers, and leave out of the others the frames that they do not change.

    A step in which blocks of frames begin or have just finished is computed. See `SharedPrefix`.

    Args:
        cacher: the method that skips steps or layers.

    Raises:
        ValueError: the method has `WithSettling`.
    """

    name: ClassVar[str] = "with-shared-prefix"
    shares_prefix = True

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_settling(self.cacher, "frames that are left out cannot be settled")

    def describe(self) -> str:
        return f"{self.cacher.describe()}; shared-prefix"
