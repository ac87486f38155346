"""Folders of tiny pipelines that commands open."""

import pytest

from support import saved


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny text-to-video pipeline."""
    return str(saved.save_wan(tmp_path_factory.mktemp("wan")))


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny text-to-image pipeline with true classifier-free guidance."""
    return str(saved.save_flux(tmp_path_factory.mktemp("flux")))
