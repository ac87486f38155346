"""Which methods can be settled, how that is written, and what it says of itself."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import skipstone
from skipstone import FORA, METHODS, Cacher, PerModel, Planned, Reuse, RunCap, Taylor, Warmup
from skipstone import WithPredictor as With
from skipstone import WithSettling as Settle
from skipstone import WithSharedPrefix as Sharing
from skipstone.cachers.contract.words import ModelFacts, RunFacts, Solved, Step
from skipstone.cachers.make import make

SETTLED = {
    "adacache", "dbcache", "deepcache", "easycache", "first-block", "fora", "magcache", "seacache",
    "teacache",
}  # fmt: skip
"""Those that reuse the last residual as it is, and run the rest of the model where there is one."""


@pytest.mark.parametrize("name", [name for name in METHODS if name != Planned.name])
def test_methods_that_reuse_the_last_residual_can_be_settled_and_no_others(name: str) -> None:
    if name in SETTLED:
        assert isinstance(make(f"{name}+settling"), Settle)
    else:
        with pytest.raises(
            ValueError, match=f"^{name} .*settling goes with methods that reuse the last residual"
        ):
            make(f"{name}+settling")


REFUSED: dict[str, Callable[[], Cacher[Any]]] = {
    "a predictor within": lambda: Settle(With(FORA(3), Taylor(1))),
    "reuse as a predictor": lambda: Settle(With(FORA(3), Reuse())),
    "a predictor within a limit": lambda: Settle(Warmup(With(FORA(3), Taylor(1)), 2)),
    "a saver within": lambda: Settle(make("fora+cfg-cache")),
    "a shared prefix within": lambda: Settle(Sharing(FORA(3))),
    "a predictor around": lambda: With(Settle(FORA(3)), Taylor(1)),
    "a predictor around a limit": lambda: With(Warmup(Settle(FORA(3)), 2), Taylor(1)),
    "a saver around": lambda: make("fora+settling+cfg-cache"),
    "a shared prefix around": lambda: Sharing(Settle(FORA(3))),
    "twice": lambda: Settle(Settle(FORA(3))),
    "twice, apart": lambda: Settle(Warmup(Settle(FORA(3)), 2)),
    "twice by name": lambda: make("fora+settling+settling"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_settled_is_refused_before_the_run(name: str) -> None:
    with pytest.raises(ValueError, match="settl"):
        REFUSED[name]()


def test_a_model_whose_own_method_cannot_be_settled_is_named_when_attached() -> None:
    one = Settle(PerModel(FORA(3), {"transformer_2": make("pab")}))
    names = "transformer", "transformer_2"
    one.for_model(ModelFacts("Model", siblings=names))
    with pytest.raises(ValueError, match=r"^pab .*: settling goes with"):
        one.for_model(ModelFacts("Model", name="transformer_2", siblings=names))


@pytest.mark.parametrize("share", [0, -1.0, 1.01, float("nan"), float("inf"), True, "0.5"])
def test_a_share_is_above_nothing_and_at_most_all(share: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="share"):
        Settle(FORA(3), share)


@pytest.mark.parametrize(
    ("name", "settings", "made"),
    [
        ("fora+settling", {}, Settle(FORA())),
        ("FORA+Settling", {"share": 0.5, "interval": 3}, Settle(FORA(3), 0.5)),
        ("fora+settling", {"settling.share": 0.5}, Settle(FORA(), 0.5)),
        ("fora+warmup+settling", {"steps": 2}, Settle(Warmup(FORA(), 2))),
        ("fora+settling+warmup", {"steps": 2}, Warmup(Settle(FORA()), 2)),
        ("fora+settling+run-cap", {"skips": 1, "share": 1.0}, RunCap(Settle(FORA(), 1.0), 1)),
    ],
)
def test_it_is_spelt_with_a_plus(name: str, settings: Any, made: Cacher[Any]) -> None:
    assert make(name, **settings) == made


def test_a_typo_is_guessed() -> None:
    with pytest.raises(ValueError, match="did you mean 'settling'"):
        make("fora+setling")


def facts(steps: int = 4, known: bool = True) -> RunFacts:
    levels = [1 - n / steps for n in range(steps)]
    return RunFacts(tuple(Step(n, steps, x, x, 1 - x if known else None, x) for n, x in enumerate(levels)))


def test_it_tells_its_share_with_the_method() -> None:
    method = Settle(FORA(3), 0.5)
    assert method.describe() == method.for_run(facts()).describe() == "fora interval 3; settling share 0.5"


def test_without_known_levels_it_keeps_nothing_and_says_that_it_did_nothing() -> None:
    """Nobody knows then whether outputs drift evenly."""
    method = Settle(FORA(3)).for_run(facts(known=False))
    method.settle(Solved(Step(0, 4, 1.0), "computed", torch.ones(1, 2), [], np.zeros(4)))
    assert method.nbytes == 0
    assert "settling did nothing" in " ".join(method.remarks())


ONE, ALL = [0, 2, 4], [0, 1, 2, 3, 4]
"""Of five steps, those on which all branches are skipped or none. On the others one is skipped alone."""


@pytest.mark.parametrize(("whole", "says"), [(ONE, True), (ALL, False)])
def test_a_run_whose_branches_skip_different_steps_says_that_it_settles_little(
    whole: list[int], says: bool
) -> None:
    method = Settle(FORA(2)).for_run(facts(5))
    for n in whole:
        output, reason = torch.full((1, 2), float(n)), None if n % 2 else "computed"
        method.settle(Solved(Step(n, 5, 1 - n / 5), reason, output, [], np.zeros(5)))
    assert ("settling did little" in " ".join(method.remarks())) == says


def test_each_run_has_its_own_memory() -> None:
    method: Any = Settle(skipstone.SeaCache(0.2))
    one, other = method.for_run(facts()), method.for_run(facts())
    assert one == other
    assert one.settling is not other.settling
