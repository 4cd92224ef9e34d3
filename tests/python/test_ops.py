"""What goes in comes out: the same dtype, shape, memory format and bits."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from helpers import (
    BASES,
    DTYPES,
    FLOATING,
    INTEGERS,
    METHODS,
    ROOT,
    SHAPES,
    assert_same_bits,
    bits_of,
    feature_map,
    from_patterns,
    special_values,
)
from hypothesis import given
from hypothesis import strategies as st

import torch_ebpc


def round_trip(x, **parameters):
    return torch_ebpc.decompress(torch_ebpc.compress(x, **parameters))


def streams_round_trip(x, **parameters):
    return torch_ebpc.decode(torch_ebpc.encode(x, **parameters))


both_ways = pytest.mark.parametrize("way", [round_trip, streams_round_trip])


# ---- Every dtype, shape and bit pattern --------------------------------------------------------


@both_ways
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_and_shape_comes_back(dtype, shape, way):
    x = feature_map(dtype, shape)
    assert_same_bits(way(x), x)


@both_ways
@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_nan_payloads_negative_zeros_subnormals_and_infinities_come_back(dtype, way):
    x = special_values(dtype)
    assert x.isnan().any()
    assert x.isinf().any()
    assert ((x == 0) & x.signbit()).any()
    assert ((x != 0) & (x.abs() < torch.finfo(dtype).smallest_normal)).any()
    assert_same_bits(way(x), x)


@both_ways
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.float16], ids=str)
def test_every_bit_pattern_of_narrow_dtypes_comes_back(dtype, way):
    x = from_patterns(list(range(1 << (8 * dtype.itemsize))), dtype)
    assert_same_bits(way(x), x)


def test_a_negative_zero_is_a_nonzero_word():
    assert torch_ebpc.count_bits(torch.tensor([-0.0]), "zvc") == 1 + 32
    assert torch_ebpc.count_bits(torch.tensor([0.0]), "zvc") == 1


parameters = st.fixed_dictionaries(
    {
        "block_size": st.integers(2, 64),
        "max_zero_run": st.integers(1, 16).map(lambda log2: 1 << log2),
        "base": st.sampled_from(BASES),
    }
)


@st.composite
def tensors(draw):
    """Any dtype, shape and words: runs of zeros and of equal, of near and of any bit patterns."""
    dtype = draw(st.sampled_from(DTYPES))
    top = (1 << (8 * dtype.itemsize)) - 1
    word = st.one_of(st.just(0), st.integers(0, 9), st.integers(0, top), st.just(top))
    runs = draw(st.lists(st.tuples(word, st.integers(1, 40)), max_size=30))
    x = from_patterns([pattern for pattern, length in runs for _ in range(length)], dtype)
    rows = draw(st.sampled_from([n for n in (1, 2, 3, 5) if x.numel() % n == 0]))
    return x.reshape(rows, -1) if x.numel() else x


@given(tensors(), parameters)
def test_any_tensor_comes_back_with_any_parameters(x, parameters):
    assert_same_bits(round_trip(x, **parameters), x)
    assert_same_bits(streams_round_trip(x, **parameters), x)


@given(tensors(), parameters, st.sampled_from(METHODS))
def test_every_method_encodes_into_the_bits_it_counts_and_decodes(x, parameters, method):
    streams = torch_ebpc.encode(x, method=method, **parameters)
    assert streams.bits == torch_ebpc.count_bits(x, method, **parameters)
    assert_same_bits(torch_ebpc.decode(streams), x)


@given(tensors(), parameters)
def test_statistics_add_up_to_the_streams(x, parameters):
    statistics = torch_ebpc.symbol_statistics(x, **parameters)
    streams = torch_ebpc.encode(x, **parameters)
    assert statistics.zero_bits == streams.zero_bits
    assert statistics.plane_bits == streams.plane_bits
    assert statistics.words == x.numel()
    assert statistics.zero_words == int((bits_of(x) == 0).sum())
    assert sum(statistics.planes.values()) == statistics.blocks * (8 * x.dtype.itemsize + 1)


@given(st.data(), parameters, st.sampled_from(INTEGERS))
def test_any_fixed_point_words_come_back(data, parameters, dtype):
    word_bits = data.draw(st.integers(2, 8 * dtype.itemsize))
    signed = dtype.is_signed
    low = -(1 << (word_bits - 1)) if signed else 0
    high = (1 << (word_bits - signed)) - 1
    values = data.draw(st.lists(st.integers(low, high), max_size=100))
    x = torch.tensor([*values, low, high], dtype=torch.int64).to(dtype)
    assert_same_bits(round_trip(x, word_bits=word_bits, **parameters), x)
    assert_same_bits(streams_round_trip(x, word_bits=word_bits, **parameters), x)
    assert torch_ebpc.inspect(torch_ebpc.compress(x, word_bits)).word_bits == word_bits


# ---- Strides and memory formats ----------------------------------------------------------------


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.transpose(0, 2),
        lambda x: x[:, ::2],
        lambda x: x[1:, 1:, 1:],
        lambda x: x.flip(0),
        lambda x: x[:1].expand(4, -1, -1),
        lambda x: x.as_strided((3, 4), (1, 2)),
    ],
)
def test_any_strides_come_back_contiguous(view):
    x = view(feature_map(torch.float32, (4, 5, 6)))
    y = round_trip(x)
    assert_same_bits(y, x)
    assert y.is_contiguous()
    assert torch.equal(torch_ebpc.compress(x), torch_ebpc.compress(x.contiguous()))
    assert_same_bits(streams_round_trip(x), x)


@pytest.mark.parametrize(
    ("shape", "memory_format"),
    [
        ((2, 3, 4, 5), torch.channels_last),
        ((2, 3, 4, 5, 6), torch.channels_last_3d),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_channels_last_comes_back_with_its_strides(dtype, shape, memory_format):
    x = feature_map(dtype, shape).contiguous(memory_format=memory_format)
    y = round_trip(x)
    assert_same_bits(y, x)
    assert y.stride() == x.stride()
    assert y.is_contiguous(memory_format=memory_format)
    # The words are in logical order, so only the header knows.
    packed, plain = torch_ebpc.compress(x), torch_ebpc.compress(x.contiguous())
    assert packed.numel() == plain.numel()
    assert torch_ebpc.inspect(packed).memory_format == str(memory_format).removeprefix("torch.")
    assert torch_ebpc.inspect(plain).memory_format == "contiguous"


def test_a_view_that_is_lazily_negated_comes_back():
    x = torch.randn(5, dtype=torch.complex64).conj().imag
    assert x.is_neg()
    assert_same_bits(round_trip(x), x.resolve_neg())


# ---- Counting and inspecting --------------------------------------------------------------------


@given(tensors(), parameters)
def test_counted_bits_are_those_that_encoding_gives(x, parameters):
    streams = torch_ebpc.encode(x, **parameters)
    assert torch_ebpc.count_bits(x, **parameters) == streams.bits
    assert streams.zero_stream.numel() == -(-streams.zero_bits // 8)
    assert streams.plane_stream.numel() == -(-streams.plane_bits // 8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dims", [0, 1, 2, 4])
def test_transmissions_counted_at_once_are_those_counted_alone(method, dims):
    x = feature_map(torch.int8, (3, 4, 5, 6))
    bits = torch_ebpc.count_transmission_bits(x, method, transmission_dims=dims)
    assert bits.shape == (*x.shape[:dims], 2)
    alone = [torch_ebpc.count_bits(each, method) for each in x.reshape(-1, *x.shape[dims:])]
    assert bits.sum(-1).flatten().tolist() == alone


def test_counting_takes_a_tensor_that_requires_grad():
    x = torch.rand(9)
    assert torch_ebpc.count_bits(x.requires_grad_()) == torch_ebpc.count_bits(x.detach())


def test_inspect_says_what_was_compressed():
    x = torch.zeros(3, 4096, dtype=torch.int16)
    x[1, ::3] = 7
    packed = torch_ebpc.compress(x, word_bits=12, block_size=16, max_zero_run=32, base="reused")
    info = torch_ebpc.inspect(packed)
    streams = [torch_ebpc.encode(row, 12, 16, 32, "reused") for row in x]
    assert dataclasses.asdict(info) == {
        "format_version": 1,
        "dtype": torch.int16,
        "memory_format": "contiguous",
        "shape": (3, 4096),
        "codec": "ebpc",
        "word_bits": 12,
        "block_size": 16,
        "max_zero_run": 32,
        "base": "reused",
        "zero": 0,
        "both_zeros": False,
        "words": 3 * 4096,
        "segment_words": 4096,
        "segments": 3,
        "raw_segments": 0,
        "raw_words": 0,
        "zero_stream_bits": sum(each.zero_bits for each in streams),
        "plane_stream_bits": sum(each.plane_bits for each in streams),
        "header_bytes": 48 + 2 * 8 + 3 * 8 + 4,
        "container_bytes": packed.numel(),
        "codings": ({"coding": "ebpc", "segments": 3, "words": 3 * 4096},),
    }
    assert info.stream_bits == sum(each.bits for each in streams)
    assert info.tensor_bytes == 2 * 3 * 4096
    assert info.ratio == info.tensor_bytes / packed.numel()


def test_noise_is_stored_raw_and_grows_by_little():
    x = torch.randint(-128, 128, (100_000,), dtype=torch.int8)
    packed = torch_ebpc.compress(x)
    info = torch_ebpc.inspect(packed)
    assert info.raw_segments == info.segments == 25
    assert info.raw_words == x.numel()
    assert packed.numel() <= 1.01 * x.numel() + 260
    assert_same_bits(torch_ebpc.decompress(packed), x)


# ---- Golden streams, threads ---------------------------------------------------------------------


@pytest.mark.parametrize("base", BASES)
def test_golden_streams_through_python(base):
    cases = json.loads((ROOT / "tests" / "golden" / "ebpc_streams.json").read_text())
    assert len(cases) == 253
    plane = "plane_stream" if base == "sent" else "plane_stream_reused_base"
    for case in cases:
        word_bits, signed = case["word_bits"], case["signed"]
        dtype = {
            (8, True): torch.int8,
            (8, False): torch.uint8,
            (16, True): torch.int16,
            (32, True): torch.int32,
        }[8 if word_bits <= 8 else 16 if word_bits <= 16 else 32, signed]
        x = torch.tensor(case["words"], dtype=dtype)
        code = {
            "word_bits": word_bits,
            "block_size": case["block_size"],
            "max_zero_run": case["max_zero_run"],
            "base": base,
        }
        streams = torch_ebpc.encode(x, **code)
        assert bytes(streams.zero_stream.tolist()).hex() == case["zero_stream"], case["name"]
        assert bytes(streams.plane_stream.tolist()).hex() == case[plane], case["name"]
        assert streams.zero_bits == case["zero_stream_bits"]
        assert streams.plane_bits == case[f"{plane}_bits"]
        assert torch.equal(torch_ebpc.decode(streams), x), case["name"]
        for method, bits in case["baseline_bits"].items() if base == "sent" else ():
            assert torch_ebpc.encode(x, **code, method=method).bits == bits, case["name"]


def test_packed_bytes_survive_a_copy_and_a_file(tmp_path):
    x = feature_map(torch.bfloat16, (50, 50))
    torch.save(torch_ebpc.compress(x), tmp_path / "packed.pt")
    packed = torch.load(tmp_path / "packed.pt", weights_only=True)
    assert_same_bits(torch_ebpc.decompress(packed), x)
    assert_same_bits(torch_ebpc.decompress(torch.stack([packed, packed], 1)[:, 1]), x)
