"""Files on the hub: which names are addresses, what is not fetched, what a refusal says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from skipstone.disk.errors import FileError
from skipstone.disk.hub import CARD, Repository, UnreachableError, address, check_repo, push
from skipstone.disk.reading import MOST
from support.hub import Handler, Hub, hub

NOWHERE = "http://127.0.0.1:9"
"""Where nobody answers."""


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub(monkeypatch, tmp_path / "cache") as made:
        yield made


def cut_off(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("huggingface_hub.constants.ENDPOINT", NOWHERE)


@pytest.mark.parametrize("text", ["me/plans/flux-dev-28-steps", "me/plans/flux.1_dev", "A-1/b.c/d"])
def test_three_names_are_an_address(text: str) -> None:
    owner, repo, name = text.split("/")
    assert address(text) == address(Path(text)) == (f"{owner}/{repo}", name)


@pytest.mark.parametrize(
    "text",
    ["plan.json", "me/plans", "me/plans/plan.json", "a/b/c/d", "/me/plans/x", "../plans/x", "me/../x",
     "me/a/..", "~/plans/x", "me/plans/-x", "me/plans/x y", "me/plans/\u202ex", "me/plans/" + 97 * "x", ""],
)  # fmt: skip
def test_other_paths_are_files(text: str) -> None:
    assert address(text) is None


def test_a_file_that_exists_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("me/plans").mkdir(parents=True)
    Path("me/plans/flux").touch()
    assert address("me/plans/flux") is None


@pytest.mark.parametrize("repo", ["plans", "me/plans/flux", "me/..", "../plans", "https://x/y"])
def test_what_is_no_repository_is_refused(repo: str) -> None:
    with pytest.raises(ValueError, match=r"expected a repository of the hub, such as me/plans, got"):
        check_repo(repo)


def test_names_that_lead_elsewhere_are_not_seen(shared: Hub) -> None:
    for name in ("../../evil.json", "/etc/evil.json", "below/evil.json", "..", "C:\\evil.json", "good.json"):
        shared.put("me/plans", name, b"{}")
    assert Repository("me/plans").sizes == {"good.json": 2}
    with pytest.raises(FileError, match=r"evil\.json' of 'me/plans': the hub has only good\.json$"):
        Repository("me/plans").read("../../evil.json")
    assert all("evil" not in path for _, path in shared.requests)


def test_a_file_that_is_too_large_is_not_fetched(shared: Hub) -> None:
    shared.put("me/plans", "large.json", b"{}")
    shared.sizes["large.json"] = MOST + 1
    with pytest.raises(FileError, match="more than 64 MB"):
        Repository("me/plans").read("large.json")
    assert [path for _, path in shared.requests] == ["/api/models/me/plans"]


def test_what_was_read_before_needs_no_connection(shared: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    shared.put("me/plans", "a.json", b"[1]")
    assert Repository("me/plans").read("a.json") == b"[1]"
    cut_off(monkeypatch)
    assert Repository("me/plans").read("a.json") == b"[1]"
    with pytest.raises(UnreachableError, match=r"cannot reach 'me/plans' on the hub: .*; connect, or name"):
        Repository("me/plans").read("b.json")


def test_a_repository_that_is_not_there_is_said_in_one_line(shared: Hub) -> None:
    with pytest.raises(FileError, match=r"no such repository, or it is closed to you: .* `hf auth login`$"):
        Repository("me/plans").read("a.json")


def test_texts_are_pushed_in_one_commit(shared: Hub) -> None:
    url = push("me/plans", lambda card: {"a.json": "1", CARD: f"{card}a"}, "Add a", private=True)
    push("me/plans", lambda card: {"b.json": "2", CARD: f"{card}b"}, "Add b", private=True)
    assert url.startswith("http://127.0.0.1:")
    files = {name: text.decode() for name, text in shared.files["me/plans"].items()}
    assert files == {".gitattributes": "", "a.json": "1", "b.json": "2", CARD: "ab"}
    assert shared.private == ["me/plans"]
    assert sum("/commit/" in path for _, path in shared.requests) == 2


def test_who_has_no_right_is_told_to_log_in(shared: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(FileError, match=r"the hub refuses 'me/plans': .*`hf auth login`, or try again$"):
        push("me/plans", lambda card: {"a.json": "1"}, "Add a", private=False)
    assert not shared.files


def test_what_another_has_pushed_meanwhile_is_not_lost(shared: Hub) -> None:
    push("me/plans", lambda card: {CARD: "theirs"}, "Add", private=False)
    shared.meanwhile = lambda: shared.put("me/plans", CARD, b"newer")
    with pytest.raises(FileError, match=r"the hub refuses 'me/plans': .*try again$"):
        push("me/plans", lambda card: {CARD: f"{card} and mine"}, "Add", private=False)
    assert shared.files["me/plans"][CARD] == b"newer"


def test_a_push_adds_to_the_newest_card_alone(shared: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    shared.put("me/plans", CARD, b"mine")
    assert Repository("me/plans").read(CARD) == b"mine"
    shared.put("me/plans", CARD, b"theirs")
    newest = f"/me/plans/resolve/{shared.head('me/plans')}/{CARD}"
    with monkeypatch.context() as patch:
        patch.setattr(Handler, "_file", lambda self, *_: self._answer(403, {"error": "closed"}))
        with pytest.raises(UnreachableError, match=r"^cannot reach 'me/plans' on the hub: [^\n]+$"):
            push("me/plans", lambda card: {CARD: f"{card} and more"}, "Add", private=False)
    assert shared.files["me/plans"][CARD] == b"theirs"
    push("me/plans", lambda card: {CARD: f"{card} and more"}, "Add", private=False)
    assert shared.files["me/plans"][CARD] == b"theirs and more"
    assert ("GET", newest) in shared.requests


def test_a_card_that_is_no_utf_8_stays_as_it_is(shared: Hub) -> None:
    shared.put("me/plans", CARD, b"caf\xe9")
    with pytest.raises(FileError, match=r"cannot add to 'README\.md' of 'me/plans': save it as UTF-8 first$"):
        push("me/plans", lambda card: {CARD: f"{card} and more"}, "Add", private=False)
    assert shared.files["me/plans"] == {CARD: b"caf\xe9"}
