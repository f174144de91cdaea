"""One table for every output: Markdown for documents, rich for terminals, HTML through the report's template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table as RichTable

MISSING = "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: Plain text.
        note: Plain text in small print below, such as an interval; left out of Markdown and terminals.
        is_best: Whether the report highlights it.
        span: Number of columns that it covers.
    """

    text: str
    note: str = ""
    is_best: bool = False
    span: int = 1


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: The heading.
        is_text: Whether it holds words, which are aligned to the left and may wrap.
    """

    name: str
    is_text: bool = False


@dataclass
class Table:
    """Rows below named columns; the first column names the row.

    Attributes:
        columns: The columns; plain strings are columns of numbers.
        rows: Cells row by row; plain strings are cells.
        caption: Plain text above the table; none if empty.
    """

    columns: Sequence[Column | str]
    rows: list[Sequence[Cell | str]] = field(default_factory=list)
    caption: str = ""

    def add(self, *cells: Cell | str) -> None:
        """Append a row."""
        self.rows.append(cells)

    @property
    def headings(self) -> list[Column]:
        """The columns as objects."""
        return [Column(one, is_text=not at) if isinstance(one, str) else one for at, one in enumerate(self.columns)]

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows as objects."""
        return [[Cell(one) if isinstance(one, str) else one for one in row] for row in self.rows]

    def to_markdown(self) -> str:
        """The table in GitHub's Markdown, without the caption and without a final line break."""
        lines = [_markdown_row([column.name for column in self.headings]), "|---" * len(self.columns) + "|"]
        lines += [_markdown_row(_texts(row)) for row in self.cells]
        return "\n".join(lines)

    def to_rich(self, title: str = "") -> RichTable:
        """The table for a terminal.

        Args:
            title: Plain text above the table.
        """
        from rich import box
        from rich.table import Table as RichTable

        table = RichTable(*(column.name for column in self.headings), box=box.SIMPLE, padding=(0, 1, 0, 0))
        if title:
            table.title, table.title_justify = title, "left"
        if self.caption:
            table.caption, table.caption_justify = self.caption, "left"
        for row in self.cells:
            table.add_row(*_texts(row))
        return table


def _texts(row: Sequence[Cell]) -> list[str]:
    return [text for cell in row for text in (cell.text, *[""] * (cell.span - 1))]


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")
