"""A method of your own: skip while the model's input stays close. Usage: write_a_method.py [STEPS]"""

import sys
from dataclasses import dataclass

from skipstone import Cacher, Outcome, Probe, Step, attach, load


@dataclass(frozen=True)
class SmallMove(Cacher[list]):
    """Skip until the model's input has changed by ``threshold``, relative to the last computed step."""

    name = "small-move"
    probe = Probe.MODEL_INPUT
    threshold: float = 0.1

    def new_state(self) -> list:
        return []  # the input of the last computed step

    def reason_to_compute(self, probe, step: Step, state: list) -> str | None:
        return None if state and (probe - state[0]).norm() < self.threshold * state[0].norm() else "it moved"

    def update(self, probe, outcome: Outcome, step: Step, state: list) -> None:
        state[:] = [probe.clone()]


pipe = load("pebble-image")
with attach(pipe, SmallMove()) as cache:
    pipe("a rocket", num_inference_steps=int(sys.argv[1]) if len(sys.argv) > 1 else 50)
    print(cache.last_run)
