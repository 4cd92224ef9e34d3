"""The methods that EBPC is compared with, from Python: encode, decode, count, and the meter."""

from __future__ import annotations

import dataclasses

import hypothesis
import pytest
import torch
from helpers import (
    BASES,
    DTYPES,
    METHODS,
    about,
    assert_same_bits,
    feature_map,
    images,
    small_network,
)
from hypothesis import strategies as st

import torch_ebpc
from torch_ebpc import CompressionMeter, EBPCFormatError, FloatCast, Quantizer

every_method = pytest.mark.parametrize("method", METHODS)


@every_method
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (2, 3, 5, 7), (4097,)], ids=str)
def test_every_dtype_and_shape_comes_back(method, dtype, shape):
    x = feature_map(dtype, shape)
    streams = torch_ebpc.encode(x, method=method)
    assert streams.method == method
    assert streams.bits == torch_ebpc.count_bits(x, method)
    assert streams.zero_stream.numel() == -(-streams.zero_bits // 8)
    assert streams.plane_stream.numel() == -(-streams.plane_bits // 8)
    assert_same_bits(torch_ebpc.decode(streams), x)


@every_method
@hypothesis.given(
    words=st.lists(st.one_of(st.just(0), st.integers(-8, 7)), max_size=200),
    block_size=st.integers(2, 64),
    max_zero_run=st.sampled_from([2, 16, 1024]),
    base=st.sampled_from(BASES),
)
def test_any_words_come_back_with_any_parameters(method, words, block_size, max_zero_run, base):
    x = torch.tensor(words, dtype=torch.int8)
    code = {
        "word_bits": 4,
        "block_size": block_size,
        "max_zero_run": max_zero_run,
        "base": base,
    }
    streams = torch_ebpc.encode(x, **code, method=method)
    counted = torch_ebpc.count_transmission_bits(x, method, **code)
    assert [streams.zero_bits, streams.plane_bits] == counted.tolist()
    assert_same_bits(torch_ebpc.decode(streams), x)


def test_worked_streams_of_each_method():
    x = torch.tensor([0, 0, 5, 0, -1], dtype=torch.int8)

    def streams(method):
        encoded = torch_ebpc.encode(x, method=method)
        return tuple(
            "".join(f"{byte:08b}" for byte in stream.tolist())[:bits]
            for stream, bits in (
                (encoded.zero_stream, encoded.zero_bits),
                (encoded.plane_stream, encoded.plane_bits),
            )
        )

    five, minus_one, zero = "00000101", "11111111", "00000000"
    assert streams("none") == ("", zero + zero + five + zero + minus_one)
    assert streams("zvc") == ("00101", five + minus_one)
    assert streams("zero_rle") == ("00001" + "1" + "00000" + "1", five + minus_one)
    assert streams("csc") == ("0010" + "0001", five + minus_one)


def test_plain_bpc_exchanges_two_prefixes():
    x = torch.zeros(8, dtype=torch.int8)  # a base and nine zero planes: a run of 2 + 7
    streams = torch_ebpc.encode(x, method="bpc")
    assert (streams.zero_bits, streams.plane_bits) == (0, 8 + 2 + 3)
    assert streams.plane_stream.tolist() == [0, 0b01111000]


@every_method
def test_damaged_streams_are_format_errors(method):
    x = feature_map(torch.int8, (100,))
    streams = torch_ebpc.encode(x, method=method)
    cut = dataclasses.replace(
        streams, plane_stream=streams.plane_stream[:-1], plane_bits=streams.plane_bits // 8 * 8 - 8
    )
    with pytest.raises(EBPCFormatError):
        torch_ebpc.decode(cut)
    with pytest.raises(EBPCFormatError, match=about("plane_stream")):
        torch_ebpc.decode(dataclasses.replace(streams, plane_bits=streams.plane_bits + 8))
    if method != "csc":  # whose transmissions may end in any number of zeros
        with pytest.raises(EBPCFormatError, match="end of the stream"):
            torch_ebpc.decode(dataclasses.replace(streams, shape=(1 << 50,)))


def test_an_unknown_method_is_an_error():
    x = torch.zeros(3)
    for call in (
        lambda: torch_ebpc.encode(x, method="zip"),
        lambda: torch_ebpc.decode(dataclasses.replace(torch_ebpc.encode(x), method="zip")),
    ):
        with pytest.raises(ValueError, match=about("method")):
            call()
    with pytest.raises(TypeError, match=about("method")):
        torch_ebpc.encode(x, method=1)


# ---- The meter -----------------------------------------------------------------------------------


@pytest.mark.parametrize("transmission", ["image", "channel", "tensor"])
@pytest.mark.parametrize("quantizer", [None, Quantizer(bits=5), FloatCast(torch.bfloat16)], ids=str)
def test_the_meter_verifies_every_method(transmission, quantizer):
    network = small_network()
    with (
        CompressionMeter(
            network,
            quantizer=quantizer,
            methods=METHODS,
            transmission=transmission,
            verify=True,
            mode="insert",
        ) as meter,
        torch.no_grad(),
    ):
        network(images())
    for row in meter.report().rows:
        assert row.verified_values == row.values > 0


@pytest.mark.parametrize("method", ["ebpc", "csc"])
@pytest.mark.parametrize("transmission", [0, 1])
def test_a_method_that_decodes_to_something_else_is_found(method, transmission, monkeypatch):
    right = torch_ebpc.ops.round_trip

    def wrong(x, by, *arguments, **keywords):
        decoded, bits = right(x, by, *arguments, **keywords)
        if by == method:
            decoded[transmission].view(-1)[3] += 1
        return decoded, bits

    monkeypatch.setattr(torch_ebpc.ops, "round_trip", wrong)
    message = rf"1#1: transmission {transmission}, method {method}: .* at index 3"
    network = small_network()
    with (
        CompressionMeter(network, methods=("zvc", method), verify=True, mode="insert"),
        pytest.raises(AssertionError, match=message),
    ):
        network(images())


def test_bits_that_are_not_those_that_were_counted_are_found(monkeypatch):
    right = torch_ebpc.ops.round_trip

    def wrong(*arguments, **keywords):
        decoded, bits = right(*arguments, **keywords)
        bits[1, 0] += 1
        return decoded, bits

    monkeypatch.setattr(torch_ebpc.ops, "round_trip", wrong)
    network = small_network()
    with (
        CompressionMeter(network, methods=("zvc",), verify=True, mode="insert"),
        pytest.raises(AssertionError, match=r"1#1: transmission 1, method zvc: counted \[.* wrote"),
    ):
        network(images())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("words", [0, 1, 63, 2047, 4097])
def test_many_transmissions_are_coded_as_each_alone(method, words):
    x = feature_map(torch.int16, (5, 2, words))
    code = (method, None, 7, 4, "reused")
    decoded, bits = torch_ebpc.ops.round_trip(x, *code, transmission_dims=2)
    assert torch.equal(decoded, x)
    assert torch.equal(bits, torch_ebpc.count_transmission_bits(x, *code, transmission_dims=2))
    for each, counted in zip(x.flatten(0, 1), bits.flatten(0, 1), strict=True):
        streams = torch_ebpc.encode(each, None, 7, 4, "reused", method)
        assert [streams.zero_bits, streams.plane_bits] == counted.tolist()
