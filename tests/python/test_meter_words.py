"""The integers that hardware would hold, where a layer's output is not these itself."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import pytest
import torch
from helpers import Passing, about, metered
from torch import Tensor, nn

import torch_ebpc
from torch_ebpc import CompressionMeter, Quantizer


class Quantized(NamedTuple):
    """As the named tuples of quantization libraries."""

    value: Tensor
    scale: Tensor
    bit_width: Tensor

    def int(self) -> Tensor:
        return (self.value / self.scale).round().to(torch.uint8)


class QuantReLU(nn.Module):
    def __init__(self, bits: float = 4.0) -> None:
        super().__init__()
        self.act_quant = nn.ReLU()
        self.bits = bits

    def forward(self, x: Tensor) -> Quantized:
        value = self.act_quant(x).mul(4).round().clamp(0, 15).div(4)
        return Quantized(value, torch.tensor(0.25), torch.tensor(self.bits))


def report_of(model, x, **arguments):
    arguments = {"words": lambda y: y.int(), "word_bits": lambda y: y.bit_width} | arguments
    return metered(model, x, QuantReLU, **arguments)[1]


def test_the_words_of_a_named_tuple_are_measured_with_their_width():
    model = nn.Sequential(QuantReLU())
    x = torch.randn(2, 3, 40)
    report = report_of(model, x, verify=True)
    (row,) = report.rows
    words = model(x).int()
    assert (row.name, row.word_bits, row.dtype, row.shape) == ("0#1", 4, "uint8", (3, 40))
    assert row.bits_after("ebpc") == sum(torch_ebpc.count_bits(each, "ebpc", 4) for each in words)
    assert row.verified_values == words.numel()
    assert report_of(model, x, word_bits=None).rows[0].word_bits == 8
    assert report_of(model, x, word_bits=5).rows[0].word_bits == 5


def test_layers_of_different_widths_stand_in_one_table():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = QuantReLU(4.0), QuantReLU(6.0)

        def forward(self, x: Tensor) -> Quantized:
            return self.b(self.a(x).value)

    report = report_of(Two(), torch.randn(2, 40))
    assert [row.word_bits for row in report.rows] == [4, 6]
    assert "ratios against 4, 6-bit words" in repr(report)


def test_words_of_a_dtype_without_a_code_are_left_out():
    report = report_of(
        nn.Sequential(QuantReLU()),
        torch.rand(2, 3),
        words=lambda y: y.int().to(torch.uint8).view(torch.bits8),
    )
    assert report.left_out == {"0#1": "of dtype bits8"}


def test_a_relu_inside_of_a_quantizing_layer_is_warned_of(monkeypatch):
    model = nn.Sequential(nn.ReLU(), QuantReLU())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CompressionMeter(model, mode="insert")
    monkeypatch.setattr(QuantReLU, "__module__", "brevitas.nn.quant_activation")
    with pytest.warns(UserWarning, match=about("1.act_quant: of Brevitas")):
        CompressionMeter(model, mode="insert")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CompressionMeter(model, QuantReLU, words=lambda y: y.int(), mode="observe")


# ---- Order ---------------------------------------------------------------------------------------


def measured(x, **arguments):
    """Row and output of a module that returns what it gets."""
    y, report = metered(nn.Sequential(Passing()), x, Passing, **arguments)
    (row,) = report.rows
    return row, y, report


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("mode", ["insert", "observe"])
def test_in_the_order_nhwc_the_permuted_words_are_coded(mode, channels_last):
    x = torch.randn(2, 5, 6, 7).relu()
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    row, y, report = measured(x, order="nhwc", mode=mode, verify=True, methods=("ebpc", "zvc"))
    permuted = x.permute(0, 2, 3, 1).contiguous()
    assert row.bits_after("ebpc") == sum(torch_ebpc.count_bits(each) for each in permuted)
    assert row.bits_after("ebpc") != sum(torch_ebpc.count_bits(each) for each in x)
    assert (row.shape, row.images, row.verified_values) == ((5, 6, 7), 2, x.numel())
    assert row.bits_after("zvc") == measured(x, methods=("zvc",))[0].bits_after("zvc")
    assert torch.equal(x, y)
    assert x.stride() == y.stride()
    assert "32-bit words in the order NHWC" in repr(report)
    assert report.provenance["order"] == "nhwc"


def test_in_the_order_nhwc_quantized_maps_come_back_in_their_own():
    x = torch.randn(2, 3, 4, 5)
    quantizer = Quantizer(affine=True)
    assert torch.equal(
        measured(x, order="nhwc", quantizer=quantizer, mode="insert")[1],
        measured(x, quantizer=quantizer, mode="insert")[1],
    )


@pytest.mark.parametrize("shape", [(), (40,), (4, 10), (2, 5, 6), (2, 3, 4, 5, 6)])
def test_only_maps_of_four_dimensions_have_another_order(shape):
    x = torch.randn(shape)
    bits = [measured(x, order=order)[0].bits_after("ebpc") for order in ("nchw", "nhwc")]
    assert bits[0] == bits[1]


# ---- Zero points ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["insert", "observe"])
def test_an_affine_quantizer_says_the_zero_word(mode):
    x = torch.randn(2, 3, 20, 20).relu() - 0.25
    x[0, 0] = 0
    row, y, report = measured(x, quantizer=Quantizer(affine=True), mode=mode, verify=True)
    scale, zero_point = Quantizer(affine=True).parameters_for(x.min().item(), x.max().item())
    words = ((x / scale).round() + zero_point).to(torch.int8)
    assert -128 < row.zero == zero_point < 0
    assert row.zeros == (words == zero_point).sum() > 400
    assert row.bits_after("ebpc") == sum(
        torch_ebpc.count_bits(each, zero=zero_point) for each in words
    )
    assert f"zero points, the words that are zeros: 0#1 {zero_point}" in repr(report)
    assert (y - x).abs().max() <= (0.5001 * scale if mode == "insert" else 0)


def test_relu_maps_come_to_the_same_bits_whatever_the_zero_point():
    x = torch.randn(2, 8, 30, 30).relu()
    unsigned, signed, affine = (
        measured(x, quantizer=quantizer)[0]
        for quantizer in (
            Quantizer(signed=False),
            Quantizer(affine=True),
            Quantizer(signed=False, affine=True),
        )
    )
    assert (unsigned.zero, signed.zero, affine.zero) == (0, -128, 0)
    assert unsigned.zeros == signed.zeros == affine.zeros
    assert unsigned.bits_after("ebpc") == affine.bits_after("ebpc")
    assert signed.ratio("ebpc") == pytest.approx(affine.ratio("ebpc"), rel=0.001)


def test_a_zero_point_that_varies_is_said_to():
    model = nn.Sequential(Passing())
    with CompressionMeter(model, Passing, quantizer=Quantizer(affine=True), mode="insert") as meter:
        model(torch.tensor([-1.0, 1.0, 0.0]))
        model(torch.tensor([0.0, 1.0, 0.0]))
    assert meter.report().rows[0].zero is None
    assert meter.report().rows[0].zeros == 3
    assert "0#1 varies" in repr(meter.report())


def test_calibration_gives_every_batch_the_same_zero_point():
    model = nn.Sequential(Passing())
    quantizer = Quantizer(affine=True, scale="calibrated")
    with CompressionMeter(model, Passing, quantizer=quantizer, mode="insert") as meter:
        with meter.calibrate():
            model(torch.tensor([-1.0, 1.0]))
            model(torch.tensor([0.0, 3.0]))
        model(torch.tensor([0.0, 1.0]))
        model(torch.tensor([-9.0, 1.0]))
    (row,) = meter.report().rows
    assert meter.calibration == {"0#1": (-1.0, 3.0)}
    assert (row.zero, row.overflows) == (-64, 1)
