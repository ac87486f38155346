"""The page of shared prefixes is what the rule and the rows make it."""

import shared_prefix

PREFIX = {"what": "wan", "makes": "832 x 480", "prefix": 18, "device": "H200", "torch": "2.13"}
HELD = {"commit_seconds": 0.05, "held_gib": 7.2}


def test_the_page_is_fresh() -> None:
    text = shared_prefix.PAGE.read_text()
    assert shared_prefix.page(text, shared_prefix.measured()) == text, (
        "run: python docs/make/shared_prefix.py"
    )


def test_every_block_takes_its_steps_and_all_but_the_last_are_kept() -> None:
    rows = [line.split()[-1] for line in shared_prefix.picture().splitlines() if line.startswith("block")]
    assert [row.count("#") for row in rows] == [30] * 5
    assert [row.count("k") for row in rows] == [1, 1, 1, 1, 0]
    assert [len(row) for row in rows] == [50] * 5
    assert "154 of 250 block calls" in shared_prefix.picture()


def test_rows_of_both_ways_become_a_line() -> None:
    rows = [
        {**PREFIX, "way": "computed", "seconds": 0.4},
        {**PREFIX, "way": "shared", "seconds": 0.1, "ratio": 4.0, "error": 0.005} | HELD,
    ]
    assert "| 18, 832 x 480 | 400 | 100 | 4.0x | 50 | 7.2 |" in shared_prefix.tables(rows)
    assert "by 0.005 of the result at most" in shared_prefix.tables(rows)
    assert "Nothing was measured" in shared_prefix.tables([])
