"""`skipstone report` on the command line: the page and the rows it writes, and what it refuses."""

import io
from pathlib import Path

import pytest

from skipstone import cli
from skipstone.commands.progress import RunBar
from skipstone.report import read_rows
from skipstone.report.prompts import USUAL
from support import saved
from support.sweeps import SMALL, runs_of
from support.sweeps import folder as folder
from support.sweeps import prompts as prompts


def report(folder: str, *arguments: str) -> int:
    chosen = ["--methods", "fora", "--speedups", "2", *SMALL]
    return cli.run(["report", "--model", folder, "--prompts", "prompts.txt", *chosen, *arguments])


def test_the_command_writes_a_page_and_rows(
    folder: str, prompts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(folder, "-o", "page.html", "--limit", "1", "--speedups", "2,3") == 0
    out, err = capsys.readouterr()
    assert out == "wrote page.html\n"
    assert "7/7" in err
    first = Path("page.html").read_text()
    assert cli.run(["report", "--from", "rows.jsonl", "-o", "again.html"]) == 0
    assert Path("again.html").read_text() == first
    assert "data:video/mp4;base64" in first


def test_a_report_of_pictures(
    tmp_path_factory: pytest.TempPathFactory, prompts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(saved.save_flux(tmp_path_factory.mktemp("flux")))
    small = ["--size", "32x32", "--steps", "4", "--limit", "1", "--metrics", "psnr,vmaf"]
    command = [
        "report",
        "--model",
        folder,
        "--prompts",
        prompts,
        "--methods",
        "fora",
        "--speedups",
        "2",
        *small,
    ]
    assert cli.run([*command, "-o", "page.html"]) == 0
    written = Path("page.html").read_text()
    assert "data:image/webp;base64" in written
    assert "VMAF was not measured: it needs a video, and this is one picture" in written


def test_two_processes_measure_the_same(folder: str, prompts: str) -> None:
    assert report(folder, "-o", "one.html", "--rows", "one.jsonl") == 0
    assert report(folder, "-o", "two.html", "--rows", "two.jsonl", "--workers", "2") == 0
    one, two = (runs_of(read_rows(Path(f"{name}.jsonl"))) for name in ("one", "two"))
    assert [row.replace("one_clips", "clips") for row in one] == [
        row.replace("two_clips", "clips") for row in two
    ]
    assert len(list(Path("two_clips").iterdir())) == len(list(Path("one_clips").iterdir()))
    assert not list(Path().glob("*.part-*"))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["-o", "page.htm"], "cannot write 'page.htm': name a file that ends in .html"),
        (["-o", "no/page.html"], "there is no folder 'no'"),
        (["-o", "/proc/page.html"], "cannot write to the folder '/proc'"),
        (["-o", "p.html", "--rows", "rows.txt"], "cannot write 'rows.txt': name a file that ends in .jsonl"),
        (["-o", "p.html", "--prompts", "no.txt"], "cannot read the prompts 'no.txt': No such file"),
        (["-o", "p.html", "--methods", "tea"], "unknown method 'tea'; choose one of: adacache"),
        (["-o", "p.html", "--methods", ","], "a report needs methods: give at least one"),
        (["-o", "p.html", "--metrics", "pnsr"], "unknown metric 'pnsr'; choose from: psnr"),
        (["-o", "p.html", "--speedups", "fast"], "--speedups fast: expected numbers between commas"),
        (["-o", "p.html", "--seeds", "-1"], "seeds must be whole numbers from 0"),
        (["-o", "p.html", "--from", "no.jsonl"], "cannot read 'no.jsonl': No such file"),
        (["-o", "p.html", "--from", "prompts.txt"], "'prompts.txt:1' is no row of a report"),
        (["-o", "p.html", "--prompts", "empty.txt"], "'empty.txt' holds no prompts: write one a line"),
        (["-o", "p.html", "--methods", "fora:fitted"], "fora:fitted: fora has nothing to fit; these have"),
        (["-o", "p.html", "--from", "old.jsonl"], "'old.jsonl:1' is of schema 0, and this skipstone reads"),
        (["-o", "p.html", "--rows", "old.jsonl"], "'old.jsonl:1' is of schema 0, and this skipstone reads"),
        (["-o", "p.html", "--megabytes", "inf"], "inf is not a finite number"),
    ],
)
def test_bad_input_is_one_clear_line(
    folder: str, prompts: str, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    before = sorted(Path().iterdir())
    assert report(folder, *arguments) == 2
    _, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert problem in err
    assert sorted(Path().iterdir()) == before


def test_a_model_alone_is_enough(folder: str, prompts: str, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--limit", "1", "--methods", "fora", "--speedups", "2", *SMALL]
    assert cli.run(["report", "--model", folder, *few]) == 0
    assert "runs at most, about" in capsys.readouterr().err
    (header, *rows) = read_rows(Path("rows.jsonl"))
    assert header["prompts"] == [USUAL[0]]
    assert {row["prompt"] for row in rows} == {USUAL[0]}
    assert Path("report.html").is_file()


def test_a_sweep_that_takes_too_long_is_not_begun(
    folder: str, prompts: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skipstone.commands.progress.SHORT", 0.0)
    monkeypatch.setattr("sys.stdin", Terminal("no\n"))
    assert report(folder, "-o", "page.html", "--limit", "1") == 2
    assert "nothing was measured; fewer methods, speeds or prompts" in capsys.readouterr().err
    assert not Path("rows.jsonl").exists()
    monkeypatch.setattr("sys.stdin", Terminal(""))
    assert report(folder, "-o", "page.html", "--limit", "1", "--yes") == 0


class Terminal(io.StringIO):
    """A standard input at which somebody sits."""

    def isatty(self) -> bool:
        return True


def test_an_interrupted_sweep_says_how_to_go_on(
    folder: str, prompts: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = RunBar.done

    def interrupted(bar: RunBar, title: str) -> None:
        done(bar, title)
        if title.startswith("cached"):
            raise KeyboardInterrupt

    monkeypatch.setattr(RunBar, "done", interrupted)
    assert report(folder, "-o", "page.html", "--limit", "1") == 130
    told = "interrupted: rows.jsonl keeps what was measured; the same command goes on"
    assert told in capsys.readouterr().err
    before = len(read_rows(Path("rows.jsonl")))
    monkeypatch.setattr(RunBar, "done", done)
    assert report(folder, "-o", "page.html", "--limit", "1") == 0
    assert len(read_rows(Path("rows.jsonl"))) > before


def test_rows_of_another_sweep_are_left_alone(
    folder: str, prompts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(folder, "-o", "page.html", "--limit", "1") == 0
    before = Path("rows.jsonl").read_bytes()
    assert report(folder, "-o", "page.html", "--limit", "1", "--steps", "5") == 2
    assert "rows of another sweep (arguments {'num_inference_steps': 6" in capsys.readouterr().err
    assert Path("rows.jsonl").read_bytes() == before
