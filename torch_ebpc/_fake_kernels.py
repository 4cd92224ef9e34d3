"""The operators' shapes and dtypes without data, for torch.compile and torch.export."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

INSPECT_FIELDS = 48  # before the shape, in the tensor that the operator `inspect` returns
STATISTICS_FIELDS = 114  # before the zero runs, in the tensor that `statistics` returns

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


@_fake("inspect")
def _fake_inspect(packed: Tensor, allow_cut: bool = False) -> Tensor:
    size = torch.library.get_ctx().new_dynamic_size(min=INSPECT_FIELDS)
    return packed.new_empty(size, dtype=torch.int64)


@_fake("fingerprint")
def _fake_fingerprint(bytes: Tensor) -> Tensor:
    return bytes.new_empty(2, dtype=torch.int64)


@_fake("encode")
def _fake_encode(
    input: Tensor,
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    method: str = "ebpc",
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
) -> Tensor:
    return input.new_empty((*input.shape[:transmission_dims], 2), dtype=torch.int64)


@_fake("statistics")
def _fake_statistics(
    input: Tensor,
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    transmission_dims: int = 0,
) -> Tensor:
    return input.new_empty(STATISTICS_FIELDS + max_zero_run, dtype=torch.int64)


@_fake("decompress_range")
def _fake_decompress_range(
    packed: Tensor, first_word: int, words: int, dtype: torch.dtype, max_bytes: int | None = None
) -> Tensor:
    return packed.new_empty(words, dtype=dtype)


@_fake("recover")
def _fake_recover(
    packed: Tensor,
    shape: list[int],
    dtype: torch.dtype,
    memory_format: str = "contiguous",
    max_bytes: int | None = None,
) -> tuple[Tensor, Tensor]:
    size = torch.library.get_ctx().new_dynamic_size()
    return (
        _fake_decompress(packed, shape, dtype, memory_format),
        packed.new_empty((size, 2), dtype=torch.int64),
    )


@_fake("encode_segments")
def _fake_encode_segments(
    words: Tensor,
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    first_word: int = 0,
    codec: str = "ebpc",
) -> tuple[Tensor, Tensor, Tensor]:
    table = words.new_empty(8 * ((words.numel() + 4095) // 4096), dtype=torch.uint8)
    payload = words.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.uint8)
    return table, payload, words.new_empty(2, dtype=torch.int64)


@_fake("make_header")
def _fake_make_header(
    table: Tensor,
    shape: list[int],
    dtype: torch.dtype,
    payload_bytes: int,
    zero_stream_bits: int,
    plane_stream_bits: int,
    memory_format: str = "contiguous",
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    codec: str = "ebpc",
) -> Tensor:
    return table.new_empty(52 + 8 * len(shape) + table.numel())


@_fake("header_bytes")
def _fake_header_bytes(start: Tensor) -> Tensor:
    return start.new_empty(1, dtype=torch.int64)


@_fake("segment_ends")
def _fake_segment_ends(header: Tensor) -> Tensor:
    size = torch.library.get_ctx().new_dynamic_size()
    return header.new_empty(size, dtype=torch.int64)


@_fake("decode_segments")
def _fake_decode_segments(
    header: Tensor,
    payload: Tensor,
    first_segment: int,
    segments: int,
    first_byte: int,
    dtype: torch.dtype,
) -> Tensor:
    size = torch.library.get_ctx().new_dynamic_size()
    return payload.new_empty(size, dtype=dtype)
