"""The result of a measurement: one row per call of a layer, totals, and where it comes from."""

from __future__ import annotations

import copy
import csv
import dataclasses
import datetime
import io
import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tabulate import tabulate

from torch_ebpc._library import __version__
from torch_ebpc.config import cpu_name, kernel

if TYPE_CHECKING:
    import pandas

METHOD_TITLES = {
    "ebpc": "EBPC",
    "bpc": "BPC",
    "zvc": "ZVC",
    "zero_rle": "zero-RLE",
    "csc": "CSC",
    "none": "none",
}


@dataclasses.dataclass
class LayerRow:
    """What one call of one layer cost, summed over all batches.

    Bits and counts are of words (``word_bits`` wide), before padding and without container, as the
    papers count; the container's bytes stand beside them.
    """

    name: str  # layer#call
    layer: str
    call: int
    shape: tuple[int, ...]  # of one image, as first seen
    word_bits: int
    methods: tuple[str, ...]
    images: int = 0
    values: int = 0
    zeros: int = 0  # words of which all bits are zero
    position_bits: dict[str, int] = dataclasses.field(default_factory=dict)
    value_bits: dict[str, int] = dataclasses.field(default_factory=dict)
    container_bytes: int = 0  # of the container_values values that were really compressed
    container_values: int = 0
    verified_values: int = 0
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0

    def __post_init__(self) -> None:
        for method in self.methods:
            self.position_bits.setdefault(method, 0)
            self.value_bits.setdefault(method, 0)

    def copy(self) -> LayerRow:
        return copy.deepcopy(self)

    @property
    def zero_share(self) -> float:
        return _divide(self.zeros, self.values)

    @property
    def bits_before(self) -> int:
        return self.values * self.word_bits

    def bits_after(self, method: str) -> int:
        return self.position_bits[method] + self.value_bits[method]

    def ratio(self, method: str) -> float:
        """Uncompressed / compressed bits, against words of ``word_bits``."""
        return _divide(self.bits_before, self.bits_after(method))

    def bits_per_value(self, method: str) -> float:
        return _divide(self.bits_after(method), self.values)

    @property
    def container_ratio(self) -> float | None:
        """Uncompressed bits / bits of the containers; None where nothing was compressed."""
        if self.container_bytes == 0:
            return None
        return self.container_values * self.word_bits / (8 * self.container_bytes)

    def add(self, other: LayerRow) -> None:
        """Adds all counts of another row, of the same call or for a total."""
        for field in (
            "values",
            "zeros",
            "container_bytes",
            "container_values",
            "verified_values",
            "encode_seconds",
            "decode_seconds",
        ):
            setattr(self, field, getattr(self, field) + getattr(other, field))
        for method in self.methods:
            self.position_bits[method] += other.position_bits[method]
            self.value_bits[method] += other.value_bits[method]

    def as_dict(self) -> dict[str, Any]:
        """A flat record, as in CSV, JSON and pandas."""
        record: dict[str, Any] = {
            "name": self.name,
            "layer": self.layer,
            "call": self.call,
            "shape": "x".join(map(str, self.shape)),
            "word_bits": self.word_bits,
            "images": self.images,
            "values": self.values,
            "zeros": self.zeros,
            "zero_share": self.zero_share,
            "bits_before": self.bits_before,
        }
        for method in self.methods:
            record |= {
                f"{method}_position_bits": self.position_bits[method],
                f"{method}_value_bits": self.value_bits[method],
                f"{method}_bits": self.bits_after(method),
                f"{method}_ratio": self.ratio(method),
                f"{method}_bits_per_value": self.bits_per_value(method),
            }
        return record | {
            "container_bytes": self.container_bytes,
            "container_values": self.container_values,
            "container_ratio": self.container_ratio,
            "verified_values": self.verified_values,
            "encode_seconds": self.encode_seconds,
            "decode_seconds": self.decode_seconds,
        }


@dataclasses.dataclass
class Report:
    """Rows, their total and their provenance. ``print(report)`` shows the table.

    A ratio is uncompressed / compressed; the total is the ratio of the sums, not a mean of ratios.
    """

    rows: list[LayerRow]
    methods: tuple[str, ...]
    never_called: list[str] = dataclasses.field(default_factory=list)
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
    title: str = ""

    def total(self) -> LayerRow:
        """The sums over all rows."""
        word_bits = self._word_bits() or 0
        total = LayerRow("total", "total", 0, (), word_bits, self.methods)
        for row in self.rows:
            total.add(row)
        total.images = max((row.images for row in self.rows), default=0)
        return total

    def _word_bits(self) -> int | None:
        widths = {row.word_bits for row in self.rows}
        if len(widths) > 1:
            raise ValueError(
                f"rows of {', '.join(map(str, sorted(widths)))}-bit words have no common total:"
                " measure them in separate reports"
            )
        return widths.pop() if widths else None

    # ---- Tables ----------------------------------------------------------------------------------

    def table(self, tablefmt: str = "simple") -> str:
        """The table in any format of the package tabulate, with one line per row and the total."""
        main = self.methods[0]
        headers = ["layer", "shape", "values", "zeros %", f"{METHOD_TITLES[main]} bits/value"]
        headers += [f"{METHOD_TITLES[method]} ratio" for method in self.methods]
        with_container = any(row.container_bytes for row in self.rows)
        if with_container:
            headers += ["container bytes", "container ratio", "encode ms", "decode ms"]

        def cells(row: LayerRow) -> list[Any]:
            line: list[Any] = [
                row.name,
                "x".join(map(str, row.shape)),
                f"{row.values:,}",
                f"{100 * row.zero_share:.1f}",
                f"{row.bits_per_value(main):.2f}",
            ]
            line += [f"{row.ratio(method):.2f}" for method in self.methods]
            if with_container:
                ratio = row.container_ratio
                line += [
                    f"{row.container_bytes:,}",
                    "" if ratio is None else f"{ratio:.2f}",
                    f"{1e3 * row.encode_seconds:.1f}",
                    f"{1e3 * row.decode_seconds:.1f}",
                ]
            return line

        lines = [cells(row) for row in self.rows]
        lines.append(cells(self.total()))
        alignment = ["left", "left"] + ["right"] * (len(headers) - 2)
        return str(
            tabulate(lines, headers, tablefmt=tablefmt, colalign=alignment, disable_numparse=True)
        )

    def heading(self) -> str:
        """What the table is about, in a line."""
        word_bits = self._word_bits()
        images = self.total().images
        parts = [self.title] if self.title else []
        parts.append(f"{len(self.rows)} calls, {images} image{'s' if images != 1 else ''}")
        if word_bits is not None:
            parts.append(f"ratios against {word_bits}-bit words")
        return "; ".join(parts)

    def footing(self) -> str:
        lines = []
        if self.never_called:
            lines.append(f"never called: {', '.join(self.never_called)}")
        verified = self.total().verified_values
        if verified:
            lines.append(f"verified bit by bit after decoding: {verified:,} values")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return "\n".join(filter(None, (self.heading(), self.table(), self.footing())))

    def to_markdown(self, path: str | Path | None = None) -> str:
        """The table with heading, footing and provenance in Markdown; also written to ``path``."""
        provenance = tabulate(
            [(key, _as_text(value)) for key, value in self.provenance.items()],
            ["provenance", ""],
            tablefmt="github",
            disable_numparse=True,
        )
        text = "\n\n".join(
            filter(None, (self.heading(), self.table("github"), self.footing(), provenance))
        )
        return _written(text + "\n", path)

    def to_csv(self, path: str | Path | None = None) -> str:
        """All rows and the total, without provenance; also written to ``path``."""
        records = [row.as_dict() for row in [*self.rows, self.total()]]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        return _written(text.getvalue(), path)

    def to_json(self, path: str | Path | None = None) -> str:
        """Everything; :meth:`from_json` makes the report of it again. Also written to ``path``."""
        text = json.dumps(
            {
                "title": self.title,
                "provenance": self.provenance,
                "methods": self.methods,
                "never_called": self.never_called,
                "rows": [dataclasses.asdict(row) for row in self.rows],
                "total": self.total().as_dict(),
            },
            indent=1,
        )
        return _written(text + "\n", path)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that :meth:`to_json` wrote."""
        content = json.loads(text)
        rows = []
        for record in content["rows"]:
            record["shape"] = tuple(record["shape"])
            record["methods"] = tuple(record["methods"])
            rows.append(LayerRow(**record))
        return cls(
            rows,
            tuple(content["methods"]),
            content["never_called"],
            content["provenance"],
            content["title"],
        )

    def to_pandas(self) -> pandas.DataFrame:
        """All rows and the total; needs pandas."""
        import pandas

        return pandas.DataFrame([row.as_dict() for row in [*self.rows, self.total()]])

    def plot(self, path: str | Path | None = None) -> Any:
        """Bars of the ratio by row and method; returns the matplotlib figure, also written to
        ``path``. Needs matplotlib."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(max(6.0, 0.32 * len(self.rows) + 2), 4.5), layout="constrained")
        axes = figure.add_subplot()
        hatches = ("", "///", "...", "xx", "--", "++")
        width = 0.85 / len(self.methods)
        for i, method in enumerate(self.methods):
            axes.bar(
                [x + i * width for x in range(len(self.rows))],
                [row.ratio(method) for row in self.rows],
                width,
                label=f"{METHOD_TITLES[method]} (total {self.total().ratio(method):.2f})",
                color=str(0.25 + 0.5 * i / max(1, len(self.methods) - 1)),
                hatch=hatches[i % len(hatches)],
                edgecolor="black",
                linewidth=0.4,
            )
        axes.axhline(1, color="black", linewidth=0.6)
        axes.set_xticks(range(len(self.rows)), [row.name for row in self.rows], rotation=90)
        axes.set_xlabel("call of a layer")
        axes.set_ylabel(f"compression ratio (against {self._word_bits()}-bit words)")
        axes.set_title(self.heading(), fontsize="medium", wrap=True)
        axes.legend()
        if path is not None:
            figure.savefig(path)
        return figure


def software_versions() -> dict[str, str]:
    """Versions, kernel, machine and date: the part of a provenance that every report has."""
    return {
        "torch_ebpc": __version__,
        "kernel": kernel(),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "threads": str(torch.get_num_threads()),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _divide(numerator: float, denominator: float) -> float:
    """0 / 0 is a ratio of 1 (nothing became nothing); x / 0 is infinite."""
    if denominator == 0:
        return 1.0 if numerator == 0 else float("inf")
    return numerator / denominator


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    return str(value)


def _written(text: str, path: str | Path | None) -> str:
    """Also writes the text to ``path``, whole or not at all."""
    if path is not None:
        path = Path(path)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return text
