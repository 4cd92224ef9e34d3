"""``torch-ebpc report``: shows a report, or compares two; and where reports are written."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch_ebpc
from torch_ebpc.cli.streams import PIPE, check_target, named, opened_source, opened_target
from torch_ebpc.report import METHOD_TITLES, save_figure, tabulated

DIFFERENT = 1
_FILES = ("csv", "json", "md", "html", "plot")


def report(options: argparse.Namespace) -> int:
    check_report_files(options)
    if options.tolerance is not None and not options.tolerance >= 0:
        raise ValueError(f"--tolerance must be at least 0, got {options.tolerance}")
    first = _read(options.first)
    if options.second is None:
        for name in ("tolerance", "methods"):
            if getattr(options, name) is not None:
                raise ValueError(f"--{name} is for two reports, got one")
        write_report(first, options)
        return 0
    return _compare(first, _read(options.second), options)


def _read(name: str) -> torch_ebpc.Report:
    with opened_source(name) as path, named(name):
        try:
            return torch_ebpc.Report.from_json(path.read_text(encoding="utf-8"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"expected a report as Report.to_json writes it: {error!r}") from error


# ---- One report ----------------------------------------------------------------------------------


def check_report_files(options: argparse.Namespace) -> None:
    """Before the long work.

    Raises:
        FileExistsError: one of the files is there and is not to be replaced.
        ValueError: more than one is for standard output, or the plot's suffix is no format.
        ImportError: a plot is asked for, and matplotlib is missing.
    """
    if options.plot is not None:
        _plot_format(options.plot)
    names = [getattr(options, each) for each in _FILES if getattr(options, each) is not None]
    if names.count(PIPE) > 1:
        raise ValueError("'-' must stand for one file of the report at most")
    for name in names:
        check_target(name, force=options.force)


def write_report(report: torch_ebpc.Report, options: argparse.Namespace) -> None:
    """Prints it, unless one of the files is standard output, and writes the files."""
    if all(getattr(options, each) != PIPE for each in _FILES):
        print(report)
    texts: dict[str, Callable[[], str]] = {
        "csv": report.to_csv,
        "json": report.to_json,
        "md": report.to_markdown,
        "html": report.to_html,
    }
    for name in _FILES:
        target = getattr(options, name)
        if target is None:
            continue
        with opened_target(target, force=options.force) as file:
            if name in texts:
                file.write(texts[name]().encode())
            else:
                save_figure(report.plot(), file, _plot_format(target))


def _plot_format(target: str) -> str:
    from matplotlib.backend_bases import FigureCanvasBase

    suffix = Path(target).suffix.removeprefix(".").lower() or "svg"
    known = FigureCanvasBase.get_supported_filetypes()
    if suffix not in known:
        expected = ", ".join(f".{each}" for each in sorted(known))
        raise ValueError(f"--plot {target}: expected one of {expected}, got .{suffix}")
    return suffix


# ---- Two reports ---------------------------------------------------------------------------------


def _compare(
    first: torch_ebpc.Report, second: torch_ebpc.Report, options: argparse.Namespace
) -> int:
    for name in ("html", "plot"):
        if getattr(options, name) is not None:
            raise ValueError(f"--{name} is for one report, got two")
    methods = _methods(first, second, options.methods)
    records = _records(first, second, methods)
    if all(getattr(options, each) != PIPE for each in ("csv", "json", "md")):
        print(_heading(first, second))
        print(_table(records, methods, "simple"))
    texts: dict[str, Callable[[], str]] = {
        "csv": lambda: _csv(records),
        "json": lambda: json.dumps({"methods": methods, "rows": records}, indent=1) + "\n",
        "md": lambda: f"{_heading(first, second)}\n\n{_table(records, methods, 'github')}\n",
    }
    for name, text in texts.items():
        target = getattr(options, name)
        if target is not None:
            with opened_target(target, force=options.force) as file:
                file.write(text().encode())
    return _verdict(records, methods, options.tolerance)


def _methods(
    first: torch_ebpc.Report, second: torch_ebpc.Report, wanted: list[str] | None
) -> list[str]:
    common = [method for method in first.methods if method in second.methods]
    for method in wanted or []:
        if method not in common:
            raise ValueError(
                f"--methods must be of both reports' {', '.join(common)}, got {method}"
            )
    if not common:
        raise ValueError(
            f"the reports have no method in common: {', '.join(first.methods)} and"
            f" {', '.join(second.methods)}"
        )
    return wanted or common


def _records(
    first: torch_ebpc.Report, second: torch_ebpc.Report, methods: list[str]
) -> list[dict[str, Any]]:
    """The ratios of each row of either report and of their totals, None where a report has no such
    row, and their relative differences."""
    rows = [{row.name: row for row in (*report.rows, report.total())} for report in (first, second)]
    names = list(dict.fromkeys([*rows[0], *rows[1]]))
    names.remove("total")
    records = []
    for name in [*names, "total"]:
        record: dict[str, Any] = {"name": name}
        for method in methods:
            before, after = (each[name].ratio(method) if name in each else None for each in rows)
            record[f"{method}_first"] = before
            record[f"{method}_second"] = after
            record[f"{method}_difference"] = _difference(before, after)
        records.append(record)
    return records


def _difference(before: float | None, after: float | None) -> float | None:
    """Relative to the first; ratios can be infinite."""
    if before is None or after is None:
        return None
    if before == after:
        return 0.0
    return math.inf if before == 0 else after / before - 1


def _heading(first: torch_ebpc.Report, second: torch_ebpc.Report) -> str:
    lines = [f"1: {first.heading()}", f"2: {second.heading()}"]
    lines += _differences("", first.provenance, second.provenance)
    return "\n".join(lines) + "\n"


def _differences(name: str, before: object, after: object) -> list[str]:
    """A line for each part of a provenance that differs."""
    if before == after or name == "date":
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            line
            for key in dict.fromkeys([*before, *after])
            for line in _differences(
                f"{name}.{key}" if name else key, before.get(key), after.get(key)
            )
        ]
    return [f"{name} differs: {before} / {after}"]


def _table(records: list[dict[str, Any]], methods: list[str], tablefmt: str) -> str:
    headers = ["layer"]
    for method in methods:
        title = METHOD_TITLES[method]
        headers += [f"{title} 1", f"{title} 2", "difference %"]
    lines = []
    for record in records:
        line = [record["name"]]
        for method in methods:
            line += [_ratio(record[f"{method}_first"]), _ratio(record[f"{method}_second"])]
            difference = record[f"{method}_difference"]
            line.append("" if difference is None else f"{100 * difference:+.3f}")
        lines.append(line)
    return tabulated(lines, headers, tablefmt, 1)


def _ratio(ratio: float | None) -> str:
    return "missing" if ratio is None else f"{ratio:.3f}"


def _csv(records: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _verdict(records: list[dict[str, Any]], methods: list[str], tolerance: float | None) -> int:
    """0, or 1 where a row is missing or differs by more than the tolerance."""
    if tolerance is None:
        return 0
    differences = [
        (record[f"{method}_difference"], record["name"], method)
        for record in records
        for method in methods
    ]
    missing = list(dict.fromkeys(name for each, name, _ in differences if each is None))
    if missing:
        print(f"in one report alone: {', '.join(missing)}", file=sys.stderr)
    above = [each for each in differences if each[0] is not None and abs(each[0]) > tolerance]
    if above:
        difference, name, method = max(above, key=lambda each: abs(each[0]))
        print(
            f"{len(above)} ratios differ by more than {tolerance:g}, most of all {name}'s by"
            f" {METHOD_TITLES[method]}: {difference:+.4f}",
            file=sys.stderr,
        )
    return DIFFERENT if missing or above else 0
