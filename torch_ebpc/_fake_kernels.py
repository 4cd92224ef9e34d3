"""The operators' shapes and dtypes without data, for torch.compile and torch.export."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from torch_ebpc.statistics import field_sizes

_F = TypeVar("_F", bound=Callable[..., Any])


def _fake(name: str) -> Callable[[_F], _F]:
    """torch.library.register_fake with types."""
    register: Callable[[_F], _F] = torch.library.register_fake(f"torch_ebpc::{name}")
    return register


def _new_bytes(like: Tensor) -> Tensor:
    size = torch.library.get_ctx().new_dynamic_size()
    return like.new_empty(size, dtype=torch.uint8)


@_fake("compress")
def _fake_compress(
    input: Tensor,
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    codec: str = "ebpc",
    zero: int | None = 0,
) -> Tensor:
    return _new_bytes(input)


@_fake("decompress")
def _fake_decompress(
    packed: Tensor,
    shape: list[int],
    dtype: torch.dtype,
    memory_format: str = "contiguous",
    max_bytes: int | None = None,
) -> Tensor:
    return torch.empty(
        shape,
        dtype=dtype,
        device=packed.device,
        memory_format=getattr(
            torch, memory_format if memory_format != "contiguous" else "contiguous_format"
        ),
    )


@_fake("fingerprint")
def _fake_fingerprint(bytes: Tensor) -> Tensor:
    return bytes.new_empty(2, dtype=torch.int64)


@_fake("quantize")
def _fake_quantize(
    x: Tensor,
    words: Tensor,
    scale: float,
    word_bits: int | None = None,
    zero_point: int = 0,
    to_nearest: bool = True,
) -> Tensor:
    return x.new_empty(2, dtype=torch.int64)


@_fake("encode")
def _fake_encode(
    input: Tensor,
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    method: str = "ebpc",
    zero: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    return _new_bytes(input), _new_bytes(input), input.new_empty(2, dtype=torch.int64)


@_fake("decode")
def _fake_decode(
    zero_stream: Tensor,
    plane_stream: Tensor,
    zero_bits: int,
    plane_bits: int,
    shape: list[int],
    dtype: torch.dtype,
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    method: str = "ebpc",
    zero: int = 0,
) -> Tensor:
    return zero_stream.new_empty(shape, dtype=dtype)


@_fake("count_bits")
def _fake_count_bits(
    input: Tensor,
    method: str = "ebpc",
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    transmission_dims: int = 0,
    zero: int = 0,
) -> Tensor:
    return input.new_empty((*input.shape[:transmission_dims], 2), dtype=torch.int64)


@_fake("count_methods")
def _fake_count_methods(input: Tensor, methods: str, *code: Any, **named: Any) -> Tensor:
    each = _fake_count_bits(input, methods, *code, **named)
    return each.new_empty((len(methods.split(",")), *each.shape))


@_fake("round_trip")
def _fake_round_trip(
    input: Tensor,
    method: str = "ebpc",
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    transmission_dims: int = 0,
    zero: int = 0,
) -> tuple[Tensor, Tensor]:
    bits = _fake_count_bits(input, transmission_dims=transmission_dims)
    return input.new_empty(input.shape), bits


@_fake("statistics")
def _fake_statistics(
    input: Tensor,
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    transmission_dims: int = 0,
    zero: int = 0,
) -> Tensor:
    return input.new_empty(sum(field_sizes(max_zero_run).values()), dtype=torch.int64)
