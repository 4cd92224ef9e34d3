"""The integers that hardware would hold, where a layer's output is not these itself."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import pytest
import torch
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
    with CompressionMeter(model, QuantReLU, mode="observe", **arguments) as meter:
        model(x)
    return meter.report()


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


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"words": lambda y: y.value}, TypeError, r"^0#1: words must return an integer .*float32"),
        ({"words": lambda y: 3}, TypeError, r"^0#1: words must return an integer tensor, got int"),
        ({"words": lambda y: y.ints()}, TypeError, r"^0#1: words .* a Quantized, .*AttributeError"),
        ({"word_bits": lambda y: y.nothing}, TypeError, r"^0#1: word_bits .*AttributeError"),
        ({"word_bits": lambda y: 4.5}, ValueError, r"^0#1: word_bits .* whole number, got 4\.5"),
        ({"word_bits": lambda y: "4x"}, TypeError, r"^0#1: word_bits .* whole number, got '4x'"),
        ({"word_bits": 1}, ValueError, r"^0#1: word_bits must be from 2"),
        ({"word_bits": 2}, ValueError, r"^0#1: every value must fit into word_bits = 2"),
    ],
)
def test_wrong_words_are_errors_that_name_the_layer(arguments, error, message):
    with pytest.raises(error, match=message):
        report_of(nn.Sequential(QuantReLU()), 10 * torch.rand(2, 30), **arguments)


def test_words_of_a_dtype_without_a_code_are_left_out():
    report = report_of(
        nn.Sequential(QuantReLU()),
        torch.rand(2, 3),
        words=lambda y: y.int().to(torch.uint8).view(torch.bits8),
    )
    assert report.left_out == {"0#1": "of dtype bits8"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"words": 3}, TypeError, "words must be callable, got int"),
        ({"word_bits": 4}, ValueError, "word_bits must be None without words"),
        ({"words": Tensor.int, "mode": "insert"}, ValueError, "words must be None except .*insert"),
        ({"words": Tensor.int, "of": "inputs"}, ValueError, "words must be None except .*inputs"),
        ({"words": Tensor.int, "quantizer": Quantizer()}, ValueError, "words must be None except"),
    ],
)
def test_words_go_with_observed_outputs_alone(arguments, error, message):
    with pytest.raises(error, match=message):
        CompressionMeter(nn.Sequential(nn.ReLU()), **({"mode": "observe"} | arguments))


def test_a_relu_inside_of_a_quantizing_layer_is_warned_of(monkeypatch):
    model = nn.Sequential(nn.ReLU(), QuantReLU())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CompressionMeter(model)
    monkeypatch.setattr(QuantReLU, "__module__", "brevitas.nn.quant_activation")
    with pytest.warns(UserWarning, match=r"^1\.act_quant: of Brevitas, measured in floating point"):
        CompressionMeter(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CompressionMeter(model, QuantReLU, words=lambda y: y.int(), mode="observe")
