"""Text from outside is spelled out where it could steer a terminal or turn a line round."""

import pytest

from skipstone.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("a\0b\x7f\x9b", r"a\x00b\x7f\x9b"),
        ("over\rwritten\b", r"over\rwritten\x08"),
        ("a\u2028b\u202egnp.exe", r"a\u2028b\u202egnp.exe"),
        ("half \udce9", r"half \udce9"),
    ],
)
def test_what_steers_a_terminal_is_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["two\nlines\tand", "café 猫　犬", "👩\u200d🚀 \u00a0", "שלום", "a\\x1b"])
def test_what_is_only_text_stays(text: str) -> None:
    assert printable(text) == text
