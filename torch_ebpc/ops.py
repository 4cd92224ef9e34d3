"""Compress and decompress tensors, bit for bit.

These functions check their arguments and call the operators ``torch.ops.torch_ebpc.*``
(``csrc/torch/operators.cpp``).

All take CPU tensors of any dtype that is a fixed number of bits (:data:`DTYPES`), of any shape
(empty and 0-d too) and any strides. Words are the tensor's own bits, in its logical (row-major)
order: the code is lossless for every bit pattern, NaN payloads and -0.0 included. An element of 8,
16 or 32 bits is a word; of 64-bit integers, float64 and complex numbers it is two or four.

Parameters of the code (JETCAS 2019, section III), the same everywhere:

``word_bits``
    Bits of one word, 2 to 32; by default the dtype's width. Fewer bits are for fixed-point values
    narrower than their integer dtype; a value that does not fit is a ``ValueError``.
``block_size``
    Non-zero words in one bit-plane block, 2 to 64.
``max_zero_run``
    Longest zero run that one symbol covers: a power of two, 2 to 65536.
``base``
    ``"sent"`` with every block (the published hardware), or ``"reused"`` from the block before,
    which is smaller.
``zero``
    The value of the tensor's dtype that counts as zero: 0, or what a map holds instead of it, such
    as the zero point of affine quantized integers. All other values, 0 among them, are words of the
    plane stream.

:class:`Code` holds them as one value, which functions take as ``code=``.

For small containers without choosing the last three, pass ``codec="auto"`` to :func:`compress`:
then each segment of 4096 words is coded in the way that suits it best.

Autograd: packed bytes and streams are integers and carry no gradient. So that no graph is cut in
silence, :func:`compress` and :func:`encode` refuse a tensor that requires grad while grad mode is
on; pass ``x.detach()``. A tensor with a forward-mode tangent is refused as well. :func:`count_bits`
only measures and takes any tensor. Under :func:`torch.func.vmap`, :func:`count_transmission_bits`
counts each sample; the others raise ``NotImplementedError``, as every sample has another size.
"""

from __future__ import annotations

import dataclasses
from typing import SupportsIndex

import torch
from torch import Tensor

from torch_ebpc import _arguments
from torch_ebpc._arguments import (
    TRAITS,
    check_bytes,
    check_dtype,
    check_input,
    check_int,
    check_max_bytes,
    check_str,
    checked_shape,
    word_of,
)
from torch_ebpc.code import Code, plain_code
from torch_ebpc.container import Container
from torch_ebpc.errors import translated

DTYPES: tuple[torch.dtype, ...] = _arguments.DTYPES
"""The dtypes that can be compressed, in the order of their numbers in a container."""

METHODS: tuple[str, ...] = ("ebpc", "bpc", "zvc", "zero_rle", "csc", "none")
"""The methods that :func:`encode` and :func:`count_bits` know."""


@dataclasses.dataclass(frozen=True)
class EncodedStreams:
    """The two raw streams of one transmission, as returned by :func:`encode`.

    For methods other than EBPC too: ``zero_stream`` says where the words are (``"none"`` and
    ``"bpc"`` need none), ``plane_stream`` holds them.

    Example:
        32 zeros are two runs of 16, at 5 bits each.

        >>> streams = torch_ebpc.encode(torch.zeros(32, dtype=torch.int8))
        >>> streams.zero_bits, streams.plane_bits, streams.bits
        (10, 0, 10)
    """

    zero_stream: Tensor  #: uint8 [bytes], padded with zero bits to a byte
    plane_stream: Tensor  #: uint8 [bytes], padded with zero bits to a byte
    zero_bits: int
    plane_bits: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    word_bits: int
    block_size: int
    max_zero_run: int
    base: str
    method: str = "ebpc"
    zero: float = 0  #: the value that counts as zero

    @property
    def bits(self) -> int:
        """Bits of both streams, before padding."""
        return self.zero_bits + self.plane_bits


def compress(
    x: Tensor,
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    codec: str = "ebpc",
    zero: float | str | None = None,
    *,
    code: Code | None = None,
) -> Tensor:
    """Packs a tensor into a self-describing container.

    Args:
        x: the tensor; see the module for dtypes, and for the other arguments.
        codec: ``"ebpc"``, EBPC with these parameters; or ``"auto"``: each segment of 4096 words in
            a way of its own, mostly with its words' upper bits in an entropy code. It is smaller
            but for tensors of a few words, and ``docs/auto.md`` says how fast.
        zero: the value that counts as zero, as for :func:`count_bits`; or ``"auto"``: of
            floating-point numbers both 0 and -0.0 (where there are some of the latter), of integers
            the most frequent one in a sample. By default 0 with ``codec="ebpc"`` and ``"auto"``
            with ``codec="auto"``.

    Returns:
        The container, uint8 [bytes], of at most the tensor's bytes, 1 % and 260 bytes. It depends
        on neither the number of threads nor the CPU.

    Raises:
        TypeError: ``x`` is not a tensor, or its dtype or layout is not supported.
        ValueError: an argument is out of range, a value does not fit into ``word_bits``, ``x`` is
            not on the CPU, it requires grad while grad mode is on, it has a tangent, or
            ``codec="auto"`` is given together with a ``block_size``, ``max_zero_run`` or ``base``,
            which it chooses.

    Example:
        >>> x = torch.tensor([[0, 3, 0, 0], [5, 0, 0, 7]], dtype=torch.int8)
        >>> torch.equal(torch_ebpc.decompress(torch_ebpc.compress(x)), x)
        True
    """
    check_input("x", x, cuts_graph=True)
    *parameters, zero = plain_code(code, word_bits, block_size, max_zero_run, base, zero)
    check_str("codec", codec)
    if zero is None:
        zero = "auto" if codec == "auto" else 0
    if isinstance(zero, str) and zero != "auto":
        raise ValueError(f"zero must be a number or 'auto', got {zero!r}")
    word = None if isinstance(zero, str) else word_of(zero, x.dtype)
    with translated():
        packed: Tensor = torch.ops.torch_ebpc.compress.default(x, *parameters, codec, word)
    return packed


def decompress(
    packed: Tensor,
    index: SupportsIndex | slice | None = None,
    max_bytes: int | None = None,
) -> Tensor:
    """Unpacks a container: the tensor that was compressed, with the same dtype, shape, memory
    format and bits.

    Args:
        packed: uint8 [bytes], from :func:`compress`. Untrusted bytes are safe.
        index: the sample (an int) or samples (a slice with a positive step) of the first dimension
            to unpack alone: ``decompress(packed, index=i)`` is ``decompress(packed)[i]``. Only the
            segments that hold them are read, and only those are checked, besides the header.
        max_bytes: a tensor, or part of it, of more bytes is refused before memory is asked for. By
            default 1 GiB, or 64 times the bytes of ``packed`` if that is more. (A header's checks
            alone allow 2048 times the bytes of ``packed``: zeros are that small.) For memory
            formats other than contiguous, twice the bytes are in use for a moment.

    Raises:
        EBPCFormatError: ``packed`` is not a container.
        EBPCChecksumError: it was one, and has changed.
        EBPCLimitError: its tensor has more than ``max_bytes`` bytes.
        TypeError: ``packed`` is not a strided uint8 tensor, or ``max_bytes`` not an int.
        ValueError: it has other than one dimension, or is not on the CPU; or ``max_bytes`` is
            negative, or 2^63 or more.
        IndexError: ``index`` is outside of the first dimension.

    Example:
        >>> packed = torch_ebpc.compress(torch.tensor([[0, 1], [2, 3], [4, 5]], dtype=torch.int16))
        >>> torch_ebpc.decompress(packed, index=1)
        tensor([2, 3], dtype=torch.int16)
    """
    check_max_bytes(max_bytes)
    if index is not None:
        return Container(packed).read(index, max_bytes)
    check_bytes("packed", packed)
    with translated():
        x: Tensor = torch.ops.torch_ebpc.unpack.default(packed, max_bytes)
    return x


def encode(
    x: Tensor,
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    method: str = "ebpc",
    zero: float = 0,
    *,
    code: Code | None = None,
) -> EncodedStreams:
    """Codes a tensor as one transmission: the two raw streams of the papers, without a container.

    Args:
        x: the tensor; see the module for dtypes, and for the other arguments. What a method has no
            use for is ignored.
        method: one of :data:`METHODS`, as for :func:`count_bits`. ``csrc/ebpc/FORMAT.md`` describes
            the two streams of each.

    Raises:
        TypeError, ValueError: as :func:`compress`.

    Example:
        The words 1 to 8: a base, two planes of all ones, a run of seven zero planes.

        >>> streams = torch_ebpc.encode(torch.arange(1, 9, dtype=torch.int8))
        >>> streams.zero_bits, streams.plane_bits, bytes(streams.plane_stream.tolist()).hex()
        (8, 24, '01000d')
    """
    check_input("x", x, cuts_graph=True)
    plain = plain_code(code, word_bits, block_size, max_zero_run, base, zero)
    check_str("method", method)
    with translated():
        zero_stream, plane_stream, bits = torch.ops.torch_ebpc.encode.default(
            x, *plain[:4], method, word_of(plain.zero, x.dtype)
        )
    zero_bits, plane_bits = bits.tolist()
    width = TRAITS[x.dtype].word_bits if plain.word_bits is None else plain.word_bits
    return EncodedStreams(
        zero_stream,
        plane_stream,
        zero_bits,
        plane_bits,
        tuple(x.shape),
        x.dtype,
        width,
        plain.block_size,
        plain.max_zero_run,
        plain.base,
        method,
        plain.zero,
    )


def decode(streams: EncodedStreams) -> Tensor:
    """Decodes raw streams: the tensor that was encoded, contiguous.

    Raw streams carry no checksum, so a damaged one may decode to other values; it never reads or
    writes outside of its memory.

    Raises:
        EBPCFormatError: the streams are not a transmission of that many words.
        TypeError: ``streams`` or one of its fields is of another type.
        ValueError: a field is out of range.

    Example:
        >>> streams = torch_ebpc.encode(torch.tensor([0, 0, 7], dtype=torch.int8), method="zvc")
        >>> torch_ebpc.decode(streams)
        tensor([0, 0, 7], dtype=torch.int8)
    """
    if not isinstance(streams, EncodedStreams):
        raise TypeError(f"streams must be EncodedStreams, got {type(streams).__name__}")
    check_bytes("streams.zero_stream", streams.zero_stream)
    check_bytes("streams.plane_stream", streams.plane_stream)
    check_int("streams.zero_bits", streams.zero_bits)
    check_int("streams.plane_bits", streams.plane_bits)
    shape = checked_shape("streams.shape", streams.shape)
    check_dtype("streams.dtype", streams.dtype)
    plain = plain_code(
        None, streams.word_bits, streams.block_size, streams.max_zero_run, streams.base
    )
    check_str("streams.method", streams.method)
    with translated():
        x: Tensor = torch.ops.torch_ebpc.decode.default(
            streams.zero_stream,
            streams.plane_stream,
            streams.zero_bits,
            streams.plane_bits,
            shape,
            streams.dtype,
            *plain[:4],
            streams.method,
            word_of(streams.zero, streams.dtype),
        )
    return x


def count_bits(
    x: Tensor,
    method: str = "ebpc",
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    zero: float = 0,
    *,
    code: Code | None = None,
) -> int:
    """The bits that a method codes a tensor into, as one transmission, before padding.

    Args:
        x: the tensor; see the module for dtypes, and for the other arguments. What a method has no
            use for is ignored.
        method: one of :data:`METHODS`: ``"ebpc"``, plain bit-plane compression ``"bpc"``,
            zero-value compression ``"zvc"``, zero run-length coding ``"zero_rle"``, compressed
            sparse columns ``"csc"``, or ``"none"``, the uncompressed words.

    Raises:
        TypeError, ValueError: as :func:`compress`, except that ``x`` may require grad.

    Example:
        >>> x = torch.tensor([0, 0, 0, 9], dtype=torch.int8)
        >>> {method: torch_ebpc.count_bits(x, method) for method in ("ebpc", "zvc", "none")}
        {'ebpc': 47, 'zvc': 12, 'none': 32}
    """
    check_input("x", x, cuts_graph=False)
    bits = count_transmission_bits(
        x, method, word_bits, block_size, max_zero_run, base, 0, zero, code=code
    )
    return int(bits.sum().item())


def count_transmission_bits(
    x: Tensor,
    method: str = "ebpc",
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    transmission_dims: int = 0,
    zero: float = 0,
    *,
    code: Code | None = None,
) -> Tensor:
    """As :func:`count_bits`, for many transmissions at once.

    Args:
        transmission_dims: every index into this many leading dimensions of ``x`` is a transmission
            of its own: 1 for each image of a batch, 2 for each of its channels.

    Returns:
        int64 ``[*x.shape[:transmission_dims], 2]``: the bits that say where the words are (the zero
        stream, for EBPC), and the bits of the words (the plane stream).

    Example:
        >>> images = torch.zeros(2, 32, dtype=torch.int8)
        >>> torch_ebpc.count_transmission_bits(images, transmission_dims=1)
        tensor([[10,  0],
                [10,  0]])
    """
    check_input("x", x, cuts_graph=False, may_be_meta=True)
    plain = plain_code(code, word_bits, block_size, max_zero_run, base, zero)
    check_str("method", method)
    check_int("transmission_dims", transmission_dims)
    with translated():
        bits: Tensor = torch.ops.torch_ebpc.count_bits.default(
            x.detach(), method, *plain[:4], transmission_dims, word_of(plain.zero, x.dtype)
        )
    return bits
