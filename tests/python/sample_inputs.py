"""Tensors that the tests share, and what it means for two to be the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

DTYPES = (
    torch.int8,
    torch.uint8,
    torch.int16,
    torch.uint16,
    torch.int32,
    torch.float16,
    torch.bfloat16,
    torch.float32,
)
NEW_DTYPES = (
    torch.bool,
    torch.uint32,
    torch.int64,
    torch.uint64,
    torch.float64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz,
    torch.complex32,
    torch.complex64,
    torch.complex128,
)
"""Those of containers of version 3."""
FLOATING = tuple(dtype for dtype in DTYPES if dtype.is_floating_point)
INTEGERS = tuple(dtype for dtype in DTYPES if not dtype.is_floating_point)
METHODS = ("ebpc", "bpc", "zvc", "zero_rle", "csc", "none")
BASES = ("sent", "reused")
SHAPES = ((), (0,), (2, 0, 3), (1,), (7,), (4096,), (4097,), (2, 3, 5, 7), (1,) * 24)

_AS_INTEGER = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def bits_of(x: Tensor) -> Tensor:
    """The bit patterns of a tensor, as signed integers."""
    x = x.detach()
    x = torch.view_as_real(x) if x.dtype == torch.complex128 else x
    return x.view(_AS_INTEGER[x.dtype.itemsize])


def assert_same_bits(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert torch.equal(bits_of(found), bits_of(expected))


def from_patterns(patterns: list[int], dtype: torch.dtype) -> Tensor:
    """A tensor of these bit patterns, given as unsigned numbers."""
    width = 8 * dtype.itemsize
    signed = [pattern - (pattern >> (width - 1) << width) for pattern in patterns]
    return torch.tensor(signed, dtype=_AS_INTEGER[dtype.itemsize]).view(dtype)


def feature_map(dtype: torch.dtype, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """About half zeros, the rest of any bits (of bool, of the two that it has)."""
    if dtype == torch.bool:
        return feature_map(torch.int8, shape, seed) != 0
    if dtype == torch.complex128:
        return torch.view_as_complex(feature_map(torch.float64, (*shape, 2), seed))
    generator = torch.Generator().manual_seed(seed)
    integer = _AS_INTEGER[dtype.itemsize]
    limits = torch.iinfo(integer)
    end = min(limits.max, 2**63 - 2) + 1  # the largest that randint takes
    words = torch.randint(limits.min, end, shape, generator=generator, dtype=integer)
    small = torch.rand(shape, generator=generator) < 0.7
    words = torch.where(small, words % 13, words)
    zero = torch.rand(shape, generator=generator) < 0.5
    return torch.where(zero, torch.zeros((), dtype=integer), words).view(dtype)


def special_values(dtype: torch.dtype) -> Tensor:
    """Every sign and exponent pattern of a floating dtype with the mantissas at their edges: zeros,
    subnormals, infinities and NaNs with payloads are among them."""
    width = 8 * dtype.itemsize
    mantissa = {torch.float16: 10, torch.bfloat16: 7, torch.float32: 23, torch.float64: 52}[dtype]
    exponents = range(1 << (width - 1 - mantissa))
    mantissas = (0, 1, (1 << (mantissa - 1)) - 1, 1 << (mantissa - 1), (1 << mantissa) - 1)
    patterns = [
        sign << (width - 1) | exponent << mantissa | fraction
        for sign, exponent, fraction in itertools.product((0, 1), exponents, mantissas)
    ]
    return from_patterns(patterns, dtype)


def sample_tensors() -> Iterator[Tensor]:
    """Few and small, of every dtype and layout: for opcheck, which runs each several times."""
    for dtype in DTYPES:
        yield feature_map(dtype, (2, 3, 4))
    x = feature_map(torch.float32, (2, 3, 4, 5))
    yield x.to(memory_format=torch.channels_last)
    yield x.transpose(1, 3)
    yield x[:, ::2]
    yield feature_map(torch.int16, (1, 2, 3, 2, 2)).to(memory_format=torch.channels_last_3d)
    yield torch.empty(0, 3, dtype=torch.int8)
    yield torch.tensor(-0.0)
