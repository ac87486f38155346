"""`skipstone doctor` finds what is missing, damaged, or does not go together."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import diffusers
import pytest

from skipstone import cli
from skipstone.commands import doctor
from skipstone.disk import weights
from skipstone.pipelines import bundled


def installed(monkeypatch: pytest.MonkeyPatch, **packages: str | None) -> list[doctor.Diagnosis]:
    """What is said besides, where these packages have other versions, or none."""
    usual = doctor.examine()

    def found(name: str) -> str:
        answer = packages.get(name, "") if name in packages else version(name)
        if answer is None:
            raise PackageNotFoundError(name)
        return answer

    monkeypatch.setattr(doctor, "version", found)
    return [one for one in doctor.examine() if one.advice and one not in usual]


def test_old_diffusers_beside_new_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    said = installed(monkeypatch, diffusers="0.35.2", transformers="5.1.0", ftfy="6.3")
    assert [one.name for one in said] == ["diffusers<0.36 + transformers>=5"]
    assert said[0].is_fatal
    assert "pip install -U diffusers, or pip install 'transformers<5'" in said[0].advice


@pytest.mark.parametrize("pair", [("0.36.0", "5.1.0"), ("0.35.2", "4.57.0")])
def test_pairs_that_go_together(monkeypatch: pytest.MonkeyPatch, pair: tuple[str, str]) -> None:
    assert not installed(monkeypatch, diffusers=pair[0], transformers=pair[1], ftfy="6.3")


def test_old_wan_without_ftfy(monkeypatch: pytest.MonkeyPatch) -> None:
    said = installed(monkeypatch, diffusers="0.35.2", transformers="4.57.0", ftfy=None)
    assert [(one.name, one.status) for one in said] == [("ftfy", "note")]
    assert not installed(monkeypatch, diffusers="0.36.0", transformers="4.57.0", ftfy=None)


def test_a_package_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    said = installed(monkeypatch, accelerate="1.2.0")
    assert [(one.name, one.found, one.advice) for one in said] == [
        ("accelerate", "1.2.0", "pip install 'accelerate>=1.7'")
    ]


def test_doctor_is_content_with_complete_models(
    video: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(weights, "CHECKOUT", Path(video).parent)
    monkeypatch.setattr(bundled, "DEFAULTS", {Path(video).name: {}})
    assert cli.run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert diffusers.__version__ in out
    assert "missing" not in out


DAMAGE = {
    "no index": "pebble-video is not installed",
    "no weights": "install it anew",
    "damaged weights": "install it anew",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_doctor_finds_a_damaged_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    folder = tmp_path / "pebble-video"
    (folder / "vae").mkdir(parents=True)
    if damage != "no index":
        (folder / "model_index.json").write_text('{"vae": ["diffusers", "AutoencoderKLWan"]}')
    if damage == "damaged weights":
        (folder / "vae" / "model.safetensors").write_bytes(b"version https://git-lfs")
    monkeypatch.setattr(weights, "CHECKOUT", tmp_path)
    monkeypatch.setattr(bundled, "DEFAULTS", {"pebble-video": {}})
    # Who brings models of his own needs none of these.
    assert cli.run(["doctor"]) == (0 if damage == "no index" else 1)
    assert DAMAGE[damage] in " ".join(capsys.readouterr().out.split())
