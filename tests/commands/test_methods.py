"""`skipstone methods`: what is said of each method."""

import json

import pytest

import skipstone
from skipstone import cli
from skipstone.cachers import METHODS, PREDICTORS, SAVERS
from skipstone.cachers.make import WRAPPERS


def test_methods_are_described_by_their_docstrings(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["methods", "--json"]) == 0
    found = {method["name"]: method for method in json.loads(capsys.readouterr().out)["methods"]}
    assert sorted(found) == sorted([*METHODS, *PREDICTORS, *SAVERS, *WRAPPERS])
    for name, method in found.items():
        assert method["claim"].endswith(".")
        assert method["source"], name
        assert all(parameter["meaning"] for parameter in method["parameters"]), name
    teacache = found["teacache"]
    assert teacache["claim"].startswith("Skip until the summed, rescaled changes")
    assert teacache["source"] == "TeaCache, arXiv:2411.19108, https://github.com/ali-vilab/TeaCache"
    threshold = teacache["parameters"][0]
    assert (threshold["name"], threshold["type"]) == ("threshold", "float | None")
    assert threshold["default"] == skipstone.TeaCache().threshold
    assert threshold["meaning"].startswith("summed change at which a step is computed, in the unit")


def test_methods_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["methods"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in [*METHODS, *PREDICTORS, *SAVERS, *WRAPPERS])
    assert "arXiv:2411.19108" in out


def test_methods_that_are_named_are_shown_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["methods", "fora+taylor"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("fora ")
    assert "+taylor" in out
    assert "teacache" not in out.lower()
    assert cli.run(["methods", "no-such"]) == 2
    assert "unknown method 'no-such'; choose one of:" in capsys.readouterr().err


def test_a_method_that_is_named_is_explained_and_attached(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["methods", "TeaCache", "taylor"]) == 0
    out = capsys.readouterr().out
    assert "Difference: the polynomial is clamped at zero" in out
    assert 'Python: skipstone.attach(pipe, "teacache")' in out
    assert 'Python: skipstone.attach(pipe, "fora+taylor")' in out
    assert cli.run(["methods"]) == 0
    assert "Difference:" not in capsys.readouterr().out
