"""The table of the proving models and its sentences are made of the present rows."""

from proving_table import BEGIN, END, PAGE, written


def test_the_table_is_made_of_the_rows() -> None:
    found = PAGE.read_text().split(BEGIN)[1].split(END)[0]
    assert found == written()
