"""Fixed-point words: exactly what the docstring says, and nothing in silence."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from helpers import about
from hypothesis import given
from hypothesis import strategies as st

import torch_ebpc
from torch_ebpc import CompressionMeter, FloatCast, Quantizer
from torch_ebpc.errors import translated


def quantized(quantizer, *values, scale=1.0):
    return quantizer.quantize(torch.tensor(values), scale).tolist()


# ---- Words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bits", "signed", "dtype", "low", "high"),
    [
        (2, True, torch.int8, -2, 1),
        (8, True, torch.int8, -128, 127),
        (8, False, torch.uint8, 0, 255),
        (9, True, torch.int16, -256, 255),
        (9, False, torch.uint16, 0, 511),
        (16, True, torch.int16, -32768, 32767),
        (16, False, torch.uint16, 0, 65535),
    ],
)
def test_words_fill_their_range_and_saturate(bits, signed, dtype, low, high):
    quantizer = Quantizer(bits=bits, signed=signed)
    assert (quantizer.smallest_word, quantizer.largest_word) == (low, high)
    assert quantizer.dtype == dtype
    words = quantizer.quantize(torch.tensor([0.0, low, high, high + 1.0, 1e9]), 1.0)
    assert words.dtype == dtype
    assert words.tolist() == [0, low, high, high, high]
    if signed:
        assert quantized(quantizer, -1e9) == [low]


def test_nearest_rounds_ties_to_even():
    assert quantized(Quantizer(), 0.5, 1.5, 2.5, -0.5, -1.5, 0.51, 2.49) == [0, 2, 2, 0, -2, 1, 2]


def test_truncate_goes_towards_zero():
    truncate = Quantizer(rounding="truncate")
    assert quantized(truncate, 0.99, 1.5, 2.999, -0.99, -1.5) == [0, 1, 2, 0, -1]


def test_a_scale_divides():
    assert quantized(Quantizer(), 1.0, 0.25, -0.5, scale=0.25) == [4, 1, -2]


@pytest.mark.parametrize(
    ("quantizer", "largest"),
    [
        (Quantizer(bits=8), 127),
        (Quantizer(bits=8, signed=False), 255),
        (Quantizer(bits=8, headroom=0.75), 95.25),
        (Quantizer(bits=12, headroom=0.8), 2047 * 0.8),
    ],
)
def test_the_largest_magnitude_comes_to_headroom_of_the_range(quantizer, largest):
    scale = quantizer.scale_for(3.7)
    assert 3.7 / scale == pytest.approx(largest)
    assert quantized(quantizer, 3.7, scale=scale) == [round(largest)]


def test_a_map_of_zeros_has_a_scale_all_the_same():
    assert Quantizer().scale_for(0.0) == 1.0
    assert quantized(Quantizer(), 0.0, scale=Quantizer().scale_for(0.0)) == [0]


def test_a_given_scale_is_the_scale():
    assert Quantizer(scale=0.125).scale_for(99.0) == 0.125


def test_a_map_of_subnormals_is_finite():
    quantizer = Quantizer()
    scale = quantizer.scale_for(1e-45)
    assert quantized(quantizer, 1e-45, 0.0, scale=scale) == [0, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_floating_dtype_is_taken_and_given_back(dtype):
    x = torch.tensor([[0.0, 0.5], [-1.0, 1.0]], dtype=dtype)
    quantizer = Quantizer(bits=4, headroom=1.0)
    words = quantizer.quantize(x, 0.25)
    assert words.tolist() == [[0, 2], [-4, 4]]
    back = quantizer.dequantize(words, 0.25, dtype)
    assert back.dtype == dtype
    assert torch.equal(back, x)


@given(
    st.integers(2, 16),
    st.booleans(),
    st.sampled_from(["nearest", "truncate"]),
    st.lists(st.floats(0, 2.0**100, width=32), min_size=1, max_size=50),
)
def test_the_error_is_at_most_a_step_and_never_more_than_half_by_rounding(
    bits, signed, rounding, values
):
    quantizer = Quantizer(bits=bits, signed=signed, rounding=rounding)
    x = torch.tensor(values, dtype=torch.float32)
    scale = quantizer.scale_for(x.max().item())
    words = quantizer.quantize(x, scale)
    assert quantizer.smallest_word <= min(words.tolist())
    assert max(words.tolist()) <= quantizer.largest_word
    error = (words.double() * scale - x.double()).abs().max().item()
    assert error <= scale * (0.501 if rounding == "nearest" else 1.001)


def test_the_input_is_not_changed_and_the_words_carry_no_graph():
    x = torch.tensor([0.4, 300.0], requires_grad=True)
    before = x.detach().clone()
    words = Quantizer().quantize(x, 1.0)
    assert not words.requires_grad
    assert torch.equal(x.detach(), before)


def test_an_empty_map_is_quantized():
    assert Quantizer().quantize(torch.empty(0, 3), 1.0).shape == (0, 3)


# ---- Affine --------------------------------------------------------------------------------------

AFFINE = Quantizer(affine=True)


@pytest.mark.parametrize(
    ("quantizer", "smallest", "largest", "scale", "zero_point"),
    [
        (AFFINE, 0.0, 255.0, 1.0, -128),
        (AFFINE, 3.0, 255.0, 1.0, -128),  # 0 is always within the range
        (AFFINE, -255.0, -3.0, 1.0, 127),
        (AFFINE, -127.5, 127.5, 1.0, 0),  # the tie goes to the even -128
        (AFFINE, -100.0, 155.0, 1.0, -28),
        (AFFINE, 0.0, 0.0, 1.0, -128),
        (Quantizer(affine=True, signed=False), -100.0, 155.0, 1.0, 100),
        (Quantizer(4, affine=True), -5.0, 10.0, 1.0, -3),
        (Quantizer(16, affine=True), 0.0, 65535.0, 1.0, -32768),
        (Quantizer(affine=True, headroom=0.5), -100.0, 155.0, 2.0, -78),
        (Quantizer(), -127.0, 3.0, 1.0, 0),
        (Quantizer(scale=0.25), -127.0, 3.0, 0.25, 0),
    ],
)
def test_the_range_comes_to_the_ends_of_the_words(quantizer, smallest, largest, scale, zero_point):
    assert quantizer.parameters_for(smallest, largest) == (scale, zero_point)


@pytest.mark.filterwarnings("ignore:.*deprecated")
@pytest.mark.parametrize("signed", [True, False])
@given(st.floats(-1e3, 1e3, width=32), st.floats(-1e3, 1e3, width=32))
def test_affine_words_are_those_of_pytorchs_observers(signed, one, other):
    dtype = torch.qint8 if signed else torch.quint8
    x = torch.linspace(min(one, other), max(one, other), 50)
    observer = torch.ao.quantization.MinMaxObserver(dtype, eps=1e-30)
    observer(x)
    scale, zero_point = (each.item() for each in observer.calculate_qparams())
    quantizer = Quantizer(affine=True, signed=signed)
    found = quantizer.parameters_for(x.min().item(), x.max().item())
    if x.any():
        assert found == (pytest.approx(scale, rel=1e-6), pytest.approx(zero_point, abs=1))
    words = quantizer.quantize(x, scale, zero_point=zero_point)
    expected = torch.quantize_per_tensor(x, scale, zero_point, dtype).int_repr()
    assert (words.int() - expected.int()).abs().max() <= 1  # which multiplies by 1 / scale
    # At the ends, by rounding.
    assert quantizer.quantize_and_count(x, scale, zero_point)[1] <= 2


def test_affine_words_saturate_and_come_back():
    x = torch.tensor([-3.0, -1.0, 0.0, 1.0, 99.0, 100.0])
    words, saturated = AFFINE.quantize_and_count(x, 1.0, zero_point=28)
    assert (words.tolist(), saturated) == ([25, 27, 28, 29, 127, 127], 1)
    assert AFFINE.dequantize(words, 1.0, torch.float32, 28).tolist() == [-3, -1, 0, 1, 99, 99]
    assert quantized(Quantizer(affine=True, signed=False), -3.0, 2.0) == [0, 2]


def test_affine_truncation_goes_towards_the_zero_point():
    truncate = Quantizer(affine=True, rounding="truncate")
    x = torch.tensor([-1.9, -0.9, 0.9, 1.9])
    assert truncate.quantize(x, 1.0, zero_point=5).tolist() == [4, 5, 5, 6]
    assert truncate.quantize(x, 1.0, zero_point=-5).tolist() == [-6, -5, -5, -4]


@pytest.mark.parametrize("bound", [float("inf"), float("nan")])
def test_a_range_that_is_not_finite_is_refused(bound):
    for quantizer in (Quantizer(), AFFINE):
        with pytest.raises(ValueError, match=about("x")):
            quantizer.parameters_for(-bound, 1.0)


# ---- Errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match=about("x")):
        Quantizer().quantize(torch.tensor([1.0, value]), 1.0)


@pytest.mark.parametrize("arguments", [{"bits": 1}, {"scale": float("nan")}, {"headroom": 0.0}])
def test_arguments_at_the_edge_are_refused(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=about(name)):
        Quantizer(**arguments)


def test_bits_are_no_bool():
    with pytest.raises(TypeError, match=about("bits")):
        Quantizer(bits=True)


def test_a_quantizer_is_a_value():
    quantizer = Quantizer(bits=4, headroom=0.75)
    assert quantizer == Quantizer(4, True, "nearest", "batch", 0.75)
    with pytest.raises(dataclasses.FrozenInstanceError):
        quantizer.bits = 8


def test_a_float_cast_has_the_bits_of_its_dtype():
    assert FloatCast(torch.float16).bits == FloatCast(torch.bfloat16).bits == 16
    assert FloatCast(torch.float32).bits == 32
    assert FloatCast(torch.float8_e4m3fn).bits == 8


def test_values_that_saturate_are_counted():
    quantizer = Quantizer(bits=4, scale=1.0)
    x = torch.tensor([7.4, 7.6, -8.4, -8.6, 100.0])
    assert quantizer.quantize_and_count(x, 1.0)[1] == 3
    assert Quantizer(bits=4, rounding="truncate").quantize_and_count(x, 1.0)[1] == 1
    assert quantizer.quantize_and_count(x[:1], 1.0)[1] == 0


@pytest.mark.parametrize("scale", [1e-50, 1e-40, 1e39])
def test_a_scale_that_float32_cannot_divide_by_is_refused(scale):
    with pytest.raises(ValueError, match=about("scale")):
        Quantizer(scale=scale)


def test_words_lie_in_memory_as_the_values_do_but_without_gaps():
    x = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    expected = Quantizer().quantize(x.contiguous(), 0.01)
    words = Quantizer().quantize(x, 0.01)
    assert words.stride() == x.stride()
    assert torch.equal(words, expected)
    for gapped in (x[:, :, 1:, ::2], x[:, :1].expand(2, 4, 4, 5), x.flip(3).mT):
        words = Quantizer().quantize(gapped, 0.01)
        assert torch.equal(words, Quantizer().quantize(gapped.contiguous(), 0.01))


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({"scale": 0.0}, ValueError, "scale"),
        ({"scale": 1e300}, ValueError, "scale"),
        ({"word_bits": 9}, ValueError, "word_bits"),
        ({"zero_point": 128}, ValueError, "zero"),
        ({"words": torch.zeros(4, dtype=torch.bool)}, TypeError, "x"),
        ({"x": torch.zeros(4, dtype=torch.float64)}, TypeError, "x"),
        ({"words": torch.zeros(8).char()[::2]}, ValueError, "words"),
    ],
)
def test_the_operator_names_what_is_wrong(arguments, error, name):
    given = {"x": torch.zeros(4), "words": torch.zeros(4, dtype=torch.int8), "scale": 1.0}
    with pytest.raises(error, match=about(name)), translated():
        torch.ops.torch_ebpc.quantize(**given | arguments)


@pytest.mark.parametrize("x", [torch.ones(3, dtype=torch.complex64), torch.ones(3).int(), [1.0]])
def test_what_is_no_floating_point_tensor_is_refused(x):
    with pytest.raises(TypeError, match=about("x")):
        Quantizer().quantize(x, 1.0)


FLOAT8 = [
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, *FLOAT8])
def test_a_cast_counts_the_finite_values_that_are_beyond_its_range(dtype):
    largest = torch.finfo(dtype).max
    x = torch.tensor([largest, largest * 1.5, -2.0 * largest, 1.0], dtype=torch.float64)
    more = torch.tensor([float("inf"), float("nan")], dtype=torch.float64)
    cast = FloatCast(dtype)
    assert cast.overflows(x) == cast.overflows(torch.cat([x, more])) == 2
    assert cast.overflows(x[:1]) == cast.overflows(x.to(dtype)) == cast.overflows(x[:0]) == 0


@pytest.mark.parametrize("dtype", [torch.float16, *FLOAT8])
def test_what_is_rounded_to_the_largest_value_is_no_overflow(dtype):
    limits = torch.finfo(dtype)
    step = limits.eps * 2.0 ** int(math.log2(limits.max))
    x = torch.tensor([limits.max + share * step for share in (0.49, 0.51)], dtype=torch.float64)
    assert FloatCast(dtype).overflows(x) == 1
    assert FloatCast(dtype).cast(x)[0].double() == limits.max


@pytest.mark.parametrize("dtype", FLOAT8)
def test_float8_words_are_measured(dtype):
    x = torch.tensor([[0.0, -0.0, 1.0, -2.0, 3.0]])
    model = torch.nn.Identity()
    cast = FloatCast(dtype, negative_zero="zero")
    with CompressionMeter(model, torch.nn.Identity, quantizer=cast, mode="insert") as meter:
        assert torch.equal(model(x), x)
    (row,) = meter.report().rows
    assert (row.word_bits, row.zeros, row.negative_zeros) == (8, 2, 0)
    assert row.bits_after("ebpc") == torch_ebpc.count_bits(x.abs().copysign(x + 0.0).to(dtype))


def test_a_cast_may_make_negative_zeros_zeros():
    x = torch.tensor([-0.0, 0.0, -1.0, float("nan"), -1e-9])
    kept = FloatCast(torch.float16).cast(x)
    assert kept.signbit().tolist() == [True, False, True, False, True]  # -1e-9 becomes -0.0
    zero = FloatCast(torch.float16, negative_zero="zero").cast(x)
    assert zero.signbit().tolist() == [False, False, True, False, False]
    assert zero[2:3].equal(kept[2:3])
