"""Plans on the hub: what others read is what was pushed, the card tells it, and bad content is refused."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import skipstone
from skipstone.disk.errors import FileError
from skipstone.notice import Notice
from skipstone.schedules.card import with_plan
from skipstone.schedules.moments import moments_of
from skipstone.schedules.plan import Plan
from skipstone.schedules.profile import Quantity
from skipstone.schedules.promise import Goal, Promise
from skipstone.schedules.record import Record
from skipstone.schedules.shared import MOST_PLANS, SharedPlans
from support.hub import Hub, hub
from support.smooth import smooth

STEPS = 12

MADE_FOR: dict[str, Any] = {
    "pipeline": "WanPipeline",
    "models": {"transformer": {"class": "WanTransformer3DModel", "adapters": ["style 0.5"]}},
    "scheduler": {"class": "UniPCMultistepScheduler", "config": "ab12"},
    "steps": STEPS,
    "guidance": {"guidance_scale": 4.0},
    "shape": [4, 2, 4, 4],
    "dtype": "bfloat16",
    "versions": {"skipstone": "0.2.0"},
}


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.chdir(tmp_path)
    with hub(monkeypatch, tmp_path / "cache") as made:
        yield made


def plan(computed: int = 5) -> Plan:
    moments = {Quantity("transformer", "branch 0", "residual"): moments_of(range(STEPS), smooth(STEPS, 0))}
    made = Record(MADE_FOR, tuple(np.linspace(1, 0.05, STEPS).tolist()), moments).plan(computed=computed)
    return replace(made, promise=Promise(Goal("psnr", 30.0), 0.75, (31.0, 35.0, 40.0)))


def card(shared: Hub) -> str:
    return shared.files["me/plans"]["README.md"].decode()


def test_others_read_what_was_pushed(shared: Hub) -> None:
    made = plan()
    made.push_to_hub("me/plans", name="wan-12-steps")
    read = skipstone.load_plan("me/plans/wan-12-steps")
    assert read.as_dict() == made.as_dict()
    assert (read.origin, made.origin) == ("me/plans/wan-12-steps", "")


def test_only_json_and_a_card_are_pushed(shared: Hub) -> None:
    plan().push_to_hub("me/plans", name="wan")
    assert set(shared.files["me/plans"]) == {".gitattributes", "README.md", "wan.json"}
    Path("plan.json").write_bytes(shared.files["me/plans"]["wan.json"])
    assert skipstone.load_plan("plan.json").as_dict() == plan().as_dict()


def test_the_card_shows_strip_quality_promise_and_conditions(shared: Hub) -> None:
    made = plan()
    made.push_to_hub("me/plans", name="wan")
    text = card(shared)
    assert text.startswith("---\nlibrary_name: skipstone\n")
    assert f"```text\n{made.explain()}\n```" in text
    assert made.strip in text
    assert "promised to 75 in 100 prompts" in text
    facts = ("WanTransformer3DModel, style 0.5", "WanPipeline", "UniPCMultistepScheduler", "12",
             r"guidance\_scale 4.0", "4, 2, 4, 4", "bfloat16", "skipstone 0.2.0")  # fmt: skip
    names = ("transformer", "pipeline", "scheduler", "steps", "guidance", "shape", "dtype", "versions")
    rows = [f"| {name} | {fact} |" for name, fact in zip(names, facts, strict=True)]
    assert "| | |\n|---|---|\n" + "\n".join(rows) + "\n\n" in text
    assert 'load_plan("me/plans/wan")' in text


def test_each_plan_has_one_section_and_other_text_stays(shared: Hub) -> None:
    for name, computed in (("a", 5), ("b", 6), ("a", 7)):
        plan(computed).push_to_hub("me/plans", name=name)
        if name == "b":
            shared.put("me/plans", "README.md", f"{card(shared)}\nMy own words.\n".encode())
    text = card(shared)
    assert [text.count(f"## {name}\n") for name in "ab"] == [1, 1]
    assert [text.count(f"{n} of 12 steps computed") for n in (5, 6, 7)] == [0, 1, 1]
    assert text.endswith("\nMy own words.\n")
    assert text.count("library_name") == 1


def test_a_section_ends_at_the_next_one_where_its_end_was_removed() -> None:
    card = with_plan(with_plan("", "me/plans/a", "old", {}), "me/plans/b", "of b", {})
    card = card.replace("<!-- end of a -->\n", "") + "\nMy own words.\n"
    for explained in ("newer", "newest"):
        card = with_plan(card, "me/plans/a", explained, {})
    assert [text in card for text in ("old", "of b", "My own words.", "newer", "newest")] == [
        True, True, True, False, True
    ]  # fmt: skip


@pytest.mark.parametrize("change", [lambda text: text.replace("\n", "\r\n"), str.rstrip])
def test_a_section_is_found_however_its_lines_end(change: Callable[[str], str]) -> None:
    card = change(with_plan("My own words.\n", "me/plans/a", "old", {}))
    assert with_plan(card, "me/plans/a", "new", {}).count("## a") == 1
    assert "old" not in with_plan(card, "me/plans/a", "new", {})


def test_conditions_cannot_write_into_the_card() -> None:
    hostile = "A|<script>x</script>\n## Heading `code` [a](b)"
    made_for = {"models": {}, "pipeline": hostile, "steps": ["*", None]}
    text = with_plan("", "me/plans/x", "words", made_for)
    line = next(line for line in text.splitlines() if line.startswith("| pipeline"))
    assert line == r"| pipeline | A\|&lt;script&gt;x&lt;/script&gt; ## Heading \`code\` \[a\](b) |"
    assert r"| steps | \*, null |" in text


def test_a_file_comes_before_the_hub(shared: Hub) -> None:
    plan(5).push_to_hub("me/plans", name="wan")
    Path("me/plans").mkdir(parents=True)
    plan(6).save("me/plans/wan")
    assert skipstone.load_plan("me/plans/wan").computed == 6


@pytest.mark.parametrize("name", ["../wan", "a/b", "", "wan.json", ".wan", "a b"])
def test_a_name_that_leads_elsewhere_is_not_pushed(shared: Hub, name: str) -> None:
    with pytest.raises(ValueError, match="expected OWNER/REPOSITORY/NAME"):
        plan().push_to_hub("me/plans", name=name)
    assert shared.requests == []


BAD = {
    "a pickle": (b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.", "it is no JSON"),
    "a page": (b"<html>404</html>", "it is no JSON"),
    "another file": (b'{"architectures": ["Flux"]}', "is no skipstone plan"),
    "deep": (b"[" * 100_000, "it is no JSON"),
    "newer": (b'{"format": "skipstone plan", "schema": 99}', "upgrade skipstone"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_bad_content_is_refused_by_its_address(shared: Hub, content: bytes, message: str) -> None:
    shared.put("me/plans", "bad.json", content)
    with pytest.raises(FileError, match=message) as refused:
        skipstone.load_plan("me/plans/bad")
    assert "'me/plans/bad'" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_changed_value_is_refused(shared: Hub) -> None:
    plan().push_to_hub("me/plans", name="wan")
    text = shared.files["me/plans"]["wan.json"]
    shared.put("me/plans", "wan.json", text.replace(b'"skip_cost": 0.0', b'"skip_cost": NaN'))
    with pytest.raises(FileError, match=r"'me/plans/wan' is damaged: record\.skip_cost"):
        skipstone.load_plan("me/plans/wan")


def test_a_plan_that_is_not_there_says_which_are(shared: Hub) -> None:
    plan().push_to_hub("me/plans", name="wan")
    with pytest.raises(FileError, match=r"cannot read 'flux\.json' of 'me/plans': .*wan\.json"):
        skipstone.load_plan("me/plans/flux")


def test_all_plans_of_a_repository_are_read_and_others_are_named(shared: Hub) -> None:
    for name in ("a", "b"):
        plan().push_to_hub("me/plans", name=name)
    shared.put("me/plans", "config.json", b"{}")
    with pytest.warns(Notice, match="left out: 'me/plans/config' is no skipstone plan"):
        found = SharedPlans("me/plans").plans
    assert [one.origin for one in found] == ["me/plans/a", "me/plans/b"]


def test_a_repository_that_holds_too_much_is_not_looked_through(shared: Hub) -> None:
    for n in range(MOST_PLANS + 1):
        shared.put("me/plans", f"{n}.json", b"{}")
    with pytest.raises(FileError, match="holds too much to look through: load a plan by its name"):
        _ = SharedPlans("me/plans").plans
    assert len(shared.requests) == 1
