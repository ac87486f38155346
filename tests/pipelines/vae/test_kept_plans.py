"""Plans are found once and kept; a file that is damaged or of something else is made again."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import skipstone
from skipstone.commands.doctor import examine
from skipstone.notice import Notice
from skipstone.pipelines.vae import kept_plans
from support.mutations import changed_bytes, changed_values, fuzzed
from support.toy_vae import ToyAutoencoder
from support.vaes import REFUSED, Make, decoded, error, latents, ltx, made

VIDEO = latents(3)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and a process that has found nothing yet."""
    monkeypatch.setattr(kept_plans, "cache_folder", lambda name: tmp_path / name)
    monkeypatch.setattr(kept_plans, "_found", {})
    return tmp_path / "chunks"


def in_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_plans, "_found", {})


def no_trial(*_: Any) -> Any:
    raise AssertionError("it was found again")


def stats(vae: Any) -> skipstone.ChunkStats:
    with skipstone.decode_in_chunks(vae, chunk=1) as handle:
        assert error(decoded(vae, VIDEO), decoded(ToyAutoencoder(), VIDEO)) <= 1e-12
    assert handle.last_call is not None
    return handle.last_call


def test_a_plan_is_found_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vae = ToyAutoencoder()
    assert stats(vae) == skipstone.ChunkStats(3)
    (path,) = folder.iterdir()
    assert json.loads(path.read_text())["format"] == "skipstone chunk plan"
    in_new_process(monkeypatch)
    monkeypatch.setattr(kept_plans, "find_plan", no_trial)
    assert stats(vae) == skipstone.ChunkStats(3)


def test_what_looks_ahead_is_kept_as_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vae = made(ltx)
    skipstone.decode_in_chunks(vae).remove()
    first = next(iter(kept_plans._found.values()))
    in_new_process(monkeypatch)
    monkeypatch.setattr(kept_plans, "find_plan", no_trial)
    skipstone.decode_in_chunks(vae).remove()
    assert next(iter(kept_plans._found.values())) == first
    assert any(unit.right for unit in (first.plan or {}).values())


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_why_there_is_no_plan_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    vae = made(make)
    for _ in range(2):
        with pytest.warns(Notice, match="GroupNorm"):
            skipstone.decode_in_chunks(vae).remove()
        in_new_process(monkeypatch)
        monkeypatch.setattr(kept_plans, "find_plan", no_trial)


def test_a_damaged_plan_is_made_again_with_a_note(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vae = ToyAutoencoder()
    stats(vae)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    changes = (b'"left": 2', b'"left": "two"'), (b"chunk plan", b"record"), (whole[1:], b"")
    for damage in (whole.replace(*change) for change in changes):
        path.write_bytes(damage)
        in_new_process(monkeypatch)
        said = stats(vae)
        assert said.chunks == 3
        assert said.notes[0].startswith(f"planned again, as {str(path)!r} is ")
        assert path.read_bytes() == whole


@pytest.mark.parametrize("change", [{"versions": {"torch": "1"}}, {"units": {"no.part": {"kind": "memory"}}}])
def test_a_plan_of_something_else_is_made_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    vae = ToyAutoencoder()
    stats(vae)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_text(json.dumps({**json.loads(whole), **change}))
    in_new_process(monkeypatch)
    assert stats(vae) == skipstone.ChunkStats(3)
    assert path.read_bytes() == whole


def test_a_wrong_plan_decodes_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vae, video = ToyAutoencoder(), latents(3, edge=4)
    skipstone.decode_in_chunks(vae).remove()
    (path,) = folder.iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), "units": {}}))
    in_new_process(monkeypatch)
    monkeypatch.setattr("skipstone.pipelines.vae.verdicts._verdicts", {})
    whole = decoded(vae, video)
    with skipstone.decode_in_chunks(vae, chunk=1) as handle:
        assert error(decoded(vae, video), whole) <= 1e-12
    assert "gave another video" in str(handle.last_call)


def test_without_a_folder_the_plan_lasts_as_long_as_the_process(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_plans, "cache_folder", lambda name: None)
    vae = ToyAutoencoder()
    stats(vae)
    monkeypatch.setattr(kept_plans, "find_plan", no_trial)
    assert stats(vae) == skipstone.ChunkStats(3)


def test_the_doctor_tells_what_trials_have_shown(folder: Path) -> None:
    skipstone.decode_in_chunks(ToyAutoencoder()).remove()
    normed = ToyAutoencoder(nn.Sequential(nn.Conv3d(4, 4, 1), nn.GroupNorm(2, 4)).double())
    with pytest.warns(Notice, match="GroupNorm"):
        skipstone.decode_in_chunks(normed).remove()
    (folder / "damaged.json").write_text("{")
    found = [(one.found, one.status) for one in examine() if one.name == "ToyAutoencoder decode"]
    why = "frames of 1 (GroupNorm) depend on all of them at once"
    assert found == [("runs as written: " + why, "ok"), ("runs in chunks", "ok")]
    own = next(one.found for one in examine() if one.name == "decoding in chunks")
    assert "AutoencoderKLWan" in own


def test_a_folder_that_cannot_be_written_is_told(folder: Path) -> None:
    folder.write_text("a file is in its place")
    (note,) = stats(ToyAutoencoder()).notes
    assert note.startswith("the plan is not kept for other processes: ")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@fuzzed
@given(data=st.data())
def test_a_decode_is_right_with_any_file(kept: Path, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept_plans, "cache_folder", lambda name: kept / name)
        patch.setattr(kept_plans, "_found", {})
        patch.setattr("skipstone.pipelines.vae.verdicts._verdicts", {})
        vae, video = ToyAutoencoder(), latents(3, edge=2)
        skipstone.decode_in_chunks(vae).remove()
        (path,) = (kept / "chunks").iterdir()
        whole = path.read_bytes()
        by_value = changed_values(json.loads(whole)).map(lambda value: json.dumps(value).encode())
        path.write_bytes(data.draw(st.one_of(by_value, changed_bytes(whole))))
        in_new_process(patch)
        with skipstone.decode_in_chunks(vae, chunk=1):
            frames = decoded(vae, video)
        path.write_bytes(whole)
        assert error(frames, decoded(vae, video)) <= 1e-6
