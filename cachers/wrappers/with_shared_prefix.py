"""One method for steps or layers, and a prefix of frames that is computed once."""

from dataclasses import dataclass
from typing import ClassVar

from skipstone.cachers.contract.wrapper import Wrapper


@dataclass(frozen=True)
class WithSharedPrefix(Wrapper):
    """Let a method skip steps or layers, and leave out of the others the frames that they do not change.

    A step in which blocks of frames begin or have just finished is computed. See `SharedPrefix`.

    Args:
        cacher: the method that skips steps or layers.
    """

    name: ClassVar[str] = "with-shared-prefix"
    shares_prefix = True

    def describe(self) -> str:
        return f"{self.cacher.describe()}; shared-prefix"
