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
from helpers import SMALL_CALLS, images, look_at, small_network

import torch_ebpc
from torch_ebpc import CompressionMeter, LayerRow, Quantizer, Report

METHODS = ("ebpc", "zvc", "zero_rle", "bpc")


@pytest.fixture(scope="module")
def report() -> Report:
    model = small_network()
    quantizer = Quantizer(bits=8, headroom=0.75)
    with (
        torch.no_grad(),
        CompressionMeter(
            model, quantizer=quantizer, methods=METHODS, verify=True, mode="insert"
        ) as meter,
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
    rows = [
        row_of("a#1", values=3, value_bits={"zvc": 9}),
        LayerRow("b#1", "b", 1, (10,), 16, ("zvc",), values=2, value_bits={"zvc": 20}),
    ]
    report = Report(rows, ("zvc",))
    with pytest.raises(ValueError, match=r"^rows of 8, 16-bit words have no common total"):
        report.total()
    lines = repr(report).splitlines()
    assert lines[0].endswith("ratios against 8, 16-bit words")
    assert "word bits" in lines[1]
    assert lines[-1] == "no total: the words are of different widths"
    assert [line.split()[0] for line in lines[3:-1]] == ["a#1", "b#1"]
    assert Report.from_json(report.to_json()) == report
    assert len(report.to_csv().splitlines()) == 3
    assert len(report.plot().axes) == 1


def test_nothing_measured_is_a_report_too():
    empty = CompressionMeter(small_network(), mode="insert").report()
    assert empty.rows == []
    assert empty.total().values == 0
    assert empty.never_called == ["1", "2.relu", "3.relu"]
    assert repr(empty) == "nothing was measured\nnever called: 1, 2.relu, 3.relu"
    assert empty.to_markdown().startswith("nothing was measured\n\nnever called")
    assert empty.to_csv().splitlines() == [",".join(row_fields(empty))]
    assert json.loads(empty.to_json())["total"] is None
    assert Report.from_json(empty.to_json()) == empty


def row_fields(report: Report) -> list[str]:
    return list(report.total().as_dict())


def test_an_empty_report_says_where_functions_are_seen():
    meter = CompressionMeter(small_network(), (), functions=[torch.relu], mode="insert")
    hint = "functions are seen only inside of the forward of the model or one of its modules"
    assert repr(meter.report()) == f"nothing was measured\nnever called: relu()\n{hint}"


def test_of_an_empty_map_there_is_no_share_and_no_width():
    model = torch.nn.Sequential(torch.nn.ReLU())
    with CompressionMeter(model, methods=["ebpc"], mode="insert") as meter:
        model(torch.zeros(0, 4))
    report = meter.report()
    assert report.heading() == "1 call, 0 samples each"
    for line in report.table().splitlines()[2:]:
        assert cells_of(line)[-8:-4] == ["0", "-", "-", "-"]
    (row,) = report.rows
    assert (row.zero_share, row.bits_per_value("ebpc"), row.ratio("ebpc")) == (0, 0, 1)


def test_a_shape_that_varies_is_not_shown_as_the_first_one():
    model = torch.nn.Sequential(torch.nn.ReLU())
    reports = []
    for sizes in [(12, 1), (12,), (1,)]:
        with CompressionMeter(model, mode="observe") as meter:
            for size in sizes:
                model(torch.zeros(1, size, 8))
        reports.append(meter.report())
    for report in (reports[0], Report.merge(reports[1:])):
        assert cells_of(report.table().splitlines()[2])[1] == "varies"
        assert report.rows[0].as_dict()["shape"] == "varies"
        assert report.rows[0].shape == (12, 8)
    assert reports[1].rows[0].as_dict()["shape"] == "12x8"


def test_the_heading_says_how_many_samples_each_call_had_and_not_that_they_are_images():
    rows = [row_of("a#1", images=2), row_of("b#1", images=151)]
    assert Report(rows, ("zvc",)).heading().startswith("2 calls, 2 to 151 samples each")
    assert Report(rows[:1], ("zvc",)).heading().startswith("1 call, 2 samples each")
    assert Report([row_of(images=1)], ("zvc",)).heading().startswith("1 call, 1 sample each")


def test_a_bar_in_a_name_stays_inside_of_its_cell_of_markdown():
    report = Report([row_of("a|b#1", values=1)], ("zvc",), provenance={"images": "x|y"})
    text = report.to_markdown()
    assert r"| a\|b#1" in text
    assert r"x\|y" in text
    assert "| a|b#1" not in text
    assert "a|b#1" in repr(report)


def test_negative_zeros_are_named_where_they_are_over_a_thousandth():
    model = torch.nn.Sequential(torch.nn.Hardswish(), torch.nn.ReLU())
    x = torch.tensor([[-4.0, -3.5, 1.0, 2.0]])
    kinds = (torch.nn.Hardswish, torch.nn.ReLU)
    with CompressionMeter(model, kinds, mode="observe", methods=["none"]) as meter:
        model(x)
    report = meter.report()
    assert [row.negative_zeros for row in report.rows] == [2, 2]  # ReLU keeps them
    report.rows[1].negative_zeros = 0
    assert report.footing() == (
        "-0.0: 50.0 % of the values are negative zeros, which lossless coding keeps and which are"
        " no zero words: 0#1"
    )
    assert report.total().negative_zeros == 2
    row = row_of(values=1000, negative_zeros=1)
    assert not Report([row], ("zvc",)).footing()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_negative_zeros_are_counted_in_any_float_type_and_by_bits_alone(dtype):
    x = torch.tensor([[0.0, -0.0, float("nan"), -1.0, float("-inf"), -0.0]], dtype=dtype)
    model = torch.nn.Sequential(torch.nn.Identity())
    with CompressionMeter(model, torch.nn.Identity, mode="observe") as meter:
        model(x)
        model(x.abs())
    (row,) = meter.report().rows
    assert (row.negative_zeros, row.zeros, row.dtype) == (2, 4, str(dtype)[6:])


def test_what_was_left_out_is_in_every_format_and_merges():
    first = Report([row_of(values=1)], ("zvc",), left_out={"b#1": "of dtype int64"})
    second = Report([row_of(values=1)], ("zvc",), left_out={"c#1": "of dtype int64"})
    merged = Report.merge([first, second])
    assert merged.left_out == {"b#1": "of dtype int64", "c#1": "of dtype int64"}
    assert "left out, of dtype int64: b#1, c#1" in sorted(merged.footing().splitlines())[0]
    assert Report.from_json(merged.to_json()) == merged


def test_reports_of_before_can_be_read():
    report = Report([row_of(values=1)], ("zvc",))
    content = json.loads(report.to_json())
    del content["left_out"]
    for field in ("dtype", "shape_varies", "negative_zeros", "overflows"):
        del content["rows"][0][field]
    assert Report.from_json(json.dumps(content)) == report


# ---- Text --------------------------------------------------------------------------------------


def test_the_report_prints_as_its_table_with_what_the_ratios_are_against(report):
    text = repr(report)
    assert str(report) == text
    assert text.splitlines()[0] == "5 calls, 3 samples each; ratios against 8-bit words"
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


def test_a_page_shows_the_numbers_of_the_table_and_escapes_names(report, tmp_path):
    page = report.to_html()
    for row in report.rows:
        assert f"<td>{row.name}" in page
        assert f"{row.ratio('ebpc'):.2f}</td>" in page
    assert f"EBPC {report.total().ratio('ebpc'):.2f}, ZVC" in page
    assert report.provenance["date"] in page
    strange = Report([row_of("<b>#1", values=1, value_bits={"zvc": 1})], ("zvc",), title="a & b")
    page = strange.to_html()
    assert "<b>#1" not in page
    assert page.count("&lt;b&gt;#1") == 2  # the bars and the table
    assert "<h1>a &amp; b</h1>" in page
    assert "&lt;b&gt;#1" in strange._repr_html_()


def test_nothing_measured_is_a_page_too():
    report = Report([], ("ebpc",), never_called=["0"])
    for text in (report.to_html(), report._repr_html_()):
        assert "nothing was measured" in text
        assert "never called: 0" in text


def test_the_page_reads_well_in_a_browser(report, tmp_path):
    report.to_html(tmp_path / "report.html")
    look_at(tmp_path / "report.html")


def test_a_notebook_shows_the_table(report):
    shown = report._repr_html_()
    assert shown.startswith(f"<p>{report.heading()}</p>")
    assert report.table("html") in shown
    assert "verified bit by bit" in shown


def test_scalars_are_the_ratios_and_zeros_of_all_rows_and_of_the_total(report):
    scalars = report.scalars()
    assert len(scalars) == (len(report.rows) + 1) * (1 + len(METHODS))
    assert scalars["ebpc_ratio/total"] == report.total().ratio("ebpc")
    assert scalars["zero_share/1-1"] == report.rows[0].zero_share
    assert not [name for name in scalars if not re.fullmatch(r"[-/\w.]+", name)]


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
        "affine": False,
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
    with CompressionMeter(model, mode="insert") as meter:
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
    assert "3 samples" in axes.get_title()
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(legend) == len(METHODS)
    assert legend[0] == f"EBPC (total {report.total().ratio('ebpc'):.2f})"
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights == [[row.ratio(method) for row in report.rows] for method in METHODS]
    assert [label.get_text() for label in axes.get_xticklabels()] == SMALL_CALLS
