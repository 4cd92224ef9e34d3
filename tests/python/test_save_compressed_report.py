"""What save_compressed reports: every byte of every layer, once."""

from __future__ import annotations

import copy
import csv
import io

import pytest
import torch
from helpers import images, small_network
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

import torch_ebpc
from torch_ebpc import save_compressed, saved_tensors
from torch_ebpc.saved_report import OUTSIDE, PARAMETER, SavedReport


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    return small_network().train()


@pytest.fixture(scope="module")
def report(model) -> SavedReport:
    saved = save_compressed(model)
    with saved:
        loss = model(images(size=48)).square().sum()
    loss.backward()
    return saved.report()


def test_bytes_are_those_that_autograd_holds_each_counted_once(model, report):
    """Against what other hooks see."""
    parameters = {p.data_ptr() for p in model.parameters()}
    held: dict[tuple[int, int], Tensor] = {}
    saves = 0

    def record(x: Tensor) -> None:
        nonlocal saves
        saves += 1
        if x.data_ptr() not in parameters:
            held[x.data_ptr(), x._version] = x.detach()

    with saved_tensors_hooks(record, lambda _: None):
        model(images(size=48)).square().sum()
    total = report.total()
    assert total.saves == saves
    assert total.saves == total.repeated + total.packed + sum(n for n, _ in total.kept.values())
    assert total.tensor_bytes == sum(x.nbytes for x in held.values())
    sizes = [
        (x.nbytes, torch_ebpc.compress(x.flatten(), codec="auto").numel()) for x in held.values()
    ]
    containers = [size for nbytes, size in sizes if nbytes >= 16384 and 1.05 * size <= nbytes]
    assert total.packed == len(containers)
    assert total.container_bytes == sum(containers)
    assert report.peak_tensor_bytes == total.tensor_bytes
    assert report.peak_stored_bytes == total.stored_bytes == sum(containers) + total.kept_bytes
    assert total.ratio == total.tensor_bytes / total.stored_bytes > 1


def test_parameters_are_named_but_not_counted(model, report):
    # Of the linear layer, which saves it transposed, too.
    weights = [m.weight for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert report.total().kept[PARAMETER] == (len(weights), sum(w.nbytes for w in weights))
    assert f"left as they are, {PARAMETER}: {len(weights)}" in report.footing()
    assert "not counted above" in report.footing()


def test_layers_and_kinds_add_up_to_the_total(report):
    total = report.total()
    for rows in (report.by_layer(), report.by_kind()):
        for field in ("saves", "tensor_bytes", "stored_bytes", "repeated", "pack_seconds"):
            assert sum(getattr(row, field) for row in rows) == pytest.approx(getattr(total, field))


def test_a_tensor_belongs_to_the_layer_that_saved_it_first(report):
    rows = {row.layer: row for row in report.by_layer()}
    assert list(rows) == [
        "0", "1", "2.conv1", "2.relu", "2.conv2", "3.conv1", "3.relu", "3.conv2", "4", "6",
        OUTSIDE,
    ]  # fmt: skip
    assert rows["1"].packed == 1  # the output of the ReLU
    assert rows["2.conv1"].packed == 0  # its input
    assert rows["2.conv1"].repeated == 1
    assert rows["2.relu"].packed == 2
    assert rows["1"].unpacks == 2
    assert rows["1"].decompressed in (1, 2)
    assert rows["1"].pack_seconds > 0
    assert rows["1"].unpack_seconds > 0


def test_kinds_are_named_after_the_function_and_the_dtype(report):
    kinds = {(row.made_by, row.dtype) for row in report.by_kind()}
    assert kinds >= {("leaf", "float32"), ("Relu", "float32")}


def test_peaks_are_of_what_lives_at_the_same_time(model):
    saved = save_compressed()
    for _ in range(3):
        with saved:
            loss = model(images(size=48)).square().sum()
        loss.backward()
    report = saved.report()
    assert 3 * report.peak_tensor_bytes == report.total().tensor_bytes
    assert 3 * report.peak_stored_bytes == report.total().stored_bytes
    losses = []
    for _ in range(3):
        with saved:
            losses.append(model(images(size=48)).square().sum())
    # One input in three, since the tensors differ.
    assert saved.report().peak_tensor_bytes == 3 * report.peak_tensor_bytes


def test_the_table_has_a_line_for_each_layer_and_kind_and_says_which_bytes(report):
    lines = repr(report).splitlines()
    total = report.total()
    assert lines[0] == (
        f"{total.saves} tensors saved: {total.tensor_bytes:,} tensor bytes in"
        f" {total.stored_bytes:,} bytes, ratio {total.ratio:.2f}; at one time at most"
        f" {report.peak_tensor_bytes:,} in {report.peak_stored_bytes:,}"
    )
    assert "tensor bytes    stored bytes    ratio    pack ms    unpack ms" in lines[2]
    assert [line.split()[0] for line in lines[4:14]] == [
        row.layer for row in report.by_layer() if row.layer != OUTSIDE
    ]
    assert sum(line.startswith("total ") for line in lines) == 2
    assert sum(line.startswith("left as they are, small: ") for line in lines) == 1


def test_without_a_model_there_are_kinds_alone():
    with save_compressed() as saved:
        small_network()(images(size=48))
    report = saved.report()
    assert "layer" not in repr(report)
    assert {row.layer for row in report.rows} == {""}
    assert "Relu" in repr(report)


def test_a_report_survives_json_and_is_not_changed_by_what_comes_later(report, model, tmp_path):
    text = report.to_json(tmp_path / "report.json")
    again = SavedReport.from_json((tmp_path / "report.json").read_text())
    assert again == report
    assert again.to_json() == text
    saved = save_compressed(model)
    first = saved.report()
    with saved:
        model(images(size=48))
    assert first.rows == []
    assert first.total().ratio == 1
    assert saved.report().rows != []


def test_a_report_goes_to_csv_markdown_and_pandas(report, tmp_path):
    records = list(csv.DictReader(io.StringIO(report.to_csv())))
    assert [record["layer"] for record in records] == [row.layer for row in report.rows] + ["total"]
    assert int(records[-1]["stored_bytes"]) == report.total().stored_bytes
    frame = report.to_pandas()
    assert list(frame["tensor_bytes"])[:-1] == [row.tensor_bytes for row in report.rows]
    text = report.to_markdown(tmp_path / "report.md")
    assert (tmp_path / "report.md").read_text() == text
    assert text.count("| total") == 2
    assert "- left as they are, small" in text
    assert "| min_ratio    | 1.05" in text


def test_a_model_that_was_never_seen_running_is_noticed(model):
    other = copy.deepcopy(model)
    with save_compressed(model) as saved:
        other(images(size=48))
    assert "no layer of the model was seen running" in repr(saved.report())
    with save_compressed(model) as saved:
        model(images(size=48))
    assert "no layer of the model was seen running" not in repr(saved.report())


# ---- Only reported -------------------------------------------------------------------------------


def test_what_is_only_reported_is_counted_as_if_it_were_compressed(model, report):
    """Up to what a sample cannot know."""
    saved = save_compressed(model, compress=False)
    with saved:
        loss = model(images(size=48)).square().sum()
    loss.backward()
    only = saved.report()
    assert not only.compressed
    total, expected = only.total(), report.total()
    assert (total.unpacks, total.decompressed) == (0, 0)
    for name in ("saves", "repeated", "packed", "tensor_bytes", "kept"):
        assert getattr(total, name) == getattr(expected, name), name
    assert total.stored_bytes == pytest.approx(expected.stored_bytes, rel=0.15)
    assert only.peak_tensor_bytes == report.peak_tensor_bytes
    assert "tensor bytes as they are; compressed, by a sample, in" in only.heading()
    assert "would be" in only.layer_table()
    assert SavedReport.from_json(only.to_json()) == only


def test_what_is_only_reported_is_left_to_autograd():
    x = torch.randn(64, 64, requires_grad=True)
    with save_compressed(compress=False) as saved:
        hidden = x.relu()
        y = hidden.square()
    assert saved.report().total().packed == 1
    assert hidden.data_ptr() == y.grad_fn._saved_self.data_ptr()


def test_a_page_and_a_notebook_show_the_tables(report, tmp_path):
    page = report.to_html(tmp_path / "saved.html")
    for text in (page, report._repr_html_()):
        assert report.heading() in text
        assert report.layer_table("html") in text
        assert report.kind_table("html") in text
    assert "left as they are, parameter" in page
    assert (tmp_path / "saved.html").read_text() == page
    without = SavedReport(report.rows)
    assert report.layer_table("html") not in without.to_html()


def test_a_sample_meets_all_rows_of_equal_maps():
    """Of the first rows of causal attention nearly all is zero, of the last ones nothing."""
    generator = torch.Generator().manual_seed(1)
    future = torch.ones(256, 256, dtype=torch.bool).triu(1)
    scores = torch.randn(16, 256, 256, generator=generator).masked_fill(future, -torch.inf)
    x = scores.softmax(-1)
    y = torch.ones(1, requires_grad=True)
    with save_compressed(compress=False) as saved:
        y * x
    whole = torch_ebpc.compress(x, codec="auto").numel()
    assert saved.report().total().stored_bytes == pytest.approx(whole, rel=0.1)


def test_no_sample_is_taken_while_all_of_a_row_is_compressed(monkeypatch):
    samples = []
    estimate = saved_tensors.estimated_bytes
    monkeypatch.setattr(
        saved_tensors, "estimated_bytes", lambda *of: samples.append(of) or estimate(*of)
    )
    saving = save_compressed()
    noise = torch.randint(-(2**31), 2**31, (10000,), dtype=torch.int32).view(torch.float32)
    weight = torch.ones(10000, requires_grad=True)
    for x, expected in ((torch.zeros(10000), 1), (torch.ones(10000), 1), (noise, 1), (noise, 2)):
        with saving:
            weight * x.clone()
        assert len(samples) == expected
    assert saving.report().total().kept["hardly smaller"][0] == 2
