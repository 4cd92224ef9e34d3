"""What autograd saved, and what it was kept as."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch_ebpc import _html
from torch_ebpc.report import csv_text, provenance_table, tabulated, written

if TYPE_CHECKING:
    import pandas

RowKey = tuple[str, str, str]
"""Layer, made by, dtype."""

# What a report says instead of the name of a layer.
MODEL = "(model)"
OUTSIDE = "(outside of the model)"
# And instead of what made a tensor, where it is cast again of a parameter or another leaf.
CAST = "weights, cast"

# Why tensors are left as they are that are there anyway, saved or not.
PARAMETER = "parameter or leaf that requires grad"
BUFFER = "buffer"


@dataclasses.dataclass
class SavedRow:
    """Saved tensors of one layer, made by one function, of one dtype.

    Memory is counted where it is saved for the first time: tensors that share it, and tensors that
    are saved again, are ``repeated``. ``saves`` is the sum of ``repeated``, ``packed`` and the
    counts of ``kept``.
    """

    layer: str
    made_by: str
    """As in the name of its grad_fn, such as "Relu"; "leaf" if it has none; "weights, cast" for
    casts of parameters and other leaves, of which a fingerprint of 16 bytes is stored."""
    dtype: str
    saves: int = 0  #: how often autograd saved a tensor
    repeated: int = 0  #: of memory that was stored already
    packed: int = 0  #: ranges of memory that were compressed
    packed_tensor_bytes: int = 0  #: uncompressed
    container_bytes: int = 0  #: compressed
    kept: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    """Why tensors were left as they are, with their count and their tensor bytes."""
    unpacks: int = 0  #: how often autograd asked for a tensor that was packed
    decompressed: int = 0  #: of these, how often it was not there from the time before
    pack_seconds: float = 0.0
    unpack_seconds: float = 0.0

    @property
    def key(self) -> RowKey:
        """Layer, function and dtype."""
        return self.layer, self.made_by, self.dtype

    @property
    def kept_bytes(self) -> int:
        """Tensor bytes left as they are, without what the model holds anyway."""
        return sum(size for why, (_, size) in self.kept.items() if why not in (PARAMETER, BUFFER))

    @property
    def tensor_bytes(self) -> int:
        """Bytes that autograd alone would hold, without parameters and buffers."""
        return self.packed_tensor_bytes + self.kept_bytes

    @property
    def stored_bytes(self) -> int:
        """Bytes that are held, of containers, and of what is left as it is."""
        return self.container_bytes + self.kept_bytes

    @property
    def ratio(self) -> float:
        """Tensor bytes / stored bytes; 1 if there are none."""
        return self.tensor_bytes / self.stored_bytes if self.stored_bytes else 1.0

    def copy(self) -> SavedRow:
        """An independent copy."""
        return copy.deepcopy(self)

    def keep(self, why: str, tensor_bytes: int, count: int = 1) -> None:
        """Counts tensors that are left as they are."""
        counted, size = self.kept.get(why, (0, 0))
        self.kept[why] = counted + count, size + tensor_bytes

    def add(self, other: SavedRow) -> None:
        """Adds the counts of another row."""
        mine, others = self.__dict__, other.__dict__
        for name in _COUNTS:
            mine[name] += others[name]
        for why, (count, size) in other.kept.items():
            self.keep(why, size, count)

    def as_dict(self) -> dict[str, Any]:
        """A flat record, as in CSV and pandas; why tensors were kept as one text."""
        record = dataclasses.asdict(self)
        record["kept"] = "; ".join(f"{why}: {n}" for why, (n, _) in self.kept.items())
        return record | {
            "kept_bytes": self.kept_bytes,
            "tensor_bytes": self.tensor_bytes,
            "stored_bytes": self.stored_bytes,
            "ratio": self.ratio,
        }


_COUNTS = [field.name for field in dataclasses.fields(SavedRow) if field.type in ("int", "float")]


@dataclasses.dataclass
class SavedReport:
    """Rows, their total and their provenance, as :meth:`save_compressed.report` returns them.
    ``print(report)`` shows the tables.

    A ratio is tensor bytes / stored bytes: bytes that autograd alone would hold, and bytes that
    were held, of containers and of tensors that were left as they are. Parameters and buffers are
    in neither. The total is the ratio of the sums. Where nothing was ``compressed``, stored bytes
    are what would have been held, estimated by a sample of each tensor.
    """

    rows: list[SavedRow]
    peak_tensor_bytes: int = 0  #: the most that autograd alone would have held at one time
    peak_stored_bytes: int = 0  #: the most that was held at one time
    trims: int = 0  #: how often freed memory was given back to the system
    trim_seconds: float = 0.0  #: what that took
    compressed: bool = True  #: whether anything was to be; if not, stored bytes are estimates
    has_layers: bool = False
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)

    def total(self) -> SavedRow:
        """The sums over all rows."""
        total = SavedRow("total", "", "")
        for row in self.rows:
            total.add(row)
        return total

    def by_layer(self) -> list[SavedRow]:
        """A row for each layer, the one that was running when a tensor was first saved."""
        return _summed(self.rows, lambda row: (row.layer, "", ""))

    def by_kind(self) -> list[SavedRow]:
        """A row for each function that made a tensor, and its dtype."""
        return _summed(self.rows, lambda row: ("", row.made_by, row.dtype))

    # ---- Tables ----------------------------------------------------------------------------------

    def layer_table(self, tablefmt: str = "simple") -> str:
        """A line for each layer and the total, in any format of the package tabulate."""
        return self._table(["layer"], self.by_layer(), lambda row: [row.layer], tablefmt)

    def kind_table(self, tablefmt: str = "simple") -> str:
        """A line for each function that made a tensor and its dtype, and the total."""
        return self._table(
            ["made by", "dtype"], self.by_kind(), lambda row: [row.made_by, row.dtype], tablefmt
        )

    def _table(
        self,
        names: list[str],
        rows: list[SavedRow],
        name: Callable[[SavedRow], list[str]],
        tablefmt: str,
    ) -> str:
        stored = "stored bytes" if self.compressed else "would be"
        headers = [*names, "saved", "again", "tensor bytes", stored, "ratio"]
        headers += ["pack ms", "unpack ms"]

        def counts(row: SavedRow) -> list[str]:
            return [
                f"{row.saves:,}",
                f"{row.repeated:,}",
                f"{row.tensor_bytes:,}",
                f"{row.stored_bytes:,}",
                f"{row.ratio:.2f}",
                f"{1e3 * row.pack_seconds:.1f}",
                f"{1e3 * row.unpack_seconds:.1f}",
            ]

        lines = [[*name(row), *counts(row)] for row in rows]
        lines.append(["total"] + [""] * (len(names) - 1) + counts(self.total()))
        return tabulated(lines, headers, tablefmt, len(names))

    def heading(self) -> str:
        """What the tables are about, in a line."""
        total = self.total()
        kept_in = "in" if self.compressed else "as they are; compressed, by a sample, in"
        return (
            f"{total.saves:,} tensors saved: {total.tensor_bytes:,} tensor bytes {kept_in}"
            f" {total.stored_bytes:,} bytes, ratio {total.ratio:.2f}; at one time at most"
            f" {self.peak_tensor_bytes:,} in {self.peak_stored_bytes:,}"
        )

    def footing(self) -> str:
        """What was left as it is, and why; and how often freed memory was given back."""
        lines = [
            f"left as they are, {why}: {count:,} ({size:,} tensor bytes"
            + (", not counted above)" if why in (PARAMETER, BUFFER) else ")")
            for why, (count, size) in sorted(self.total().kept.items())
        ]
        if self.trims:
            lines.append(
                f"freed memory given back to the system: {self.trims:,} times,"
                f" {1e3 * self.trim_seconds:.1f} ms"
            )
        if self.has_layers and self.rows and all(row.layer == OUTSIDE for row in self.rows):
            lines.append(
                "no layer of the model was seen running: another model ran, or a compiled function"
                " that calls this one"
            )
        return "\n".join(lines)

    def _tables(self, tablefmt: str) -> list[str]:
        layers = [self.layer_table(tablefmt)] if self.has_layers else []
        return [*layers, self.kind_table(tablefmt)]

    def __repr__(self) -> str:
        parts = (self.heading(), *self._tables("simple"), self.footing())
        return "\n\n".join(filter(None, parts))

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        footing = escape(self.footing()).replace("\n", "<br>")
        tables = "\n".join(self._tables("html"))
        return f"<p>{escape(self.heading())}</p>\n{tables}\n<p>{footing}</p>"

    def to_html(self, path: str | Path | None = None) -> str:
        """One page that fetches nothing: the sums and what was left as it is, bars of the layers
        or of what made the tensors, and, folded until asked for, tables and provenance. Also
        written to ``path``."""
        rows = self.by_layer() if self.has_layers else self.by_kind()
        bars = [(row.layer or f"{row.made_by} {row.dtype}", [row.ratio]) for row in rows]
        parts = [
            _html.bars(bars, "Tensor bytes / stored bytes."),
            _html.folded("Tables", map(_html.table, self._tables("html"))),
        ]
        provenance = _html.table(provenance_table(self.provenance, "html"))
        parts.append(_html.folded("How it was measured", [provenance]))
        summary = [self.heading(), *self.footing().splitlines()]
        return written(_html.page("What autograd saved", summary, parts), path)

    def to_markdown(self, path: str | Path | None = None) -> str:
        """Tables, heading, footing and provenance in Markdown; also written to ``path``."""
        footing = "\n".join(f"- {line}" for line in self.footing().splitlines())
        provenance = provenance_table(self.provenance)
        parts = (self.heading(), *self._tables("github"), footing, provenance)
        return written("\n\n".join(filter(None, parts)) + "\n", path)

    def to_csv(self, path: str | Path | None = None) -> str:
        """All rows and the total, without provenance; also written to ``path``."""
        records = [row.as_dict() for row in [*self.rows, self.total()]]
        return written(csv_text(records), path)

    def to_json(self, path: str | Path | None = None) -> str:
        """Everything; :meth:`from_json` makes the report of it again. Also written to ``path``."""
        content = dataclasses.asdict(self) | {"total": self.total().as_dict()}
        return written(json.dumps(content, indent=1, default=str) + "\n", path)

    @classmethod
    def from_json(cls, text: str) -> SavedReport:
        """The report that :meth:`to_json` wrote."""
        content = json.loads(text)
        del content["total"]
        rows = [SavedRow(**record) for record in content.pop("rows")]
        for row in rows:
            row.kept = {why: (count, size) for why, (count, size) in row.kept.items()}
        return cls(rows, **content)

    def to_pandas(self) -> pandas.DataFrame:
        """All rows and the total; needs pandas."""
        import pandas

        return pandas.DataFrame([row.as_dict() for row in [*self.rows, self.total()]])


def _summed(rows: Iterable[SavedRow], key: Callable[[SavedRow], RowKey]) -> list[SavedRow]:
    sums: dict[RowKey, SavedRow] = {}
    for row in rows:
        sums.setdefault(key(row), SavedRow(*key(row))).add(row)
    return list(sums.values())
