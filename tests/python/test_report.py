"""The report: sums, formats that agree, provenance, files."""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import re

import pandas
import pytest
import torch
from small_models import SMALL_CALLS, images, small_network

import torch_ebpc
from torch_ebpc import CompressionMeter, LayerRow, Quantizer, Report

METHODS = ("ebpc", "zvc", "zero_rle", "bpc")


@pytest.fixture(scope="module")
def report() -> Report:
    model = small_network()
    quantizer = Quantizer(bits=8, headroom=0.75)
    with (
        torch.no_grad(),
        CompressionMeter(model, quantizer=quantizer, methods=METHODS, verify=True) as meter,
    ):
        model(images(3))
    return meter.report()


def row_of(name: str = "a#1", **counts) -> LayerRow:
    return LayerRow(name, name.split("#")[0], 1, (10,), 8, ("zvc",), **counts)


def cells_of(line: str) -> list[str]:
    return re.split(r"\s{2,}|\s*\|\s*", line.strip().strip("|").strip())


# ---- Totals ------------------------------------------------------------------------------------


def test_the_total_is_the_sum_of_the_rows_and_its_ratio_that_of_the_sums(report):
    total = report.total()
    for field in ("values", "zeros", "bits_before", "container_bytes", "verified_values"):
        assert getattr(total, field) == sum(getattr(row, field) for row in report.rows), field
    for method in METHODS:
        bits = sum(row.bits_after(method) for row in report.rows)
        assert total.bits_after(method) == bits
        assert total.ratio(method) == sum(row.bits_before for row in report.rows) / bits
    assert total.images == 3


def test_a_total_is_no_mean_of_ratios():
    rows = [
        row_of("a#1", values=100, value_bits={"zvc": 100}),  # ratio 8
        row_of("b#1", values=900, value_bits={"zvc": 7200}),  # ratio 1
    ]
    assert Report(rows, ("zvc",)).total().ratio("zvc") == pytest.approx(8000 / 7300)


def test_printed_columns_add_up_to_the_printed_total(report):
    lines = [cells_of(line) for line in report.table().splitlines()]
    header, rows, total = lines[0], lines[2:-1], lines[-1]
    assert [row[0] for row in rows] == SMALL_CALLS
    assert total[0] == "total"

    def column(name):
        index = header.index(name) - len(header)  # from the right: the total has no shape
        return [float(line[index].replace(",", "")) for line in [*rows, total]]

    for name in ("values", "container bytes"):
        *parts, whole = column(name)
        assert sum(parts) == whole
    # Ratios are printed with two digits, so the sum of the bits is as exact as those.
    values = column("values")
    for name in ("EBPC ratio", "ZVC ratio", "BPC ratio", "zero-RLE ratio"):
        *ratios, whole = column(name)
        bits = sum(v * 8 / r for v, r in zip(values, ratios, strict=False))
        assert values[-1] * 8 / bits == pytest.approx(whole, abs=0.02)


def test_rows_of_different_widths_have_no_total():
    rows = [row_of("a#1"), LayerRow("b#1", "b", 1, (10,), 16, ("zvc",))]
    with pytest.raises(ValueError, match=r"^rows of 8, 16-bit words have no common total"):
        Report(rows, ("zvc",)).total()


def test_nothing_measured_is_a_report_too():
    empty = CompressionMeter(small_network()).report()
    assert empty.rows == []
    assert empty.total().values == 0
    assert empty.never_called == ["1", "2.relu", "3.relu"]
    for text in (repr(empty), empty.to_csv(), empty.to_json(), empty.to_markdown()):
        assert "total" in text


# ---- Text --------------------------------------------------------------------------------------


def test_the_report_prints_as_its_table_with_what_the_ratios_are_against(report):
    text = repr(report)
    assert str(report) == text
    assert text.splitlines()[0] == "5 calls, 3 images; ratios against 8-bit words"
    assert report.table() in text
    report.title = "UNTRAINED"
    try:
        assert repr(report).splitlines()[0].startswith("UNTRAINED; 5 calls")
    finally:
        report.title = ""


def test_markdown_has_every_row_the_total_and_the_provenance(report):
    text = report.to_markdown()
    for name in [*SMALL_CALLS, "total"]:
        assert re.search(rf"^\| {re.escape(name)} +\|", text, re.MULTILINE)
    for key in report.provenance:
        assert re.search(rf"^\| {key} +\|", text, re.MULTILINE)


# ---- Formats that agree ------------------------------------------------------------------------


def test_csv_json_and_pandas_hold_the_same_numbers(report):
    expected = [row.as_dict() for row in [*report.rows, report.total()]]
    from_csv = list(csv.DictReader(io.StringIO(report.to_csv())))
    assert [
        {key: "" if value is None else str(value) for key, value in record.items()}
        for record in expected
    ] == from_csv

    frame = report.to_pandas()
    assert frame.to_dict("records") == expected
    pandas.testing.assert_frame_equal(
        pandas.read_csv(io.StringIO(report.to_csv()), keep_default_na=False, na_values=[]),
        frame,
        check_dtype=False,
    )

    content = json.loads(report.to_json())
    assert content["total"] == expected[-1]
    for record, row in zip(content["rows"], report.rows, strict=True):
        assert record["value_bits"] == row.value_bits
        assert record["values"] == row.values
        assert record["shape"] == list(row.shape)


def test_markdown_shows_the_numbers_of_the_table(report):
    lines = [cells_of(line) for line in report.table().splitlines()[2:]]
    markdown = [cells_of(line) for line in report.to_markdown().splitlines() if "|" in line]
    for line in lines:
        assert any([cell for cell in row if cell] == line for row in markdown), line


def test_json_makes_the_same_report_again(report):
    again = Report.from_json(report.to_json())
    assert again.rows == report.rows
    assert again.methods == report.methods
    assert again.never_called == report.never_called
    assert again.provenance == report.provenance
    assert again.title == report.title
    assert repr(again) == repr(report)
    assert again.to_json() == report.to_json()


# ---- Provenance --------------------------------------------------------------------------------


def test_the_provenance_says_what_was_measured_with_what(report):
    found = report.provenance
    assert found["model"] == "Sequential"
    assert found["mode"] == "insert"
    assert found["code"] == {"block_size": 8, "max_zero_run": 16, "base": "sent"}
    assert found["transmission"] == "image"
    assert found["quantizer"] == {
        "bits": 8,
        "signed": True,
        "rounding": "nearest",
        "scale": "batch",
        "headroom": 0.75,
    }
    assert found["verified"] is True
    assert found["torch_ebpc"] == torch_ebpc.__version__
    assert found["torch"] == str(torch.__version__)
    assert found["kernel"] == torch_ebpc.kernel()
    assert found["threads"] == str(torch.get_num_threads())
    for key in ("python", "cpu"):
        assert found[key]
    age = datetime.datetime.now(datetime.timezone.utc) - datetime.datetime.fromisoformat(
        found["date"]
    )
    assert datetime.timedelta(0) <= age < datetime.timedelta(minutes=10)


def test_a_report_is_a_copy_that_later_batches_do_not_change():
    model = small_network()
    with CompressionMeter(model) as meter:
        model(images())
        first = meter.report()
        before = first.to_csv()
        model(images())
    assert first.to_csv() == before
    first.rows[0].values = 0
    assert meter.report().rows[0].values > 0


# ---- Files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["csv", "json", "markdown"])
def test_files_hold_what_is_returned(report, tmp_path, name):
    path = tmp_path / f"report.{name}"
    text = getattr(report, f"to_{name}")(path)
    assert path.read_text(encoding="utf-8") == text
    assert getattr(report, f"to_{name}")() == text
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_file_is_written_whole_or_not_at_all(report, tmp_path, monkeypatch):
    path = tmp_path / "report.csv"
    path.write_text("the report before")

    def fail(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        report.to_csv(path)
    assert path.read_text() == "the report before"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("suffix", "begin"), [("png", b"\x89PNG\r\n\x1a\n"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_a_plot_is_written_in_the_format_of_its_name(report, tmp_path, suffix, begin):
    path = tmp_path / f"report.{suffix}"
    report.plot(path)
    assert path.read_bytes().startswith(begin)


def test_a_plot_has_axes_units_a_legend_and_a_bar_for_each_row_and_method(report):
    (axes,) = report.plot().axes
    assert axes.get_xlabel()
    assert "8-bit words" in axes.get_ylabel()
    assert "3 images" in axes.get_title()
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(legend) == len(METHODS)
    assert legend[0] == f"EBPC (total {report.total().ratio('ebpc'):.2f})"
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights == [[row.ratio(method) for row in report.rows] for method in METHODS]
    assert [label.get_text() for label in axes.get_xticklabels()] == SMALL_CALLS
