"""A report as data: sections of text, tables and pictures, from which each format is rendered."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from torch_ebpc import _html

Cell = Any  # str, int or float; None is empty


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under headers. Floats are shown with ``digits`` decimals; text stays as it is."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]
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

    def __str__(self) -> str:
        return "\n\n".join(filter(None, (self.caption, self.text())))


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure in the report's folder, ``name.svg``."""

    name: str
    caption: str


Part = str | Table | Picture


@dataclasses.dataclass
class Section:
    """Its parts (paragraphs, tables and pictures) in the order in which they are shown."""

    title: str
    parts: list[Part] = dataclasses.field(default_factory=list)


def plain(sections: Sequence[Section]) -> Iterator[str]:
    """All texts and tables, for a terminal."""
    for section in sections:
        yield from (str(part) for part in section.parts if part and not isinstance(part, Picture))


def provenance_section(record: dict[str, Any]) -> Section:
    rows = [(key, _words(value)) for key, value in record.items()]
    return Section("Provenance", [Table("", ["what", "value"], rows)])


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(each)}" for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(map(_words, value))
    return str(value)


def html_page(
    title: str, summary: Sequence[str], sections: Sequence[Section], folder: Path, warning: str
) -> str:
    """All of it in one file: the summary, the pictures of ``folder``, and the sections, folded."""
    pictures, folded = [], []
    for section in sections:
        texts = []
        for part in section.parts:
            if isinstance(part, Picture):
                pictures.append(((folder / f"{part.name}.svg").read_bytes(), part.caption))
            elif isinstance(part, Table):
                texts.append(_html.table(part.text("html"), part.caption))
            elif part:
                texts.append(_html.paragraph(part))
        folded.append(_html.folded(section.title, texts))
    return _html.page(title, summary, [_html.pictures(pictures), *folded], warning)
