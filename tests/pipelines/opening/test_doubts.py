"""What a bundled model was not trained for is said before it runs."""

import warnings
from typing import Any

import pytest

import skipstone
from skipstone.notice import Notice
from skipstone.pipelines import bundled
from skipstone.pipelines.bundled.doubts import doubts


def said(name: str, **arguments: Any) -> list[str]:
    return list(doubts(name, bundled.folder(name), bundled.DEFAULTS[name], arguments))


@pytest.mark.parametrize("name", ["pebble-video", "pebble-image"])
def test_nothing_is_said_of_what_it_was_trained_for(name: str) -> None:
    assert said(name, prompt="A red apple, on a blue background!") == []
    objects = (bundled.folder(name) / "objects.txt").read_text().split()
    assert said(name, prompt=" ".join(objects)) == []
    assert said(name, **bundled.DEFAULTS[name]) == []


def test_unknown_words_are_named_once() -> None:
    (doubt,) = said("pebble-image", prompt="a golden snail on a golden cathedral")
    assert doubt.startswith("pebble-image does not know 'golden', 'cathedral': it knows the objects of ")
    (doubt,) = said("pebble-video", prompt="a picture of Notre-Dame")
    assert doubt.startswith("pebble-video knows no word of 'a picture of Notre-Dame': ")


def test_every_prompt_of_a_list_is_looked_at() -> None:
    assert len(said("pebble-image", prompt=["a snail", "a golden snail", "a cathedral"])) == 2


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"height": 256}, "33 frames of 128x128, not for 33 frames of 128x256"),
        ({"num_frames": 17}, "33 frames of 128x128, not for 17 frames of 128x128"),
        ({"width": None}, ""),
    ],
)
def test_other_sizes_are_told(asked: dict[str, Any], told: str) -> None:
    assert told in "".join(said("pebble-video", **asked))
    assert bool(said("pebble-video", **asked)) == bool(told)


def test_a_bundled_pipeline_warns_before_it_runs() -> None:
    pipe = skipstone.load("pebble-image")
    pipe.set_progress_bar_config(disable=True)
    with pytest.warns(Notice, match="does not know 'golden'"), pytest.raises(ValueError, match="divisible"):
        pipe("a golden snail", callback_on_step_end_tensor_inputs=["none divisible"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bundled.warn("pebble-image", {"prompt": "a snail"})
        bundled.warn("another/model", {"prompt": "a golden snail"})
