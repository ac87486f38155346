"""How `skipstone generate` runs a pipeline: what skips steps, and how frames are decoded."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skipstone.commands.choice import Choice
from skipstone.commands.options import FITTING, QualityOption, finite

if TYPE_CHECKING:
    from skipstone.cachers.contract.cacher import Cacher


@dataclass(frozen=True)
class RunOptions:
    """How to run: by a plan instead of a method, without a cache, with graphs, or beside an uncached run."""

    speedup: Annotated[
        float | None,
        typer.Option(
            min=1, callback=finite,
            help="Target speedup, instead of a method; skipstone plans the steps. The first run with new "
            "settings is recorded, then repeated with the plan.",
        ),
    ] = None  # fmt: skip
    quality: QualityOption = None
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Compute every step, without a cache.")] = False
    graphs: Annotated[
        bool, typer.Option("--graphs", help="Replay skipped steps as CUDA graphs where possible.")
    ] = False
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Also run without a cache; write both side by side, and measure."),
    ] = False
    chunked_vae: Annotated[
        str | None,
        typer.Option(
            "--chunked-vae", metavar="[N]",
            help="Decode N latent frames at a time, or as many as fit; an mp4 is written meanwhile.",
        ),
    ] = None  # fmt: skip
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Make the frames of a causal model one chunk after another, 400 by default. The mp4 is "
            "encoded meanwhile in the temporary folder, and put in its place at the end.",
        ),
    ] = False

    @property
    def chunk(self) -> int | None:
        """How many latent frames to decode at a time; None for as many as fit.

        Raises:
            ValueError: no number from 1.
        """
        asked = self.chunked_vae
        if asked is None or asked == FITTING:
            return None
        if not asked.isdecimal() or not int(asked):
            raise ValueError(f"--chunked-vae takes a number from 1, or nothing for what fits; got {asked}")
        return int(asked)

    def check(self, choice: Choice) -> None:
        """Refuse options that contradict each other.

        Raises:
            ValueError: more than one way to skip, or one beside ``--no-cache``.
        """
        targets = {"--speedup": self.speedup, "--quality": self.quality}
        ways = [*(name for name, value in targets.items() if value is not None), *choice.given]
        others = ["--graphs"] * self.graphs + ["--compare"] * self.compare
        if self.no_cache and (ways or others):
            raise ValueError(
                f"--no-cache leaves nothing for {', '.join(ways or others)} to do: drop one of them"
            )
        _ = self.chunk
        self._check_stream(choice)
        if len(ways) > 1 and ways != ["--method", "--set"]:
            raise ValueError(f"{', '.join(ways)}: each of them says how to skip, give one")

    def _check_stream(self, choice: Choice) -> None:
        others = {
            "--compare": self.compare,
            "--quality": self.quality is not None,
            "--chunked-vae": self.chunked_vae is not None,
            f"--method {choice.method}": choice.is_fitted,
        }
        if self.stream and any(others.values()):
            given = ", ".join(name for name, is_given in others.items() if is_given)
            raise ValueError(f"--stream keeps no frames and makes each once: leave out {given}")

    def method(self, choice: Choice, model: str) -> "Cacher[Any] | None":
        """The method, if it is known before the pipeline is loaded; else None."""
        later = self.no_cache or self.speedup is not None or self.quality is not None or choice.is_fitted
        return None if later else choice.make(model)

    def label(self, choice: Choice, method: "Cacher[Any] | None") -> str:
        """What to call a cached run: the name that was typed, or else the method's own."""
        return choice.label or ("planned" if method is None else method.name)
