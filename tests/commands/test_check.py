"""`skipstone check`, the gate for continuous integration: what passes, fails and is refused."""

import json

import pytest
import torch

from skipstone import cli
from support.sweeps import PROMPTS, SMALL
from support.sweeps import folder as folder
from support.sweeps import prompts as prompts


def check(folder: str, *arguments: str) -> int:
    chosen = ["--method", "fora", "--set", "interval=2", *SMALL[:6]]
    return cli.run(["check", "--model", folder, "--prompts", "prompts.txt", *chosen, *arguments])


def test_a_check_that_passes(folder: str, prompts: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(folder, "--min-psnr", "5", "--min-speedup", "0", "--json") == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["described"] == "fora interval 2"
    assert outcome["runs"] == 2
    assert outcome["worst_psnr"] <= outcome["psnr"] < 100
    assert outcome["failures"] == []


def test_a_check_of_a_plan(folder: str, prompts: str, capsys: pytest.CaptureFixture[str]) -> None:
    plan = ["plan", PROMPTS[0], "--model", folder, "--computed", "3", "-o", "plan.json", *SMALL[:6]]
    assert cli.run(plan) == 0
    capsys.readouterr()
    gate = ["check", "--model", folder, "--prompts", prompts, "--plan", "plan.json", *SMALL[:6]]
    assert cli.run([*gate, "--min-psnr", "5"]) == 0
    assert capsys.readouterr().out.startswith("planned 3 of 6 steps: PSNR")
    assert cli.run([*gate, "--min-psnr", "99"]) == 1
    assert cli.run([*gate, "--min-psnr", "99", "--method", "fora"]) == 2
    assert "--plan, --method: each of them says how to skip, give one" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["planned", "planned+settling"])
def test_a_plan_is_not_made_of_its_name(
    name: str, folder: str, prompts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = ["check", "--model", folder, "--prompts", prompts, "--min-psnr", "5"]
    assert cli.run([*gate, "--method", name]) == 2
    said = f"--method {name}: a plan is in a file, give --plan FILE instead"
    assert said in capsys.readouterr().err


def test_a_check_that_fails(folder: str, prompts: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(folder, "--min-psnr", "99", "--min-speedup", "1000") == 1
    out = capsys.readouterr().out
    assert out.startswith("fora interval 2: PSNR")
    assert "dB is below 99" in out
    assert "x is below 1000x" in out


def test_a_check_of_the_same_as_uncached(folder: str, prompts: str) -> None:
    """Computing every step keeps the highest demand on quality."""
    with torch.no_grad():
        assert check(folder, "--set", "interval=1", "--min-psnr", "100") == 2
        assert cli.run([
            "check", "--model", folder, "--prompts", "prompts.txt", "--method", "fora", "--set", "interval=1",
            "--min-psnr", "100", *SMALL[:6],
        ]) == 0  # fmt: skip


def test_a_check_without_demands(folder: str, prompts: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(folder) == 2
    assert "demand something: --min-psnr, --min-speedup or both" in capsys.readouterr().err
