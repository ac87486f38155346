"""Methods beside planned caching on many prompts of a bundled model, by computed steps, in JSON rows.

For each method and number of steps the setting is taken whose run of a prompt that is not compared on comes
nearest; all prompts are then run one by one with it, as users do, since thresholds decide for each anew. The
speed of whole runs is what `skipstone report` measures.

Several processes can share the machine and the file, one for some methods each.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from pebble_runs import Outcome, PebbleRuns, computed_steps, psnr, spread
from planned import Case, Row, measure_and_print, parser_of

import skipstone
from skipstone.pipelines import bundled
from skipstone.report.candidates import Candidate, candidate, climb
from skipstone.report.fits import fitted


class Compared:
    """A method on a bundled pipeline.

    Args:
        runs: the pipeline and its prompts.
        text: the method, as a report names it.
    """

    def __init__(self, runs: PebbleRuns, text: str) -> None:
        self.runs, self._text = runs, text
        self._found: Candidate | None = None
        self._looks: dict[int, float] = {}

    @property
    def found(self) -> Candidate:
        """The method, with its constants measured on the recorded prompt if they are wanted."""
        if self._found is None:
            found = candidate(self._text)
            self._found = self._fitted(found) if found.is_fitted else found
        return self._found

    def _fitted(self, found: Candidate) -> Candidate:
        arguments = {**self.runs.defaults, "generator": torch.Generator().manual_seed(1000)}
        return fitted(found, self.runs.pipe, self.runs.recorded, arguments)

    def row(self, asked: int) -> Row:
        """The setting nearest to so many computed steps on the recorded prompt, on all others."""
        steps = self.runs.defaults["num_inference_steps"]
        rung = climb(len(self.found.rungs), lambda rung: steps / self._look(rung), steps / asked)
        outcomes = [self._outcome(rung, number) for number in range(len(self.runs.prompts))]
        return {"setting": " ".join(self.found.settings(rung)), **spread(outcomes)}

    def _look(self, rung: int) -> float:
        """How many steps the recorded prompt has computed with a setting."""
        if rung not in self._looks:
            with skipstone.attach(self.runs.pipe, self.found.method(rung)) as cache:
                self.runs.run_recorded()
            self._looks[rung] = computed_steps(cache.last_run)
        return self._looks[rung]

    def _outcome(self, rung: int, number: int) -> Outcome:
        with skipstone.attach(self.runs.pipe, self.found.method(rung)) as cache:
            (made,) = self.runs.run([number])
        run = cache.last_run
        return Outcome(psnr(made, self.runs.uncached()[number]), computed_steps(run), run.strip)


def cases(runs: PebbleRuns, methods: Sequence[str], computed: Sequence[int]) -> Iterator[Case]:
    """A row for each method and number of computed steps."""
    for text in methods:
        method = Compared(runs, text)
        for asked in computed:
            yield Case({"what": "method", "method": text, "asked": asked}, partial(method.row, asked))


def main() -> None:
    parser = parser_of(__doc__, (25, 17, 13, 10))
    parser.add_argument("--methods", nargs="+", required=True, help="as `skipstone report` names them")
    asked = parser.parse_args()
    runs = PebbleRuns(bundled.folder(asked.model), asked.model, asked.device, asked.steps, asked.count)
    measure_and_print(cases(runs, asked.methods, asked.computed), asked)


if __name__ == "__main__":
    main()
