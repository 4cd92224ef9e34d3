"""The result of a measurement: one row per call of a layer, totals, and where it comes from."""

from __future__ import annotations

import copy
import csv
import dataclasses
import datetime
import io
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from torch_ebpc._library import __version__
from torch_ebpc.config import cpu_name, kernel
from torch_ebpc.files import whole_file
from torch_ebpc.layer_row import LayerRow

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
class Report:
    """Rows, their total and their provenance. ``print(report)`` shows the table.

    A ratio is uncompressed / compressed; the total is the ratio of the sums, not a mean of ratios.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.ReLU())
        >>> with torch_ebpc.CompressionMeter(model, mode="observe") as meter:
        ...     y = model(torch.randn(2, 100))
        >>> report = meter.report()
        >>> report.total().values, report.provenance["mode"]
        (200, 'observe')
        >>> torch_ebpc.Report.merge([report, report]).total().values
        400
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

    @classmethod
    def merge(cls, reports: Sequence[Report]) -> Report:
        """One report of several that measured the same calls on different images, for example in
        different processes: rows of the same name are added exactly, single transmissions in the
        order of ``reports``.

        Where the parts of a provenance differ, it has the list of them. A layer was never called if
        it was in none of the reports.

        Raises:
            ValueError: there are no reports, or they are of different methods or word widths.
        """
        if not reports:
            raise ValueError("reports must be at least one Report, got none")
        first = reports[0]
        rows: dict[str, LayerRow] = {}
        for report in reports:
            if report.methods != first.methods:
                raise ValueError(
                    f"reports must be of the same methods, got {', '.join(first.methods)}"
                    f" and {', '.join(report.methods)}"
                )
            for row in report.rows:
                if row.name in rows:
                    rows[row.name].extend(row)
                else:
                    rows[row.name] = row.copy()
        never_called = [
            name
            for name in first.never_called
            if all(name in each.never_called for each in reports)
        ]
        provenance = {}
        for key in dict.fromkeys(key for report in reports for key in report.provenance):
            values: list[Any] = []
            for report in reports:
                if key in report.provenance and report.provenance[key] not in values:
                    values.append(copy.deepcopy(report.provenance[key]))
            provenance[key] = values[0] if len(values) == 1 else values
        return cls(list(rows.values()), first.methods, never_called, provenance, first.title)

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
        from tabulate import tabulate

        main = self.methods[0]
        headers = ["layer", "shape", "values", "zeros %", f"{METHOD_TITLES[main]} bits/value"]
        headers += [f"{METHOD_TITLES[method]} ratio" for method in self.methods]
        with_container = any(row.container_bytes for row in self.rows)
        with_times = any(row.encode_seconds for row in self.rows)
        if with_container:
            headers += ["container bytes", "container ratio"]
        if with_times:
            headers += ["encode ms", "decode ms"]

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
                ]
            if with_times:
                line += [
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
        """What the table leaves out: layers that were never called, values that were verified."""
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
        parts = (
            self.heading(),
            self.table("github"),
            self.footing(),
            provenance_table(self.provenance),
        )
        text = "\n\n".join(filter(None, parts))
        return written(text + "\n", path)

    def to_csv(self, path: str | Path | None = None) -> str:
        """All rows and the total, without provenance; also written to ``path``."""
        records = [row.as_dict() for row in [*self.rows, self.total()]]
        return written(csv_text(records), path)

    def to_json(self, path: str | Path | None = None) -> str:
        """Everything; :meth:`from_json` makes the report of it again. Also written to ``path``."""
        rows = (json.dumps(row.as_record()) for row in self.rows)
        parts = {
            "title": json.dumps(self.title),
            "provenance": json.dumps(self.provenance, indent=1, default=str),
            "methods": json.dumps(self.methods),
            "never_called": json.dumps(self.never_called),
            # A line each: with its single transmissions a row is long.
            "rows": "[\n" + ",\n".join(rows) + "\n]",
            "total": json.dumps(self.total().as_dict(), indent=1),
        }
        text = ",\n".join(f'"{name}": {value}' for name, value in parts.items())
        return written("{\n" + text + "\n}\n", path)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that :meth:`to_json` wrote."""
        content = json.loads(text)
        return cls(
            [LayerRow(**record) for record in content["rows"]],
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
        """Bars of the ratio by row and method, on a logarithmic scale and readable in black and
        white; returns the matplotlib figure, also written to ``path`` in the format that its
        suffix says, whole or not at all. Needs matplotlib."""
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator

        figure = Figure(figsize=(max(6.0, 0.32 * len(self.rows) + 2), 4.5), layout="constrained")
        axes = figure.add_subplot()
        shades = ("#14508c", "0.55", "0.75", "0.92", "white", "white")
        hatches = ("", "", "", "", "////", "....")
        width = 0.85 / len(self.methods)
        for i, method in enumerate(self.methods):
            axes.bar(
                [x + (i - (len(self.methods) - 1) / 2) * width for x in range(len(self.rows))],
                [row.ratio(method) for row in self.rows],
                width,
                label=f"{METHOD_TITLES[method]} (total {self.total().ratio(method):.2f})",
                color=shades[i],
                hatch=hatches[i],
                edgecolor="black",
                linewidth=0.4,
            )
        axes.axhline(1, color="black", linewidth=0.6)
        axes.set_yscale("log", base=2)
        axes.set_ylim(bottom=min(0.9, axes.get_ylim()[0]))
        axes.yaxis.set_major_locator(LogLocator(2, (1.0, 1.5)))  # 1, 1.5, 2, 3, 4, 6, ...
        axes.yaxis.set_major_formatter("{x:g}")
        axes.margins(x=0.01)
        axes.set_xticks(range(len(self.rows)), [row.name for row in self.rows], rotation=90)
        axes.set_xlabel("call of a layer")
        axes.set_ylabel(f"compression ratio (against {self._word_bits()}-bit words)")
        axes.set_title(self.heading(), fontsize="medium", wrap=True)
        axes.legend()
        if path is not None:
            with whole_file(path) as file:
                save_figure(figure, file, Path(path).suffix.removeprefix("."))
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


def csv_text(records: Sequence[dict[str, Any]]) -> str:
    """Records of the same fields in CSV, with a line of their names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def provenance_table(provenance: dict[str, Any]) -> str:
    """A provenance in Markdown."""
    from tabulate import tabulate

    lines = [(key, _as_text(value)) for key, value in provenance.items()]
    table = tabulate(lines, ["provenance", ""], tablefmt="github", disable_numparse=True)
    return str(table)


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    return str(value)


def save_figure(figure: Any, file: Any, format: str, **options: Any) -> None:
    """Writes a matplotlib figure to a file or path, in the format "svg", "png" and so on (by
    default PNG): the same bytes for the same figure, without date or random ids, and text as
    text."""
    import matplotlib

    undated: dict[str, dict[str, None]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with matplotlib.rc_context({"svg.hashsalt": "torch_ebpc", "svg.fonttype": "none"}):
        figure.savefig(file, format=format or None, metadata=undated.get(format), **options)


def written(text: str, path: str | Path | None) -> str:
    """Also writes the text to ``path``, whole or not at all."""
    if path is not None:
        with whole_file(path) as file:
            file.write(text.encode())
    return text
