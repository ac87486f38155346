"""Plans that these tests find are kept apart from the user's."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder of the tests' own."""
    return tmp_path_factory.mktemp("chunks")


@pytest.fixture(autouse=True)
def kept_apart(plans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skipstone.pipelines.vae.kept_plans.cache_folder", lambda name: plans)
