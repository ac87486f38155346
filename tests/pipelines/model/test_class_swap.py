"""A subclass of one's own: only for that object, taken back in any order, and never seen by copies."""

import copy
import gc
import inspect
import io
import itertools
import pickle
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import diffusers
import pytest
import torch
from torch import nn

import skipstone
from skipstone.pipelines.model.class_swap import Swap, give_subclass, plain
from support import tiny


class Named:
    """Something that says its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def say(self) -> str:
        return self.name


def adding(thing: Named, word: str) -> Swap:
    cls = type(thing)
    return give_subclass(thing, {"say": lambda self: f"{cls.say(self)} {word}"})


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_swaps_are_undone_in_any_order(order: tuple[int, ...]) -> None:
    thing, words = Named("a"), ["b", "c", "d"]
    swaps = [adding(thing, word) for word in words]
    left = list(words)
    for number in order:
        swaps[number].undo()
        left.remove(words[number])
        assert thing.say() == " ".join(["a", *left])
    assert type(thing) is Named


def test_a_swap_is_undone_once() -> None:
    thing = Named("a")
    first, second = adding(thing, "b"), adding(thing, "c")
    second.undo()
    second.undo()
    assert thing.say() == "a b"
    first.undo()
    assert type(thing) is Named


def test_members_are_for_the_very_object() -> None:
    """Even for another object that was put into the class by hand."""
    thing, other = Named("a"), Named("z")
    swap = adding(thing, "b")
    other.__class__ = type(thing)
    assert (thing.say(), other.say()) == ("a b", "z")
    swap.undo()
    assert other.say() == "z"


def test_one_class_serves_several_objects() -> None:
    things = [Named("a"), Named("b")]
    swap = Swap(Named, things, {"say": lambda self: self.name * 2})
    assert type(things[0]) is type(things[1])
    assert [thing.say() for thing in things] == ["aa", "bb"]
    swap.undo()
    assert [type(thing) for thing in things] == [Named, Named]


def test_the_object_is_held_weakly() -> None:
    thing = Named("a")
    swap, alive, cls = adding(thing, "b"), weakref.ref(thing), type(thing)
    del thing
    assert alive() is None
    swap.undo()
    assert plain(cls) is Named


COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle {n}": lambda thing, n=n: pickle.loads(pickle.dumps(thing, n)) for n in (0, 2, 5)},  # type: ignore[misc]
    "of its class": lambda thing: type(thing)("a"),
    "made and filled": lambda thing: _filled(thing.__new__(type(thing)), vars(thing)),
}


def _filled(new: Any, state: dict[str, Any]) -> Any:
    vars(new).update(state)
    return new


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_plain(how: str) -> None:
    thing = Named("a")
    swaps = [adding(thing, "b"), adding(thing, "c")]
    twin = COPIES[how](thing)
    assert type(twin) is Named
    assert (twin.say(), thing.say()) == ("a", "a b c")
    for swap in swaps:
        swap.undo()
    assert type(COPIES[how](thing)) is Named


def test_a_class_that_others_put_on_top_is_made_and_works() -> None:
    """Sharding does this: a class made of the object's present one."""
    thing = Named("a")
    swap = adding(thing, "b")
    thing.__class__ = type("Sharded", (type(thing),), {})
    assert type(type(thing)("z")).__name__ == "Sharded"
    assert type(thing)("z").say() == "z"
    swap.undo()
    assert thing.say() == "a"


def test_signatures_stay() -> None:
    pipe = tiny.flux().pipe
    told = [inspect.signature(part) for part in (pipe.__call__, pipe.scheduler.step, type(pipe.transformer))]
    with skipstone.attach(pipe, "fora"):
        now = [
            inspect.signature(part)
            for part in (pipe.__call__, pipe.scheduler.step, plain(type(pipe.transformer)))
        ]
    assert now == told


@pytest.fixture
def attached() -> Iterator[Any]:
    case = tiny.flux()
    with skipstone.attach(case.pipe, "fora", interval=2):
        case()
        yield case.pipe


def saved(model: nn.Module) -> Any:
    stream = io.BytesIO()
    torch.save(model, stream)
    return torch.load(io.BytesIO(stream.getvalue()), weights_only=False)


@pytest.mark.parametrize("send", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), saved])
def test_copies_of_attached_models_are_plain_and_let_the_original_go(send: Callable[[Any], Any]) -> None:
    case = tiny.flux()
    with skipstone.attach(case.pipe, "fora", interval=2):
        case()
        twin, original = send(case.pipe.transformer), weakref.ref(case.pipe.transformer)
        kinds = {plain(type(part)) for part in case.pipe.transformer.modules()}
    assert {type(part) for part in twin.modules()} == kinds
    pickle.dumps(twin)
    del case
    gc.collect()
    assert original() is None


@pytest.mark.parametrize("part", ["transformer", "scheduler"])
def test_parts_of_attached_pipelines_are_made_anew(attached: Any, part: str) -> None:
    known = getattr(attached, part)
    cls = getattr(diffusers, plain(type(known)).__name__)
    assert type(type(known).from_config(known.config)) is cls
    assert type(pickle.loads(pickle.dumps(known))) is cls


def test_slices_of_attached_models_are_plain(attached: Any) -> None:
    blocks = attached.transformer.transformer_blocks
    assert type(blocks[:1]) is nn.ModuleList
    assert type(blocks + blocks) is nn.ModuleList


def test_generations_of_copies_get_no_deeper() -> None:
    pipe = tiny.flux().pipe
    for _ in range(3):
        with skipstone.attach(pipe, "fora"):
            pipe = copy.deepcopy(pipe)
    assert type(pipe) is diffusers.FluxPipeline
    assert type(pipe.transformer) is diffusers.FluxTransformer2DModel
    assert type(pipe.scheduler) is diffusers.FlowMatchEulerDiscreteScheduler


def test_watched_attentions_are_copied_without_what_watches_them() -> None:
    """Hooks lie in the module itself, so copies would have them too."""
    case = tiny.wan()
    with skipstone.attach(case.pipe, skipstone.AdaCache("open-sora-100-fast")):
        case(num_inference_steps=20)
        pickle.dumps(case.pipe.transformer)


class Fixed:
    """Its name is a property."""

    @property
    def name(self) -> str:
        return "plain"


def test_a_property_is_swapped_for_one_object_and_comes_back() -> None:
    one, other = Fixed(), Fixed()
    swap = give_subclass(one, {"name": property(lambda self: "other")})
    above = give_subclass(one, {"name": property(lambda self: "third")})
    assert (one.name, other.name) == ("third", "plain")
    swap.undo()
    assert one.name == "third"
    above.undo()
    assert one.name == "plain"
    assert type(one) is Fixed
