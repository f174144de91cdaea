"""One table gives the same cells in a document, on a terminal and in a report."""

from automedsam_lab.common.table import MISSING, Cell, Column, Table


def a_table() -> Table:
    table = Table(["Method", Column("Prompt", is_text=True), "Dice", "MB"], caption="Two methods.")
    table.add("ours", "none", Cell("0.87", "0.86 to 0.88", is_best=True), "11.2")
    table.add("another", "box", Cell("no accuracy", span=2))
    return table


def test_markdown_has_a_line_for_each_row_and_equal_columns() -> None:
    lines = a_table().to_markdown().splitlines()
    assert lines == [
        "| Method | Prompt | Dice | MB |",
        "|---|---|---|---|",
        "| ours | none | 0.87 | 11.2 |",
        "| another | box | no accuracy | |",
    ]


def test_the_terminal_shows_title_caption_and_rows() -> None:
    table = a_table().to_rich("Results")
    assert (table.title, table.caption, table.row_count, len(table.columns)) == ("Results", "Two methods.", 2, 4)


def test_the_first_column_names_the_row() -> None:
    assert [column.is_text for column in a_table().headings] == [True, True, False, False]
    assert MISSING == "–"  # noqa: RUF001
