"""`skipstone plan`, and making clips by plans, on the command line."""

import json
from pathlib import Path
from typing import Any

import pytest

import skipstone
from skipstone import cli
from skipstone.pipelines.run.stats import RunLog
from support import saved
from support.hub import hub

SMALL = ["--size", "32x32", "--frames", "5", "--steps", "16"]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny text-to-video pipeline."""
    return str(saved.save_wan(tmp_path_factory.mktemp("wan")))


@pytest.fixture(autouse=True)
def _empty_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    # Times of tiny models vary: say that a skipped step costs nothing.
    monkeypatch.setattr(RunLog, "skip_cost", lambda log: 0.0)
    monkeypatch.setattr("skipstone.pipelines.planning.autoplan.records_folder", lambda: tmp_path / "records")


def plan(*arguments: str) -> int:
    return cli.run(["plan", "a red apple", *arguments])


def generate(*arguments: str) -> int:
    return cli.run(["generate", "a red apple", "-o", "a.gif", *arguments])


def object_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return dict(json.loads(capsys.readouterr().out))


def test_a_plan_is_shown_and_written(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan("--model", video, *SMALL, "--computed", "7", "-o", "seven.json") == 0
    out, err = capsys.readouterr()
    written = skipstone.load_plan("seven.json")
    assert written.computed == 7
    assert written.validated is not None
    assert out == written.explain() + "\nwrote seven.json\n"
    assert "recording       ################ 16/16" in err
    assert "other noise     ################ 16/16" in err
    assert err.count("plan of 7 steps") >= 2
    assert cli.run(["plan", "--show", "seven.json"]) == 0
    assert capsys.readouterr().out == written.explain() + "\n"


def test_a_plan_as_json_is_alone_on_standard_output(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan("--model", video, *SMALL, "--computed", "7", "--refine", "2", "--json") == 0
    found, written = object_of(capsys), skipstone.load_plan("plan.json")
    assert found["strip"] == written.strip
    assert (found["computed"], found["steps"]) == (7, 16)
    assert found["psnr_worst"] == pytest.approx(written.validations[-1].worst)
    assert [error is None for error in found["expected_errors"]] == [mark == "#" for mark in written.strip]


def test_a_clip_is_made_by_a_plan(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    plan("--model", video, *SMALL, "--computed", "7")
    capsys.readouterr()
    assert generate("--model", video, *SMALL, "--plan", "plan.json", "--compare", "--json") == 0
    assert object_of(capsys)["statistics"]["strip"] == skipstone.load_plan("plan.json").strip


def test_for_a_speed_a_run_is_recorded_once(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    for recorded in (True, False):
        assert generate("--model", video, *SMALL, "--speedup", "1.6", "--json") == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["statistics"]["strip"].count("#") == 10
        assert ("recorded ################" in err) == recorded
        assert "planned " in err


def test_a_speed_is_compared_with_an_uncached_run(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("--model", video, *SMALL, "--speedup", "1.6", "--compare", "--json") == 0
    result = object_of(capsys)
    assert result["statistics"]["skipped"] > 0
    assert result["psnr"] > 0


def test_a_quality_is_kept(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("--model", video, *SMALL, "--quality", "30", "--compare", "--json") == 0
    result = object_of(capsys)
    assert result["psnr"] >= 30
    assert result["statistics"]["skipped"] > 0


def test_a_quality_is_promised_from_a_file_of_prompts(video: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("prompts.txt").write_text("a red apple\na blue apple\na green apple\n")
    asked = ["plan", "--prompts", "prompts.txt", "--quality", "25", "--model", video, *SMALL]
    assert cli.run([*asked, "--share", "0.75", "--json"]) == 0
    out, err = capsys.readouterr()
    promise, written = json.loads(out)["promise"], skipstone.load_plan("plan.json").promise
    assert written is not None
    assert promise == written.summary()
    assert (promise["share"], promise["prompts"], promise["failures"]) == (0.75, 3, 0)
    assert all(value >= 25 for value in written.values)
    assert "run 1 of 6 or more: uncached, prompt 1 of 3" in err
    # What was measured is known in the next process.
    assert cli.run([*asked, "--share", "0.75"]) == 0
    out, err = capsys.readouterr()
    assert "run 1 of" not in err
    assert "PSNR of at least 25 dB, promised to 75 in 100 prompts like these" in out


def test_a_plan_is_shared_and_pulled(
    video: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with hub(monkeypatch, tmp_path / "cache"):
        assert plan("--model", video, *SMALL, "--computed", "7", "--push", "me/plans/made") == 0
        assert "\nshared: http://127.0.0.1:" in capsys.readouterr().out
        assert cli.run(["plan", "--show", "plan.json", "--push", "me/plans/shown"]) == 0
        made = skipstone.load_plan("plan.json")
        for name in ("made", "shown"):
            capsys.readouterr()
            assert cli.run(["plan", "--pull", f"me/plans/{name}", "-o", f"{name}.json"]) == 0
            assert capsys.readouterr().out == f"{made.explain()}\nwrote {name}.json\n"
            assert skipstone.load_plan(f"{name}.json").as_dict() == made.as_dict()
        assert generate("--model", video, *SMALL, "--plan", "me/plans/made", "--json") == 0
        assert object_of(capsys)["statistics"]["strip"] == made.strip


REFUSED = {
    "two plans": (["plan", "--show", "a.json", "--pull", "me/plans/a"], "each of them names a plan"),
    "pushed nowhere": (["plan", "a", "--computed", "3", "--push", "plan.json"], "expected OWNER/REPOSITORY"),
    "pulled from nowhere": (["plan", "--pull", "plan.json"], "expected OWNER/REPOSITORY/NAME"),
    "nothing asked": (["plan", "a", *SMALL], "exactly one of speedup, computed, quality, ssim and lpips"),
    "share of a speed": (["plan", "a", "--speedup", "2", "--share", "0.9"], "a share is promised of a"),
    "no such prompts": (["plan", "--quality", "30", "--prompts", "no.txt"], "cannot read the prompts"),
    "too few prompts": (["plan", "a", "--quality", "30", "--share", "0.95"], "0.95 needs 19 prompts, got 1"),
    "two asked": (["plan", "a", "--speedup", "2", "--computed", "3"], "exactly one of"),
    "no prompt": (["plan", "--speedup", "2"], "name a prompt to record, a file of --prompts"),
    "no such plan": (["plan", "--show", "none.json"], "cannot read 'none.json'"),
    "slower": (["plan", "a", "--speedup", "0.5"], "--speedup"),
    "beyond reach": (["plan", "a", *SMALL, "--computed", "17"], "computed must be 1 to 16"),
    "no folder": (["plan", "a", "--computed", "3", "-o", "nowhere/plan.json"], "no folder 'nowhere'"),
    "plan and speed": (["generate", "a", "-o", "a.gif", "--plan", "p", "--speedup", "2"], "give one"),
    "speed and method": (["generate", "a", "-o", "a.gif", "--speedup", "2", "--method", "fora"], "give one"),
    "quality without cache": (
        ["generate", "a", "-o", "a.gif", "--quality", "30", "--no-cache"],
        "--no-cache",
    ),
    "no such file": (["generate", "a", "-o", "a.gif", "--plan", "none.json"], "cannot read 'none.json'"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_one_line(
    video: str, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert cli.run([*arguments, "--model", video]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("error: ")
    assert not list(Path().iterdir())
