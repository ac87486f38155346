"""Runs of real pipelines in any order, nested, in turns, changed and broken off: each picture is its own."""

import copy
import os
import pickle
import threading
from collections.abc import Callable
from functools import cache
from itertools import groupby
from typing import Any, ClassVar

import hypothesis.strategies as st
import torch
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from peft import LoraConfig
from torch import Tensor

import skipstone
from skipstone import (
    FORA,
    PAB,
    DBCache,
    DeltaDiT,
    EasyCache,
    FirstBlock,
    PerModel,
    RunCap,
    SeaCache,
    Tail,
    Taylor,
    TeaCache,
    TGate,
    Warmup,
    WithPredictor,
)
from support.methods import planned
from support.tiny_pipelines import PIPELINES

METHODS: dict[str, Any] = {
    "none": None,
    "off": TeaCache(threshold=0.0),
    "fora": FORA(2),
    "taylor": WithPredictor(FORA(3), Taylor(order=1)),
    "teacache": RunCap(TeaCache(threshold=1e9), skips=2),
    "seacache": Warmup(SeaCache(threshold=1e9), steps=2),
    "easycache": Tail(EasyCache(threshold=1e9, warmup=0), steps=1),
    "first-block": RunCap(FirstBlock(threshold=1e9), skips=3),
    "dbcache": RunCap(DBCache(threshold=1e9, blocks=1, warmup=0), skips=2),
    "delta-dit": DeltaDiT(2),
    "pab": PAB(2, 3, 4, from_timestep=1e9, until_timestep=-1e9),
    "tgate": TGate(gate=2, warmup=1),
    "planned": planned(8, 3),
    "per-model": PerModel(FORA(2), {"transformer": FORA(3)}),
}
"""Methods and wrappers of all sites; where one does not fit a model, no cache is attached."""

SEVEN = ("wan", "flux", "sd3", "cog-video-x", "stable-diffusion-xl", "ltx", "qwen")
KINDS = [kind for kind in SEVEN if kind in PIPELINES]
LONG = "SKIPSTONE_STATEFUL_EXAMPLES" in os.environ
"""A long run tries other histories each time; pytest says how to repeat those that fail."""

EXAMPLES = int(os.environ.get("SKIPSTONE_STATEFUL_EXAMPLES", "3"))
"""How many histories of up to 30 operations are tried."""

Change = Callable[[Any, int, Tensor], dict[str, Any]]
"""What a program does after a step, with the prompt's embeddings; it returns what it puts in their place."""

Call = tuple[tuple[Any, ...], dict[str, Any]]


class BrokenOffError(Exception):
    """Ends a run in its middle."""


def nothing(pipe: Any, index: int, prompt: Tensor) -> dict[str, Any]:
    return {}


def picture(run: Any, seed: int, steps: int, change: Change = nothing) -> Tensor:
    """What a run makes, with something done after each of its steps."""
    with torch.no_grad():
        found: Tensor = run(
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(seed),
            callback_on_step_end=lambda pipe, index, time, given: change(pipe, index, given["prompt_embeds"]),
            callback_on_step_end_tensor_inputs=["prompt_embeds"],
        )
    return found


def fresh(kind: str) -> Any:
    """A pipeline that has never done anything, with an adapter."""
    run = PIPELINES[kind].make()
    config = LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        run.model.add_adapter(config, "style")
    return run


def attached(run: Any, method: str) -> Any:
    """The cache, or None where the method does not fit the model."""
    try:
        return METHODS[method] and skipstone.attach(run.pipe, METHODS[method])
    except ValueError:
        return None


@cache
def alone(kind: str, method: str, seed: int, steps: int, change: Change = nothing) -> Tensor:
    """The picture of a fresh pipeline."""
    run = fresh(kind)
    attached(run, method)
    return picture(run, seed, steps, change)


@cache
def other_prompt(at: int) -> Change:
    """After a step, the prompt is another one."""

    def change(pipe: Any, index: int, prompt: Tensor) -> dict[str, Any]:
        return {"prompt_embeds": prompt.flip(1)} if index == at else {}

    return change


@cache
def other_adapter(at: int) -> Change:
    """After a step, the adapter is three times as strong."""

    def change(pipe: Any, index: int, prompt: Tensor) -> dict[str, Any]:
        if index == at:
            model = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
            model.set_adapters(["style"], [3.0])
        return {}

    return change


@cache
def energy(kind: str, at: int) -> Change:
    """After a step, the next one's model is called with gradients, which are those of a bare model."""
    args, kwargs = calls(kind, 0)[at + 1][0]

    def output(model: Any) -> Tensor:
        with torch.enable_grad():
            found: Tensor = model(*args, **{**kwargs, "return_dict": False})[0]
        assert found.requires_grad
        return found.detach()

    def change(pipe: Any, index: int, prompt: Tensor) -> dict[str, Any]:
        if index == at:
            assert torch.equal(output(pipe.unet if hasattr(pipe, "unet") else pipe.transformer), wanted)
        return {}

    wanted = output(fresh(kind).model)
    return change


@cache
def calls(kind: str, seed: int) -> tuple[tuple[Call, ...], ...]:
    """The model's calls on each step of a run of 4 steps."""
    run, found = fresh(kind), list[Call]()
    run.model.register_forward_pre_hook(
        lambda module, args, kwargs: found.append((args, kwargs)), with_kwargs=True
    )
    picture(run, seed, 4)
    return tuple(tuple(step) for _, step in groupby(found, lambda call: time_of(*call)))


def time_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
    """The time that a model is called for: UNets take it as their second argument."""
    return float(kwargs["timestep"].flatten()[0] if "timestep" in kwargs else args[1])


def stepped(run: Any, cache: Any, key: str, step: tuple[Call, ...]) -> list[Tensor]:
    """One step of a request of a server."""
    with torch.no_grad(), cache.run(key, steps=4):
        return [run.model(*args, **{**kwargs, "return_dict": False})[0] for args, kwargs in step]


@cache
def requested(kind: str, method: str, seed: int) -> list[list[Tensor]]:
    """The outputs of a request that a fresh model takes alone."""
    run = fresh(kind)
    picture(run, 0, 4)
    cache = attached(run, method)
    return [stepped(run, cache, "alone", step) for step in calls(kind, seed)]


def flat(outputs: list[list[Tensor]]) -> Tensor:
    """The outputs of a request as one tensor."""
    return torch.stack([output for step in outputs for output in step])


any_seed, any_steps, any_step = st.integers(0, 2), st.sampled_from([4, 6]), st.integers(0, 2)


class Runs(RuleBasedStateMachine):
    """One pipeline through its life."""

    operations: ClassVar[int] = 0
    """How many were done in all histories."""

    @initialize(kind=st.sampled_from(KINDS))
    def make(self, kind: str) -> None:
        self.kind, self.run = kind, fresh(kind)
        self.method, self.cache = "none", None

    @rule(method=st.sampled_from(list(METHODS)))
    def attach(self, method: str) -> None:
        self.remove()
        self.cache = attached(self.run, method)
        self.method = method

    @rule()
    def remove(self) -> None:
        if self.cache is not None:
            self.cache.remove()
        self.method, self.cache = "none", None

    @rule(seed=any_seed, steps=any_steps)
    def plain(self, seed: int, steps: int) -> None:
        self._is_right(picture(self.run, seed, steps), seed, steps)

    @rule(seed=any_seed, inner=any_seed, steps=any_steps, at=any_step)
    def nested(self, seed: int, inner: int, steps: int, at: int) -> None:
        """A whole run in the callback of another one, whose scheduler it would move."""
        found: list[Tensor] = []

        def change(pipe: Any, index: int, prompt: Tensor) -> dict[str, Any]:
            if index == at:
                other = copy.copy(self.run)
                other.pipe = type(pipe)(**{**pipe.components, "scheduler": copy.deepcopy(pipe.scheduler)})
                other.pipe.set_progress_bar_config(disable=True)
                found.append(picture(other, inner, 4))
            return {}

        self._is_right(picture(self.run, seed, steps, change), seed, steps)
        bare = alone(self.kind, "none", inner, 4)
        assert torch.equal(found[0], bare) or torch.equal(found[0], alone(self.kind, self.method, inner, 4))

    @rule(seed=any_seed, steps=any_steps, at=any_step, inside=st.booleans())
    def broken_off(self, seed: int, steps: int, at: int, inside: bool) -> None:
        """In the callback, or within the model."""

        def fail(*given: Any) -> Any:
            raise BrokenOffError

        def change(pipe: Any, index: int, prompt: Tensor) -> dict[str, Any]:
            if index == at and not inside:
                fail()
            if index == at:
                hooks.append(self._model.register_forward_pre_hook(fail))
            return {}

        hooks: list[Any] = []
        try:
            found = picture(self.run, seed, steps, change)
        except BrokenOffError:
            pass
        else:
            # A UNet that is skipped as a whole calls no hooks: all steps that were left were such.
            assert inside
            self._is_right(found, seed, steps)
        for hook in hooks:
            hook.remove()

    @rule(seed=any_seed, steps=any_steps)
    def copied(self, seed: int, steps: int) -> None:
        """A copy, or a pickle, is plain."""
        other = copy.copy(self.run)
        other.pipe = copy.deepcopy(self.run.pipe)
        assert torch.equal(picture(other, seed, steps), alone(self.kind, "none", seed, steps))
        pickle.loads(pickle.dumps(self._model))

    @rule(seed=any_seed, steps=any_steps, at=any_step, other=st.sampled_from([other_prompt, other_adapter]))
    def changed(self, seed: int, steps: int, at: int, other: Callable[[int], Change]) -> None:
        """The prompt or the adapter changes in the middle of a run."""
        found = picture(self.run, seed, steps, other(at))
        self._model.set_adapters(["style"], [1.0])
        assert torch.equal(found, alone(self.kind, self.method, seed, steps, other(at)))

    @rule(seed=any_seed, at=any_step)
    def guided(self, seed: int, at: int) -> None:
        """Something is made of the model's gradients in the middle of a run."""
        found = picture(self.run, seed, 4, energy(self.kind, at))
        assert torch.equal(found, alone(self.kind, self.method, seed, 4, energy(self.kind, at)))

    @precondition(lambda self: self.cache is not None)
    @rule(seeds=st.permutations([0, 1, 2]), order=st.permutations([0, 0, 0, 0, 1, 1, 1, 1]))
    def requests(self, seeds: list[int], order: list[int]) -> None:
        """Two requests, stepped in turns by a loop of the program's own, at the times of a run before."""
        picture(self.run, 0, 4)
        waiting = [iter(calls(self.kind, seed)) for seed in seeds[:2]]
        found: list[list[list[Tensor]]] = [[], []]
        for n in order:
            found[n].append(stepped(self.run, self.cache, f"request {n}", next(waiting[n])))
        for n in (0, 1):
            wanted = requested(self.kind, self.method, seeds[n])
            assert torch.equal(flat(found[n]), flat(wanted))

    @rule()
    def called_outside(self) -> None:
        """The model is called by itself, as in training."""
        given: list[Any] = []
        hook = self._model.register_forward_pre_hook(
            lambda module, args, kwargs: given.append((args, kwargs)), with_kwargs=True
        )
        picture(self.run, 0, 4)
        hook.remove()
        args, kwargs = given[0]
        with torch.enable_grad():
            output = self._model(*args, **{**kwargs, "return_dict": False})[0]
        assert output.requires_grad
        output.square().mean().backward()
        self._model.zero_grad()

    @rule(seeds=st.permutations([0, 1, 2]), steps=any_steps)
    def threads(self, seeds: list[int], steps: int) -> None:
        """Two pipelines that share the model, at the same time: one has the cache."""
        other = copy.copy(self.run)
        other.pipe = type(self.run.pipe)(
            **{**self.run.pipe.components, "scheduler": copy.deepcopy(self.run.pipe.scheduler)}
        )
        other.pipe.set_progress_bar_config(disable=True)
        found: dict[int, Tensor] = {}
        work = [
            threading.Thread(target=lambda run=run, n=n: found.update({n: picture(run, seeds[n], steps)}))
            for n, run in enumerate((self.run, other))
        ]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        self._is_right(found[0], seeds[0], steps)
        assert any(
            torch.equal(found[1], alone(self.kind, method, seeds[1], steps))
            for method in ("none", self.method)
        )

    @invariant()
    def is_over(self) -> None:
        """Nothing is held between operations."""
        Runs.operations += 1
        cache = getattr(self, "cache", None)
        assert cache is None or not any(engine.bytes_held for engine in cache._engines)

    def teardown(self) -> None:
        if hasattr(self, "cache"):
            self.remove()

    @property
    def _model(self) -> Any:
        return self.run.model

    def _is_right(self, found: Tensor, seed: int, steps: int) -> None:
        assert torch.equal(found, alone(self.kind, self.method, seed, steps))


class TestRuns(Runs.TestCase):  # type: ignore[misc, name-defined]
    @classmethod
    def tearDownClass(cls) -> None:
        print(f"{Runs.operations} operations")


TestRuns.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=30, derandomize=not LONG,
    suppress_health_check=list(HealthCheck), database=None, deadline=None,
)  # fmt: skip
