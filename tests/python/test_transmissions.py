"""Single transmissions in a report's rows, and reports of several processes made one."""

from __future__ import annotations

import copy
import itertools
import operator

import pytest
import torch
from helpers import SMALL_CALLS, images, small_network
from torch import nn

import torch_ebpc
from torch_ebpc import CompressionMeter, Quantizer, Report

ALL = images(5)


def report_of(*batches, **arguments):
    network = small_network()
    arguments = {"quantizer": Quantizer(scale=0.02), "mode": "observe"} | arguments
    with CompressionMeter(network, **{"mode": "insert"} | arguments) as meter, torch.no_grad():
        for batch in batches:
            network(batch)
    return meter.report()


# ---- Transmissions -------------------------------------------------------------------------------


def test_every_image_is_a_transmission_in_order():
    report = report_of(ALL[:2], ALL[2:])
    for row in report.rows:
        assert row.transmission_words.tolist() == [row.values // 5] * 5
        for method in report.methods:
            assert sum(row.transmission_bits[method]) == row.bits_after(method)
    for index in range(5):
        alone = report_of(ALL[index : index + 1])
        for row, single in zip(report.rows, alone.rows, strict=True):
            assert row.transmission_bits["ebpc"][index] == single.bits_after("ebpc")
            assert row.transmission_ratios("ebpc")[index] == single.ratio("ebpc")


def test_channels_are_summed_over_an_image():
    for row in report_of(ALL[:2], ALL[2:], transmission="channel").rows:
        assert len(row.transmission_words) == 5
        assert sum(row.transmission_bits["ebpc"]) == row.bits_after("ebpc")


def test_a_whole_tensor_is_one_transmission():
    for row in report_of(ALL[:2], ALL[2:], transmission="tensor").rows:
        assert row.transmission_words.tolist() == [row.values * 2 // 5, row.values * 3 // 5]
        assert sum(row.transmission_bits["ebpc"]) == row.bits_after("ebpc")


def test_json_keeps_transmissions():
    report = report_of(ALL)
    again = Report.from_json(report.to_json())
    assert again.rows == report.rows
    assert again.rows[0].transmission_bits["ebpc"].tolist()
    # A line for each row, however many images there were.
    assert len(report_of(ALL, ALL).to_json().splitlines()) == len(report.to_json().splitlines())


def test_reports_of_before_transmissions_were_kept_can_be_read():
    report = report_of(ALL)
    record = report.rows[0].as_record()
    del record["transmission_bits"], record["transmission_words"]
    row = torch_ebpc.LayerRow(**record)
    assert row.ratio("ebpc") == report.rows[0].ratio("ebpc")
    assert row.transmission_ratios("ebpc") == []


@pytest.mark.parametrize("transmission", ["image", "channel", "tensor"])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (5,), (), (2, 3, 4), (0,)])
def test_transmissions_of_any_shape_add_up(shape, transmission):
    model = nn.Sequential(nn.ReLU())
    with CompressionMeter(model, transmission=transmission, verify=True, mode="insert") as meter:
        model(torch.ones(shape))
    (row,) = meter.report().rows
    assert sum(row.transmission_words) == row.values == torch.ones(shape).numel()
    for method, bits in row.transmission_bits.items():
        assert sum(bits) == row.bits_after(method)
        assert len(bits) == len(row.transmission_words)


def test_a_row_takes_eight_bytes_for_each_transmission_and_method():
    row = report_of(ALL).rows[0]
    assert row.transmission_words.itemsize == 8
    assert all(bits.itemsize == 8 for bits in row.transmission_bits.values())


# ---- Merging -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [(0, 2, 5), (0, 1, 3, 5), (0, 5)])
def test_merged_parts_are_the_whole(cuts):
    whole = report_of(ALL)
    parts = [report_of(ALL[begin:end]) for begin, end in itertools.pairwise(cuts)]
    kept = copy.deepcopy(parts)
    merged = Report.merge(parts)
    assert merged.rows == whole.rows
    assert merged.methods == whole.methods
    assert merged.table() == whole.table()
    assert parts == kept


def test_rows_that_only_one_report_has_are_kept():
    first, second = report_of(ALL, layers="1"), report_of(ALL, layers=nn.ReLU)
    first.never_called, second.never_called = ["2.relu", "nowhere"], ["nowhere"]
    merged = Report.merge([first, second])
    assert [row.name for row in merged.rows] == SMALL_CALLS
    assert [row.images for row in merged.rows] == [10, 5, 5, 5, 5]
    assert merged.never_called == ["nowhere"]


def test_provenance_that_differs_is_listed():
    first, second = report_of(ALL), report_of(ALL)
    first.provenance |= {"host": "a", "date": "now"}
    second.provenance |= {"host": "b", "date": "now", "more": 1}
    merged = Report.merge([first, second, second])
    assert merged.provenance["host"] == ["a", "b"]
    assert merged.provenance["date"] == "now"
    assert merged.provenance["more"] == 1


# ---- What the meter taps -------------------------------------------------------------------------


def test_the_meter_measures_functions():
    report = report_of(ALL, functions=[operator.iadd], verify=True)
    names = ["1#1", "2.relu#1", "2.add#1", "2.relu#2", "3.relu#1", "3.add#1", "3.relu#2"]
    assert [row.name for row in report.rows] == names


def test_functions_that_were_never_called_are_named():
    assert report_of(ALL, functions=[torch.add, torch.mul]).never_called == ["mul()"]


def test_the_meter_measures_inputs():
    report = report_of(ALL, layers=nn.Conv2d, of="inputs")
    assert report.rows[0].shape == (3, 12, 12)
    assert report.provenance["of"] == "inputs"


@pytest.mark.parametrize("of", ["outputs", "inputs"])
def test_inserted_tensors_train(of):
    network = small_network()
    with CompressionMeter(
        network,
        layers=nn.Conv2d,
        functions=[torch.add],
        of=of,
        quantizer=Quantizer(),
        verify=True,
        mode="insert",
    ):
        network(ALL).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_meter_measures_gradients():
    network = small_network()
    with CompressionMeter(
        network, of="gradients", mode="observe", quantizer=Quantizer(16), verify=True
    ) as meter:
        network(ALL).sum().backward()
    report = meter.report()
    assert sorted(row.name for row in report.rows) == sorted(SMALL_CALLS)
    assert all(row.verified_values == row.values for row in report.rows)
