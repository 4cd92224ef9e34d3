"""Damaged data: which exception, above which others, and what it is about."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from helpers import DTYPES, about, at_byte, feature_map

import torch_ebpc
from torch_ebpc import EBPCChecksumError, EBPCError, EBPCFormatError
from torch_ebpc.errors import translated


def test_the_hierarchy_of_exceptions():
    assert issubclass(EBPCError, RuntimeError)
    assert issubclass(EBPCFormatError, EBPCError)
    assert issubclass(EBPCChecksumError, EBPCError)
    assert not issubclass(EBPCChecksumError, EBPCFormatError)
    assert not issubclass(EBPCError, (ValueError, TypeError))


@pytest.fixture
def packed():
    return torch_ebpc.compress(feature_map(torch.int8, (100,)))


def changed(packed, index, value):
    damaged = packed.clone()
    damaged[index] = value
    return damaged


@pytest.mark.parametrize("function", [torch_ebpc.decompress, torch_ebpc.inspect])
@pytest.mark.parametrize(
    ("damage", "byte", "field"),
    [
        (lambda packed: packed[:0], 0, "magic"),
        (torch.zeros_like, 0, "magic"),
        (lambda packed: packed[:30], 30, "header"),
        (lambda packed: changed(packed, 8, 4), 8, "format version"),
        (lambda packed: packed[:-1], 24, "container bytes"),
    ],
)
def test_what_is_no_container_is_a_format_error(packed, function, damage, byte, field):
    with pytest.raises(EBPCFormatError, match=at_byte(byte, field)):
        function(damage(packed))


def test_a_changed_header_is_a_checksum_error(packed):
    for function in (torch_ebpc.decompress, torch_ebpc.inspect):
        with pytest.raises(EBPCChecksumError, match=at_byte(64, "header")):
            function(changed(packed, 13, 9))


def test_a_changed_payload_is_a_checksum_error_that_names_the_segment(packed):
    damaged = changed(packed, -1, int(packed[-1]) ^ 1)
    assert torch_ebpc.inspect(damaged).words == 100
    with pytest.raises(EBPCChecksumError, match=at_byte(68, "segment 0")):
        torch_ebpc.decompress(damaged)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_flipped_bit_is_an_error(dtype):
    packed = torch_ebpc.compress(feature_map(dtype, (3, 4)))
    for bit in range(8 * packed.numel()):
        damaged = changed(packed, bit // 8, int(packed[bit // 8]) ^ (1 << bit % 8))
        with pytest.raises(EBPCError):
            torch_ebpc.decompress(damaged)


def test_streams_that_are_no_transmission_are_format_errors():
    streams = torch_ebpc.encode(torch.arange(20, dtype=torch.int8))
    bits = streams.plane_bits
    assert (streams.zero_bits, bits % 8) == (20 + 4, 2)
    for pattern, fields in (
        (
            at_byte(2, "bit 16", "zero_stream"),
            {"zero_stream": streams.zero_stream[:-1], "zero_bits": 16},
        ),
        (at_byte(2, "bit 23", "zero_stream"), {"zero_bits": 23}),
        (about("plane_stream"), {"plane_bits": bits + 8}),
        (at_byte(bits // 8, f"bit {bits}", "plane_stream"), {"plane_bits": bits + 1}),
        (about("zero_stream"), {"shape": (19,)}),
        # Refused before the memory for it is asked for, which there would not be.
        (about("zero_stream"), {"shape": (1 << 50,)}),
    ):
        with pytest.raises(EBPCFormatError, match=pattern):
            torch_ebpc.decode(dataclasses.replace(streams, **fields))


def test_errors_of_the_operators_keep_their_message_and_lose_their_prefix():
    for prefix, exception in [
        ("EBPCFormatError", EBPCFormatError),
        ("EBPCChecksumError", EBPCChecksumError),
        ("ValueError", ValueError),
        ("TypeError", TypeError),
    ]:
        with pytest.raises(exception, match=r"^what: happened$") as error, translated():
            raise RuntimeError(f"{prefix}: what: happened")
        assert error.value.__suppress_context__
    with pytest.raises(RuntimeError, match=r"^something else$") as error, translated():
        raise RuntimeError("something else")
    assert type(error.value) is RuntimeError
