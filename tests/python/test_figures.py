"""Figures are the same bytes for the same numbers, and those of the documents are small."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import torch_ebpc
from evaluation.bench import throughput

IMAGES = sorted(Path(__file__).parents[2].joinpath("docs", "images").glob("*.svg"))


def plot_report(path):
    rows = [
        torch_ebpc.LayerRow(f"{i}#1", str(i), 1, (2,), 8, ("ebpc", "csc"), images=1, values=100)
        for i in range(3)
    ]
    for row in rows:
        row.value_bits.update(ebpc=400, csc=500)
    torch_ebpc.Report(rows, ("ebpc", "csc")).plot(path)


def plot_throughput(path):
    data = throughput.Data("maps int8", [torch.zeros(1000, dtype=torch.int8)])
    row = throughput.ebpc_row(data, torch_ebpc.kernel())
    row.packed_bytes, row.seconds = 10, {"compress": [1.0, 2.0], "decompress": [1.0]}
    throughput.plot([row], path)


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
@pytest.mark.parametrize("plot", [plot_report, plot_throughput])
def test_a_figure_saved_twice_is_the_same_file(tmp_path, plot, suffix):
    first, second = tmp_path / f"1.{suffix}", tmp_path / f"2.{suffix}"
    plot(first)
    plot(second)
    assert first.read_bytes() == second.read_bytes()
    assert not any(date in first.read_bytes() for date in (b"CreationDate", b"<dc:date>"))


def test_an_svg_has_its_text_as_text(tmp_path):
    plot_report(tmp_path / "1.svg")
    assert ">call of a layer</text>" in (tmp_path / "1.svg").read_text()


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
def test_a_figure_of_the_documents_is_small_and_undated(path):
    assert path.stat().st_size < 100_000
    assert "<dc:date>" not in path.read_text()
