"""The random numbers of a pipeline's call, to repeat it with the same or with other numbers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MOST = 2**63 - 1
"""The largest seed."""


@dataclass(frozen=True)
class Randomness:
    """The random states at the beginning of a call: of its generators and of the process.

    Args:
        generators: the states of the call's generators, by their identity.
        cpu: the state of the process's own generator.
        cuda: the state of each device's generator, by its number.
    """

    generators: Mapping[int, Tensor]
    cpu: Tensor
    cuda: Mapping[int, Tensor]

    @classmethod
    def of_now(cls, given: Any) -> "Randomness":
        """The present states, with a call's generators: one, several or none."""
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        return cls(
            {id(one): one.get_state() for one in _listed(given)},
            torch.get_rng_state(),
            {device: torch.cuda.get_rng_state(device) for device in devices},
        )

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Let the process draw from these states; afterwards restore its own."""
        with torch.random.fork_rng(list(self.cuda)):
            torch.set_rng_state(self.cpu)
            for device, state in self.cuda.items():
                torch.cuda.set_rng_state(state, device)
            yield

    def generator(self, given: Any) -> Any:
        """Copies for a call's generators, which stay as they are."""
        if isinstance(given, (list, tuple)):
            return [self.generator(one) for one in given]
        if not isinstance(given, torch.Generator):
            return given
        return torch.Generator(given.device).set_state(self.generators[id(given)])

    def other(self, given: Any) -> "Randomness":
        """Other random states, always the same ones: the first number that these would draw is the seed."""
        with self.begun():
            torch.manual_seed(int(torch.randint(MOST, ())))
            return self._here({id(one): _reseeded(self.generator(one)).get_state() for one in _listed(given)})

    def seeded(self, given: Any, seed: int) -> "Randomness":
        """The random states that begin with a seed; each of several generators has one of its own."""
        with self.begun():
            torch.manual_seed(seed)
            numbered = enumerate(_listed(given))
            return self._here({id(one): _with_seed(one, seed + n).get_state() for n, one in numbered})

    def _here(self, generators: Mapping[int, Tensor]) -> "Randomness":
        """The process's present states, with those of generators."""
        return Randomness(
            generators, torch.get_rng_state(), {n: torch.cuda.get_rng_state(n) for n in self.cuda}
        )


def _reseeded(generator: torch.Generator) -> torch.Generator:
    drawn = torch.randint(MOST, (), generator=generator, device=generator.device)
    return generator.manual_seed(int(drawn))


def _with_seed(given: torch.Generator, seed: int) -> torch.Generator:
    return torch.Generator(given.device).manual_seed(seed)


def _listed(given: Any) -> list[torch.Generator]:
    listed = given if isinstance(given, (list, tuple)) else [given]
    return [one for one in listed if isinstance(one, torch.Generator)]
