"""A report as data: sections of text, tables and pictures, from which each format is rendered."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

Cell = Any  # str, int or float; None is empty


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under headers. Floats are shown with ``digits`` decimals; text stays as it is.

    Attributes:
        note: what is to be said after it; ``note_is_code``: in a fixed-width font.
    """

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    note_is_code: bool = False
    digits: int = 2

    def cell(self, cell: Cell) -> str:
        if cell is None:
            return ""
        if isinstance(cell, float):
            return f"{cell:.{self.digits}f}"
        if isinstance(cell, int) and not isinstance(cell, bool):
            return f"{cell:,}"
        return str(cell)

    def texts(self) -> list[list[str]]:
        return [[self.cell(cell) for cell in row] for row in self.rows]

    def numeric(self, column: int) -> bool:
        """Whether a column is set flush right: its first filled cell begins like a number."""
        for row in self.texts():
            if row[column]:
                return row[column].lstrip("+-")[:1].isdigit()
        return False

    def text(self, tablefmt: str = "simple") -> str:
        """Headers and rows, in a format of tabulate."""
        alignment = ["right" if self.numeric(i) else "left" for i in range(len(self.headers))]
        return str(
            tabulate(
                self.texts(),
                self.headers,
                tablefmt,
                colalign=alignment if self.rows else None,
                disable_numparse=True,
            )
        )

    def markdown(self) -> str:
        """With caption and note."""
        note = f"```\n{self.note}\n```" if self.note_is_code else self.note
        return "\n\n".join(filter(None, (self.caption, self.text("github"), note)))


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure in the report's folder, as ``name.png`` and ``name.svg``."""

    name: str
    caption: str


@dataclasses.dataclass
class Section:
    """Its parts (paragraphs, tables and pictures) in the order in which they are shown."""

    title: str
    parts: list[str | Table | Picture] = dataclasses.field(default_factory=list)

    @property
    def anchor(self) -> str:
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())
