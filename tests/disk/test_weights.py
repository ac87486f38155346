"""Weights come with a checkout or a package; where they are missing, one line says what to install."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import skipstone
from skipstone import cli
from skipstone.disk import weights
from skipstone.metrics import compare, lpips
from skipstone.pipelines import bundled
from support.packages import with_entry_points

BROUGHT = ("pebble-image", "pebble-video", lpips.WEIGHTS)


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Skipstone alone, as on a server; the folder of a checkout that has no weights."""
    monkeypatch.setattr(weights, "CHECKOUT", tmp_path / "checkout")
    monkeypatch.setattr(weights, "entry_points", lambda **_: ())
    lpips._weights.cache_clear()
    return tmp_path


@pytest.fixture
def package(alone: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with weights, installed."""
    monkeypatch.undo()
    monkeypatch.setattr(weights, "CHECKOUT", alone / "checkout")
    (alone / "acme_weights" / "pebble-image").mkdir(parents=True)
    (alone / "acme_weights" / "__init__.py").touch()
    points = {weights.GROUP: {"pebble-image": "acme_weights"}}
    monkeypatch.syspath_prepend(with_entry_points(alone, "acme_weights", points))
    yield alone / "acme_weights"
    sys.modules.pop("acme_weights", None)


def test_an_installed_package_brings_weights(package: Path) -> None:
    assert weights.folder_of("pebble-image") == package / "pebble-image"
    assert weights.folder_of("pebble-music") is None


def test_a_checkout_comes_first(package: Path) -> None:
    (weights.CHECKOUT / "pebble-image").mkdir(parents=True)
    assert weights.folder_of("pebble-image") == weights.CHECKOUT / "pebble-image"


def test_the_package_of_this_repository_brings_what_is_used() -> None:
    lines = (weights.CHECKOUT.parent / "pyproject.toml").read_text().splitlines()
    points = lines[lines.index(f'[project.entry-points."{weights.GROUP}"]') + 1 :][: len(BROUGHT)]
    assert points == [f'{name} = "skipstone_pebble"' for name in BROUGHT]
    assert all((weights.CHECKOUT / name).is_dir() for name in BROUGHT)


@pytest.mark.usefixtures("alone")
def test_a_model_that_is_missing_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="pebble-image is not installed: pip install skipstone-pebble"):
        skipstone.load("pebble-image")
    assert bundled.default_plan("pebble-image") is None
    assert cli.run(["generate", "a snail", "-o", "a.png"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pebble-video is not installed: pip install skipstone-pebble" in line


@pytest.mark.usefixtures("alone")
def test_a_metric_that_is_missing_says_what_to_install() -> None:
    picture = torch.rand(1, 64, 64, 3)
    compared = compare(picture, picture)
    assert "pip install skipstone-pebble" in compared.skipped["lpips"]
    assert compared.scores["psnr"].value == 100


@pytest.mark.usefixtures("alone")
def test_who_brings_models_of_his_own_needs_no_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("not installed: pip install skipstone-pebble") == len({*BROUGHT, *bundled.DEFAULTS})
