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
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from torch_ebpc import _html
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

    A ratio is uncompressed / compressed bits, of words of the width that the heading says (a
    container's: uncompressed bits / bits of the containers). The total is the ratio of the sums,
    not a mean of ratios. ``left_out`` says why calls were not measured, by their names.

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
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)

    def total(self) -> LayerRow:
        """The sums over all rows; its images are the most that a row has.

        Raises:
            ValueError: the rows' words are of different widths.
        """
        widths = self._widths()
        if len(widths) > 1:
            raise ValueError(
                f"rows of {', '.join(map(str, widths))}-bit words have no common total:"
                " measure them in separate reports"
            )
        total = LayerRow("total", "total", 0, (), (*widths, 0)[0], self.methods)
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
        it was in none of the reports; a call was left out if it was in any.

        Raises:
            ValueError: there are no reports, or they are of different methods, or of words of
                different widths or dtypes.
        """
        if not reports:
            raise ValueError("reports must be at least one Report, got none")
        first = reports[0]
        rows: dict[str, LayerRow] = {}
        left_out: dict[str, str] = {}
        for report in reports:
            if report.methods != first.methods:
                raise ValueError(
                    f"reports must be of the same methods, got {', '.join(first.methods)}"
                    f" and {', '.join(report.methods)}"
                )
            left_out |= report.left_out
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
        return cls(
            list(rows.values()), first.methods, never_called, provenance, first.title, left_out
        )

    def _widths(self) -> list[int]:
        """Of the words; empty rows have none."""
        return sorted({row.word_bits for row in self.rows if row.values})

    def _rows_and_total(self) -> list[LayerRow]:
        return [*self.rows, *self._totals()]

    def _totals(self) -> list[LayerRow]:
        """The total, if the rows have one and there is something to add up."""
        return [self.total()] if self.rows and len(self._widths()) < 2 else []

    # ---- Tables ----------------------------------------------------------------------------------

    def table(self, tablefmt: str = "simple") -> str:
        """The table in any format of the package tabulate, with one line per row and the total."""
        main = self.methods[0]
        with_widths = len(self._widths()) > 1
        headers = ["layer", "shape", *["word bits"] * with_widths, "values", "zeros %"]
        headers += [f"{METHOD_TITLES[main]} bits/value"]
        headers += [f"{METHOD_TITLES[method]} ratio" for method in self.methods]
        with_container = any(row.container_bytes for row in self.rows)
        with_times = any(row.encode_seconds for row in self.rows)
        if with_container:
            headers += ["container bytes", "container ratio"]
        if with_times:
            headers += ["encode ms", "decode ms"]

        def cells(row: LayerRow) -> list[str]:
            line = [row.name, row.shape_text, *[str(row.word_bits)] * with_widths]
            line += [f"{row.values:,}"]
            if row.values:
                line += [f"{100 * row.zero_share:.1f}", f"{row.bits_per_value(main):.2f}"]
                line += [f"{row.ratio(method):.2f}" for method in self.methods]
            else:  # of nothing there is no share
                line += ["-"] * (2 + len(self.methods))
            if with_container:
                ratio = row.container_ratio
                line += [
                    f"{row.container_bytes:,}",
                    "" if ratio is None else f"{ratio:.2f}" if row.values else "-",
                ]
            if with_times:
                line += [
                    f"{1e3 * row.encode_seconds:.1f}",
                    f"{1e3 * row.decode_seconds:.1f}",
                ]
            return line

        return tabulated([cells(row) for row in self._rows_and_total()], headers, tablefmt, 2)

    def heading(self) -> str:
        """What the table is about, in a line. Samples are indexes of a map's first dimension: as a
        rule images, but tokens or boxes where a network has those there."""
        if not self.rows:
            return "; ".join(filter(None, (self.title, "nothing was measured")))
        parts = [self.title] if self.title else []
        counts = sorted({row.images for row in self.rows})
        samples = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        calls = f"{len(self.rows)} call{'s' if len(self.rows) != 1 else ''}"
        parts.append(f"{calls}, {samples} sample{'s' if counts != [1] else ''} each")
        widths = self._widths()
        if widths:
            order = " in the order NHWC" if self.provenance.get("order") == "nhwc" else ""
            parts.append(f"ratios against {', '.join(map(str, widths))}-bit words{order}")
        return "; ".join(parts)

    def footing(self) -> str:
        """What the table does not say: what was left out or never called, negative zeros, values
        beyond the words' range, values that were verified."""
        lines = []
        for why in dict.fromkeys(self.left_out.values()):
            names = [name for name, each in self.left_out.items() if each == why]
            lines.append(f"left out, {why}: {', '.join(names)}")
        if self.never_called:
            lines.append(f"never called: {', '.join(self.never_called)}")
        if not self.rows and any(name.endswith("()") for name in self.never_called):
            lines.append(
                "functions are seen only inside of the forward of the model or one of its modules"
            )
        if len(self._widths()) > 1:
            lines.append("no total: the words are of different widths")
        with_zeros = [f"{row.name} {row.zero}" for row in self.rows if row.zero not in (0, None)]
        with_zeros += [f"{row.name} varies" for row in self.rows if row.zero is None]
        if with_zeros:
            lines.append(f"zero points, the words that are zeros: {', '.join(with_zeros)}")
        negative = [row for row in self.rows if row.negative_zeros > 0.001 * row.values]
        if negative:
            share = sum(row.negative_zeros for row in negative) / sum(r.values for r in negative)
            lines.append(
                f"-0.0: {100 * share:.1f} % of the values are negative zeros, which lossless coding"
                f" keeps and which are no zero words: {', '.join(row.name for row in negative)}"
            )
        overflowing = [f"{row.name} {row.overflows:,}" for row in self.rows if row.overflows]
        if overflowing:
            lines.append(
                "overflow, values beyond the range of the words (infinite or NaN in a float type,"
                f" or saturated): {', '.join(overflowing)}"
            )
        verified = sum(row.verified_values for row in self.rows)
        if verified:
            lines.append(f"verified bit by bit after decoding: {verified:,} values")
        return "\n".join(lines)

    def __repr__(self) -> str:
        table = self.table() if self.rows else ""
        return "\n".join(filter(None, (self.heading(), table, self.footing())))

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        table = self.table("html") if self.rows else ""
        footing = escape(self.footing()).replace("\n", "<br>")
        return f"<p>{escape(self.heading())}</p>\n{table}\n<p>{footing}</p>"

    def to_html(self, path: str | Path | None = None) -> str:
        """One page that fetches nothing: what was measured and the totals, bars of all rows, and,
        folded until asked for, the table and the provenance. Also written to ``path``."""
        summary = [self.heading()]
        for total in self._totals():
            ratios = [f"{METHOD_TITLES[each]} {total.ratio(each):.2f}" for each in self.methods]
            summary.append(f"uncompressed / compressed bits in total: {', '.join(ratios)}")
            summary.append(f"{total.values:,} values, {100 * total.zero_share:.1f} % of them zeros")
        summary += self.footing().splitlines()
        parts = []
        if self.rows:
            titles = ", ".join(METHOD_TITLES[method] for method in self.methods)
            bars = [(row.name, [row.ratio(each) for each in self.methods]) for row in self.rows]
            parts += [
                _html.bars(bars, f"Ratio of every call; from top to bottom: {titles}."),
                _html.folded("Every call", [_html.table(self.table("html"))]),
            ]
        provenance = _html.table(provenance_table(self.provenance, "html"))
        parts.append(_html.folded("How it was measured", [provenance]))
        title = self.title or str(self.provenance.get("model", "Compression of feature maps"))
        return written(_html.page(title, summary, parts), path)

    def scalars(self) -> dict[str, float]:
        """Numbers for TensorBoard and other loggers, by names such as ``ebpc_ratio/total``: the
        share of zeros and the ratio by each method, of each row and of the total.

        Example:
            >>> model = torch.nn.Sequential(torch.nn.ReLU())
            >>> with torch_ebpc.CompressionMeter(model, methods=("ebpc",)) as meter:
            ...     y = model(torch.tensor([[-1.0, 2.0]]))
            >>> list(meter.report().scalars())
            ['zero_share/0-1', 'ebpc_ratio/0-1', 'zero_share/total', 'ebpc_ratio/total']
        """
        scalars = {}
        for row in self._rows_and_total():
            name = row.name.replace("#", "-")  # which TensorBoard would replace
            scalars[f"zero_share/{name}"] = row.zero_share
            scalars |= {f"{each}_ratio/{name}": row.ratio(each) for each in self.methods}
        return scalars

    def to_markdown(self, path: str | Path | None = None) -> str:
        """The table with heading, footing and provenance in Markdown; also written to ``path``."""
        parts = (
            self.heading(),
            self.table("github") if self.rows else "",
            self.footing(),
            provenance_table(self.provenance),
        )
        text = "\n\n".join(filter(None, parts))
        return written(text + "\n", path)

    def to_csv(self, path: str | Path | None = None) -> str:
        """All rows and the total, without provenance; also written to ``path``."""
        fields = list(LayerRow("", "", 0, (), 0, self.methods).as_dict())
        records = [row.as_dict() for row in self._rows_and_total()]
        return written(csv_text(records, fields), path)

    def to_json(self, path: str | Path | None = None) -> str:
        """Everything; :meth:`from_json` makes the report of it again. Also written to ``path``."""
        rows = (json.dumps(row.as_record()) for row in self.rows)
        totals = self._totals()
        parts = {
            "title": json.dumps(self.title),
            "provenance": json.dumps(self.provenance, indent=1, default=str),
            "methods": json.dumps(self.methods),
            "never_called": json.dumps(self.never_called),
            "left_out": json.dumps(self.left_out),
            # A line each: with its single transmissions a row is long.
            "rows": "[\n" + ",\n".join(rows) + "\n]",
            "total": json.dumps(totals[0].as_dict() if totals else None, indent=1),
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
            content.get("left_out", {}),  # which earlier reports have not
        )

    def to_pandas(self) -> pandas.DataFrame:
        """All rows and the total; needs pandas."""
        import pandas

        return pandas.DataFrame([row.as_dict() for row in self._rows_and_total()])

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
                label=METHOD_TITLES[method]
                + "".join(f" (total {total.ratio(method):.2f})" for total in self._totals()),
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
        widths = ", ".join(map(str, self._widths()))
        axes.set_ylabel(f"uncompressed / compressed bits ({widths}-bit words)")
        axes.set_title(self.heading(), fontsize="medium", wrap=True)
        axes.legend()
        if path is not None:
            with whole_file(path) as file:
                save_figure(figure, file, Path(path).suffix.removeprefix("."))
        return figure


def tabulated(
    lines: Sequence[Sequence[str]], headers: Sequence[str], tablefmt: str, left: int
) -> str:
    """A table in any format of the package tabulate, with its first ``left`` columns to the left
    and the others to the right."""
    from tabulate import tabulate

    if tablefmt in ("github", "pipe"):  # where a bar would end the cell
        lines = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    alignment = ["left"] * left + ["right"] * (len(headers) - left)
    return str(
        tabulate(lines, headers, tablefmt=tablefmt, colalign=alignment, disable_numparse=True)
    )


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


def csv_text(records: Sequence[dict[str, Any]], fields: Sequence[str] | None = None) -> str:
    """Records of the same fields in CSV, with a line of their names."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fields or list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def provenance_table(provenance: dict[str, Any], tablefmt: str = "github") -> str:
    """A provenance as a table, by default in Markdown."""
    lines = [(key, _as_text(value)) for key, value in provenance.items()]
    return tabulated(lines, ["provenance", ""], tablefmt, 2)


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
