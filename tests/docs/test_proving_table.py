"""The table of the proving models is made of the present rows."""

from proving_table import BEGIN, END, PAGE, cells, table


def test_the_table_is_made_of_the_rows() -> None:
    found = PAGE.read_text().split(BEGIN)[1].split(END)[0]
    assert found == "\n".join(table(cells())) + "\n"
