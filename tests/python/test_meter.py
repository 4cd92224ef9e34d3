"""What the meter measures, and what it inserts."""

from __future__ import annotations

import pytest
import torch
from helpers import (
    SMALL_CALLS,
    InPlaceAfter,
    Residual,
    about,
    assert_same_bits,
    bits_of,
    images,
    metered,
    small_network,
)
from torch import nn

import torch_ebpc
from torch_ebpc import CompressionMeter, FloatCast, Quantizer


def run(model, x, **arguments):
    return metered(model, x, **{"mode": "insert"} | arguments)


# ---- Inserted and observed -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["insert", "observe"])
@pytest.mark.parametrize("model", [small_network(), InPlaceAfter()])
def test_without_a_quantizer_the_output_is_bit_equal(model, mode):
    with torch.no_grad():
        expected = model(images())
    y, _ = run(model, images(), mode=mode, verify=True)
    assert_same_bits(y, expected)


def test_in_half_precision_too(network):
    network = network.bfloat16()
    with torch.no_grad():
        expected = network(images().bfloat16())
    y, report = run(network, images().bfloat16(), verify=True)
    assert_same_bits(y, expected)
    assert {row.word_bits for row in report.rows} == {16}


def test_the_next_layer_runs_on_what_the_decoder_returned(network, monkeypatch):
    with torch.no_grad():
        plain = network(images())
    monkeypatch.setattr(torch_ebpc.ops, "decompress", lambda packed, **_: torch.zeros(2, 4, 10, 10))
    y, _ = run(network, images(), mode="insert")
    assert torch.equal(y, network[6].bias.expand(2, 5))
    y, _ = run(network, images(), mode="observe")
    assert_same_bits(y, plain)


def test_with_a_quantizer_the_model_runs_on_the_dequantized_values():
    relu = nn.Sequential(nn.ReLU())
    x = torch.tensor([[0.0, 0.26, 0.5, 1.0, -3.0]])
    y, report = run(relu, x, quantizer=Quantizer(bits=3))  # words 0 to 3, a step of 1 / 3
    assert torch.allclose(y, torch.tensor([[0.0, 1 / 3, 2 / 3, 1.0, 0.0]]))
    assert y.dtype == x.dtype
    assert report.rows[0].word_bits == 3
    y, _ = run(relu, x, quantizer=Quantizer(bits=3), mode="observe")
    assert_same_bits(y, torch.relu(x))


def test_with_a_float_cast_the_model_runs_on_the_rounded_floats():
    x = torch.rand(2, 9)
    y, report = run(nn.Sequential(nn.ReLU()), x, quantizer=FloatCast(torch.bfloat16))
    assert_same_bits(y, x.bfloat16().float())
    assert report.rows[0].word_bits == 16


@pytest.mark.parametrize("quantizer", [None, Quantizer(bits=8)])
@pytest.mark.parametrize("layers", [nn.ReLU, nn.Conv2d])  # in-place steps follow the latter
def test_gradients_pass_through_inserted_layers(layers, quantizer):
    model = small_network()

    def gradients():
        model.zero_grad()
        x = images().requires_grad_()
        model(x).square().sum().backward()
        return [x.grad, *(p.grad for p in model.parameters())]

    expected = gradients()
    with CompressionMeter(model, layers, quantizer=quantizer, mode="insert"):
        found = gradients()
    for gradient, plain in zip(found, expected, strict=True):
        if quantizer is None:
            assert torch.equal(gradient, plain)
        else:  # the forward values differ by the quantization
            assert torch.allclose(gradient, plain, rtol=0.2, atol=0.2 * plain.abs().max())
            assert gradient.abs().sum() > 0


# ---- What is counted -----------------------------------------------------------------------------


def test_one_row_for_each_call_in_the_order_of_calls(network):
    _, report = run(network, images())
    assert [row.name for row in report.rows] == SMALL_CALLS
    assert [row.layer for row in report.rows] == [name.split("#")[0] for name in SMALL_CALLS]
    assert [row.call for row in report.rows] == [1, 1, 2, 1, 2]
    assert {row.shape for row in report.rows} == {(4, 10, 10)}
    assert {row.values for row in report.rows} == {2 * 400}
    assert {row.images for row in report.rows} == {2}


@pytest.mark.parametrize("quantizer", [None, Quantizer(bits=6, headroom=0.75)])
def test_bits_are_those_of_each_image_counted_alone(quantizer):
    x = torch.randn(3, 4, 5, 6).relu()
    words = x if quantizer is None else quantizer.quantize(x, quantizer.scale_for(x.max().item()))
    width = None if quantizer is None else quantizer.bits
    methods = ("ebpc", "bpc", "zvc", "zero_rle", "csc", "none")
    code = {"block_size": 16, "max_zero_run": 32, "base": "reused"}
    for transmission, parts in [
        ("image", list(words)),
        ("tensor", [words]),
        ("channel", list(words.flatten(0, 1))),
    ]:
        _, report = run(
            nn.Sequential(nn.ReLU()),
            x,
            quantizer=quantizer,
            methods=methods,
            transmission=transmission,
            **code,
        )
        (row,) = report.rows
        for method in methods:
            expected = sum(torch_ebpc.count_bits(each, method, width, **code) for each in parts)
            assert row.bits_after(method) == expected, (transmission, method)
        assert row.zeros == int((bits_of(words) == 0).sum())
        assert row.values == x.numel()
        assert row.bits_before == x.numel() * (width or 32)


def test_container_bytes_are_those_of_the_packed_map():
    x = torch.randn(3, 4, 5).relu()
    _, report = run(nn.Sequential(nn.ReLU()), x)
    (row,) = report.rows
    assert row.container_bytes == torch_ebpc.compress(x).numel()
    assert row.container_values == x.numel()
    assert row.encode_seconds > 0
    assert row.decode_seconds > 0
    _, report = run(nn.Sequential(nn.ReLU()), x, mode="observe")
    assert report.rows[0].container_bytes == 0
    assert report.rows[0].container_ratio is None


def test_batches_accumulate_into_the_sums_over_all_images(network):
    with CompressionMeter(network, mode="insert") as meter, torch.no_grad():
        network(images(5)[:2])
        after_first = meter.report()
        network(images(5)[2:])
    _, at_once = run(network, images(5))
    for row, expected, first in zip(
        meter.report().rows, at_once.rows, after_first.rows, strict=True
    ):
        assert row.name == expected.name
        assert (row.images, row.values) == (5, expected.values)
        assert first.images == 2  # a report is a copy
        # Floats by bit pattern: batching may change the last bits of a convolution.
        assert row.bits_after("zvc") == pytest.approx(expected.bits_after("zvc"), rel=0.01)
        assert row.bits_after("zvc") > first.bits_after("zvc")


def test_a_fixed_scale_makes_batches_and_single_images_count_the_same():
    model = nn.Sequential(nn.ReLU())
    x = images(4)
    for quantizer in (Quantizer(scale=0.05), None):
        with CompressionMeter(model, quantizer=quantizer, mode="insert") as meter:
            for each in x.split(1):
                model(each)
        _, at_once = run(model, x, quantizer=quantizer)
        (row,), (expected,) = meter.report().rows, at_once.rows
        assert row.position_bits == expected.position_bits
        assert row.value_bits == expected.value_bits
        assert row.zeros == expected.zeros


def test_a_meter_may_be_entered_again_and_goes_on_counting(network):
    meter = CompressionMeter(network, mode="insert")
    for images_so_far in (2, 4):
        with meter, torch.no_grad():
            network(images())
        assert {row.images for row in meter.report().rows} == {images_so_far}
        assert [row.name for row in meter.report().rows] == SMALL_CALLS


# ---- Calibration ---------------------------------------------------------------------------------


def test_calibration_takes_the_range_of_every_call(network):
    quantizer = Quantizer(scale="calibrated")
    with torch.no_grad():
        plain = network[1](network[0](images()))
    with CompressionMeter(network, quantizer=quantizer, mode="insert") as meter, torch.no_grad():
        with meter.calibrate():
            network(images())
            network(0.5 * images())
        assert list(meter.calibration) == SMALL_CALLS
        assert meter.calibration["1#1"] == (plain.min().item(), plain.max().item())
        assert not meter.report().rows  # nothing was measured
        network(images())
    assert [row.name for row in meter.report().rows] == SMALL_CALLS


def test_calibrating_does_not_touch_the_model(network):
    with torch.no_grad():
        expected = network(images())
        with (
            CompressionMeter(network, quantizer=Quantizer(bits=2), mode="insert") as meter,
            meter.calibrate(),
        ):
            assert_same_bits(network(images()), expected)


def test_calibration_makes_results_independent_of_the_batch_size():
    model = nn.Sequential(nn.ReLU())
    x = images(4) * torch.tensor([1.0, 0.1, 3.0, 0.5]).reshape(4, 1, 1, 1)
    with CompressionMeter(
        model, quantizer=Quantizer(scale="calibrated"), mode="insert"
    ) as one_by_one:
        with one_by_one.calibrate():
            model(x)
        for each in x.split(1):
            model(each)
    other = CompressionMeter(model, quantizer=Quantizer(scale="calibrated"), mode="insert")
    other.calibration = one_by_one.calibration
    with other:
        model(x)
    assert other.report().rows[0].value_bits == one_by_one.report().rows[0].value_bits


def test_measuring_without_calibration_is_an_error_that_names_the_call(network):
    with (
        CompressionMeter(network, quantizer=Quantizer(scale="calibrated"), mode="insert"),
        pytest.raises(ValueError, match=about("1#1")),
    ):
        network(images())


# ---- Selection -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (nn.ReLU, SMALL_CALLS),
        ("2.relu", ["2.relu#1", "2.relu#2"]),
        (["1", "3.relu"], ["1#1", "3.relu#1", "3.relu#2"]),
        ([nn.AdaptiveAvgPool2d, nn.Linear], ["4#1", "6#1"]),
        ((Residual, "1"), ["1#1", "2#1", "3#1"]),
        (lambda name, module: name.endswith("conv1"), ["2.conv1#1", "3.conv1#1"]),
        (lambda name, module: isinstance(module, nn.Flatten), ["5#1"]),
        ("", ["#1"]),  # the whole model
    ],
)
def test_layers_by_type_name_list_and_predicate(network, layers, expected):
    _, report = run(network, images(), layers=layers)
    assert [row.name for row in report.rows] == expected
    assert report.never_called == []


def test_layers_that_were_never_called_are_named(network):
    network.add_module("unused", nn.ReLU())
    with CompressionMeter(network, mode="insert") as meter:
        network[2](torch.randn(1, 4, 5, 5))
    assert meter.report().never_called == ["1", "3.relu", "unused"]
    assert "never called: 1, 3.relu, unused" in repr(meter.report())
