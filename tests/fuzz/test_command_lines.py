"""Command lines of all kinds: success, an unmet demand, or one line that says what is wrong."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skipstone import cli
from skipstone.pipelines import bundled
from support import saved
from support.mutations import EXAMPLES, fuzzed

CODES = {0, 1, 2}

COMMANDS = ("generate", "plan", "report", "check", "methods")

ODD = st.sampled_from([
    "", " ", "nan", "inf", "-inf", "-1", "0", "1", "2", "1e999", "1e308", "0x10", "1_0", "٣", "true",
    "\x1b[31mred", "a\0b", "\udce9", "\u202e", "x" * 300, "=", "a=b=c", ",", ",,", ":", "+", "fora+", "-",
    "none", "--", ".", "..", "/", "~nobody/x", "/dev/null", "/dev/full", "/proc/self", "folder", "[red]",
    "%s", "{}", "auto", "9" * 400, "1.5,nan", "99999999999999999999",
])  # fmt: skip
"""What no option expects."""

USUAL = {
    "--model": ("tiny", "tiny", "pebble-image", "owner/name", "folder"),
    "--output": ("a.png", "a.webp", "a.mp4", "a.html", "folder/a.png", "plan.json"),
    "--method": ("fora", "teacache", "fora+taylor", "first-block", "planned", "block-caching"),
    "--set": ("interval=2", "threshold=0.1", "interval=nan", "threshold=inf", "interval=2.5", "order=2"),
    "--plan": ("plan.json", "prompts.txt"), "--show": ("plan.json", "prompts.txt"),
    "--steps": ("1", "2", "3"), "--size": ("32x32", "16x16", "33x32", "0x0"), "--guidance": ("1", "4", "0"),
    "--frames": ("1", "5"), "--negative": ("blurry",), "--device": ("cpu", "cuda", "meta"),
    "--dtype": ("float32", "float64"), "--speedup": ("1.5", "3", "1"), "--quality": ("20",),
    "--computed": ("1", "2"), "--fps": ("24",), "--scale": ("2",), "--seed": ("0", "7"),
    "--min-psnr": ("0", "99"), "--min-speedup": ("0",), "--limit": ("1",), "--seeds": ("0", "1,2"),
    "--prompts": ("prompts.txt", "prompts.csv", "missing.txt"),
    "--speedups": ("2",), "--methods": ("fora:interval=2", "fora", "no"), "--metrics": ("psnr", "no"),
    "--rows": ("rows.jsonl",), "--from": ("rows.jsonl", "prompts.txt"), "--megabytes": ("1",),
    "--refine": ("0",),
}  # fmt: skip
"""For each option, values that it may take."""

SHORT = {"num_inference_steps": 2, "height": 32, "width": 32}

FLAGS = st.sampled_from(["--json", "--no-cache", "--graphs", "--compare", "--help", "--no-such", "-o", "-x"])

BASIS: dict[str, Sequence[str]] = {
    "generate": ("a cat", "-o", "a.png", "--model", "tiny", "--steps", "2", "--size", "32x32"),
    "plan": ("a cat", "--model", "tiny", "--steps", "3", "--size", "32x32", "--computed", "2"),
    "report": (
        *("-o", "a.html", "--model", "tiny", "--steps", "2", "--size", "32x32", "--prompts", "prompts.txt"),
        *("--methods", "fora:interval=2", "--metrics", "psnr", "--limit", "1", "--speedups", "1.5"),
    ),
    "check": (
        *("--model", "tiny", "--steps", "2", "--size", "32x32", "--prompts", "prompts.txt"),
        *("--min-psnr", "0"),
    ),
    "methods": (),
}
"""A short line for each command that succeeds."""


def options() -> st.SearchStrategy[list[str]]:
    """One option with a value, usual or odd, or a flag."""
    usual = st.sampled_from([[option, value] for option, values in USUAL.items() for value in values])
    odd = st.tuples(st.sampled_from(list(USUAL)), ODD).map(list)
    return st.one_of(usual, odd, odd, FLAGS.map(lambda flag: [flag]), ODD.map(lambda word: [word]))


LINES = st.tuples(
    st.sampled_from(COMMANDS), st.integers(0, 9), st.lists(options(), max_size=3), st.booleans()
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to run in, with a small model."""
    folder = tmp_path_factory.mktemp("lines")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setenv("HF_HUB_OFFLINE", "1")
        patched.setenv(cli.TRACEBACK, "1")
        (folder / "folder").mkdir()
        (folder / "prompts.txt").write_text("a cat\n")
        (folder / "prompts.csv").write_text("prompt\n")
        tiny = saved.save_flux(folder / "tiny")
        # Whoever names no model gets the same one, and a short run.
        patched.setattr(bundled, "folder", lambda name: tiny)
        patched.setattr(bundled, "default_plan", lambda name: None)
        patched.setattr(bundled, "DEFAULTS", {"pebble-video": SHORT, "pebble-image": SHORT})
        yield folder


@settings(fuzzed, max_examples=EXAMPLES or 12)
@given(line=LINES)
def test_command_lines(place: Path, capsys: pytest.CaptureFixture[str], line: Any) -> None:
    command, cut, added, is_whole = line
    words = list(BASIS[command]) if is_whole else list(BASIS[command])[: 2 * cut]
    arguments = [command, *words, *(word for option in added for word in option)]
    code = cli.run(arguments)
    check(code, *capsys.readouterr(), arguments)


def check(code: int, out: str, err: str, arguments: Sequence[str]) -> None:
    """The code says how it went, and the streams say it too."""
    assert code in CODES, arguments
    assert not any(word in out + err for word in ("\x1b[31m", "\0", "Traceback", "\u202e")), arguments
    last = err.splitlines()[-1] if err else ""
    if code == 2:
        assert last.startswith("error: "), arguments
        assert len(last) < 1500, arguments
        assert out == "", arguments
        return
    assert out, arguments
    assert not last.startswith("error: "), arguments
    if "--json" in arguments and "--help" not in arguments:
        json.loads(out, parse_constant=pytest.fail)
