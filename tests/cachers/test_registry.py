"""Methods from elsewhere are known by their names."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

import skipstone
from skipstone import (
    FORA,
    METHODS,
    ByStep,
    CFGCache,
    Predictor,
    Taylor,
    TeaCache,
    Warmup,
    WithGuidance,
    WithPredictor,
)
from skipstone.cachers import registry
from skipstone.cachers.make import make
from skipstone.cachers.registry import Registry
from skipstone.commands.methods import catalogue
from skipstone.settings import make_method
from support.packages import installed
from support.toy import ToyModel, ToyPipeline, constant


@dataclass(frozen=True)
class Odd(ByStep):
    """Compute the odd steps."""

    name: ClassVar[str] = "odd"

    def reason_to_compute(self, probe: Any, step: Any, state: None) -> str | None:
        return "it is odd" if step.index % 2 else None


@dataclass(frozen=True)
class Twice(Predictor):
    """Take twice the newest residual."""

    name: ClassVar[str] = "twice"
    history = 1

    def combine(self, at: float, times: Any) -> list[float]:
        return [2.0]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    for known in (skipstone.METHODS, skipstone.PREDICTORS, skipstone.SAVERS):
        monkeypatch.setattr(known, "_known", dict(known._known))


@pytest.mark.usefixtures("fresh")
def test_a_registered_method_and_predictor_are_attached_by_name() -> None:
    skipstone.register("odd", Odd)
    skipstone.register("twice", Twice)
    pipe = ToyPipeline(ToyModel())
    with torch.no_grad(), skipstone.attach(pipe, "odd+twice") as cache:
        first, second, third, _ = pipe(constant(4))
    assert cache.last_run.strip == "##.#"
    assert cache.last_run.reasons == {"nothing to reuse yet": 1, "it is odd": 2}
    assert torch.equal(second, first)
    assert torch.equal(third - 1, 2 * (second - 1))
    assert "odd" in METHODS


@pytest.mark.usefixtures("fresh")
def test_a_class_that_was_defined_again_takes_the_place_of_the_earlier_one() -> None:
    skipstone.register("odd", Odd)
    again = dataclass(frozen=True)(type("Odd", (Odd,), {"__module__": Odd.__module__}))
    skipstone.register("odd", again)
    assert METHODS["odd"] is again


class Plain(ByStep):
    """It is decorated nowhere."""

    name: ClassVar[str] = "plain"
    interval: int = 3

    def reason_to_compute(self, probe: Any, step: Any, state: None) -> str | None:
        return None


@dataclass(frozen=True)
class NameAsField(Odd):
    """Its name is annotated as a hyper-parameter."""

    name: str = "name-as-field"  # type: ignore[misc]


@dataclass(frozen=True)
class Undecided(ByStep):
    """It decides nothing."""

    name: ClassVar[str] = "undecided"


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("name", "cls", "said"),
    [
        ("teacache", dataclass(frozen=True)(type("Tea", (Odd,), {"name": "teacache"})), "there is a method"),
        ("even", Odd, "Odd is called 'odd': use that name, not 'even'"),
        ("Odd One", Odd, "'Odd One' cannot be typed: use small letters"),
        ("odd", Odd(), "expected a class that derives from Cacher, got Odd"),
        ("odd", dict, "expected a class that derives from Cacher"),
        ("plain", Plain, r"Plain is not a dataclass: write @dataclass\(frozen=True\)"),
        ("name-as-field", NameAsField, r"declare it as ClassVar\[str\]"),
        ("undecided", Undecided, "Undecided does not define reason_to_compute"),
        ("warmup", Warmup, "Warmup changes another method"),
    ],
)
def test_what_cannot_be_registered_is_told_in_a_line(name: str, cls: Any, said: str) -> None:
    before = list(METHODS)
    with pytest.raises((TypeError, ValueError), match=said) as caught:
        skipstone.register(name, cls)
    assert "\n" not in str(caught.value)
    assert list(METHODS) == before


def found_in(folder: Path, points: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Registry[Any]:
    monkeypatch.syspath_prepend(installed(folder, {"skipstone.cachers": points}))
    return Registry(skipstone.Cacher, "method", "skipstone.cachers", [TeaCache])


def test_a_package_brings_its_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    methods = found_in(tmp_path, {"every-third": "acme_caches:EveryThird"}, monkeypatch)
    assert list(methods) == ["every-third", "teacache"]
    assert methods["every-third"](phase=1).describe() == "every-third phase 1"
    with pytest.raises(ValueError, match="choose one of: every-third, teacache"):
        methods.named("nothing")
    with pytest.raises(ValueError, match=r"already, acme_caches\.EveryThird"):
        methods.add("every-third", dataclass(frozen=True)(type("A", (Odd,), {"name": "every-third"})))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("every-third", "acme_caches:Missing", "acme_caches.Missing cannot be used: .*Missing"),
        ("every-third", "no_such_package:X", "cannot be used: No module named 'no_such_package'"),
        ("every-third", "acme_caches:Half", "cannot be used: expected a class that derives from Cacher"),
        ("third", "acme_caches:EveryThird", "EveryThird is called 'every-third': use that name, not 'third'"),
        ("teacache", "acme_caches:EveryThird", "several are called 'teacache': acme_caches.EveryThird and"),
    ],
)
def test_a_package_that_cannot_be_used_is_told_in_a_line(
    name: str, value: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = found_in(tmp_path, {name: value}, monkeypatch)
    assert name in methods
    with pytest.raises(ValueError, match=said) as caught:
        methods.named(name)
    assert "\n" not in str(caught.value)


def test_the_command_line_knows_the_methods_of_packages(tmp_path: Path) -> None:
    path = os.pathsep.join([str(installed(tmp_path)), *filter(None, [os.environ.get("PYTHONPATH")])])
    program = (
        "from skipstone.settings import make_method; "
        "from skipstone.commands.methods import catalogue; "
        "from skipstone.report.candidates import candidate; "
        "print(make_method('every-third+half', ['phase=2']).describe()); "
        "print([m.claim for m in catalogue() if m.name in ('every-third', 'half')]); "
        "print(candidate('every-third+half').rungs)"
    )
    out = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert out == [
        "every-third phase 2; half",
        "['Compute every third step.', 'Take half of the newest residual.']",
        "(('phase=0',), ('phase=1',), ('phase=2',))",
    ]


def test_a_class_in_place_of_a_method_is_named() -> None:
    with pytest.raises(TypeError, match=r"expected the name of a method, a method or a plan, got .*TeaCache"):
        make(TeaCache)  # type: ignore[arg-type]


def test_a_package_that_cannot_be_used_is_listed_with_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = found_in(tmp_path, {"every-third": "no_such_package:X"}, monkeypatch)
    monkeypatch.setattr(registry, "METHODS", found)
    broken, working, *_ = catalogue()
    assert broken.claim.startswith("Not usable: the method 'every-third' of no_such_package.X cannot be used")
    assert not broken.is_own
    assert working.name == "teacache"
    assert working.is_own
    assert [note.partition(":")[0] for note in working.notes] == ["Use", "Source"]


def test_a_predictor_and_a_guidance_saver_are_added_to_any_method_by_name() -> None:
    made = make("fora+taylor+cfg-cache", interval=3, order=2, **{"cfg-cache.interval": 4}, low=0.5)
    assert made == WithGuidance(WithPredictor(FORA(3), Taylor(order=2)), CFGCache(interval=4, low=0.5))
    assert make_method("fora+cfg-cache", ["interval=3", "cfg-cache.interval=4"]) == WithGuidance(
        FORA(3), CFGCache(interval=4)
    )


@pytest.mark.parametrize(
    ("name", "settings", "error", "said"),
    [
        ("fora+none", {}, ValueError, "unknown predictor, guidance saver or wrapper 'none'; .*taylor"),
        ("fora+taylor+foca", {}, ValueError, "fora.taylor.foca: add one predictor at most"),
        ("fora+cfg-cache+cfg-cache", {}, ValueError, "add one guidance saver at most"),
        ("fora+cfg-cache", {"inteval": 1}, TypeError, "it has: interval, start, cfg-cache.interval, low"),
        ("fora+cfg-cache", {"taylor.order": 1}, TypeError, "no hyper-parameter 'taylor.order'"),
        ("fora", {"interval": 2, "fora.interval": 3}, TypeError, "interval of fora is given twice"),
    ],
)
def test_what_cannot_be_added_is_named(name: str, settings: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        make(name, **settings)


@pytest.mark.usefixtures("fresh")
def test_a_registered_guidance_saver_is_added_by_name() -> None:
    mine = dataclass(frozen=True)(type("Mine", (CFGCache,), {"name": "mine", "__module__": __name__}))
    skipstone.register("mine", mine)
    assert make("fora+mine", interval=3) == WithGuidance(FORA(3), mine())
