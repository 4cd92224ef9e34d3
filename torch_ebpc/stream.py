"""Containers of tensors that do not fit into memory: written and read piece by piece."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from torch_ebpc import ops
from torch_ebpc._arguments import (
    check_bytes,
    check_input,
    check_parameters,
    check_str,
    checked_shape,
)
from torch_ebpc.errors import EBPCError, EBPCFormatError, translated
from torch_ebpc.partial import max_compressed_bytes

_SEGMENT_WORDS = 4096
_PIECE_SEGMENTS = 256  # decoded at a time, whatever the payload claims to stand for
_FIXED_HEADER_BYTES = 52
_ENTRY_BYTES = 8  # of the table of segments


class ContainerEncoder:
    """Writes the very bytes of :func:`compress`, of a tensor that is pushed in pieces of any size.

    The header is known last, since it says where everything is: leave :attr:`header_bytes` free,
    write behind it what :meth:`push` returns, and then in front what :meth:`finish` returns.
    :func:`write_file` does all that for a file. Only one thread at a time may use an encoder.

    Args:
        shape, dtype, memory_format: of the whole tensor, as ``ContainerInfo`` has them.
        word_bits, block_size, max_zero_run, base, codec: as for :func:`compress`.

    Raises:
        TypeError, ValueError: as :func:`compress`, or ``shape`` cannot have ``memory_format``.
        MemoryError: the header has no room.

    Example:
        >>> x = torch.arange(10_000, dtype=torch.int32)
        >>> encoder = torch_ebpc.ContainerEncoder(x.shape, x.dtype)
        >>> payload = [encoder.push(part) for part in x.split(3000)]
        >>> torch.equal(torch.cat([encoder.finish(), *payload]), torch_ebpc.compress(x))
        True
    """

    def __init__(
        self,
        shape: Sequence[int],
        dtype: torch.dtype,
        memory_format: str = "contiguous",
        word_bits: int | None = None,
        block_size: int = 8,
        max_zero_run: int = 16,
        base: str = "sent",
        codec: str = "ebpc",
    ) -> None:
        self._shape = checked_shape("shape", shape)
        capacity = max_compressed_bytes(self._shape, dtype)
        check_str("memory_format", memory_format)
        check_parameters(word_bits, block_size, max_zero_run, base)
        check_str("codec", codec)
        self._dtype = dtype
        self._memory_format = memory_format
        self._code = (word_bits, block_size, max_zero_run, base)
        self._codec = codec
        self._words = math.prod(self._shape)
        self.header_bytes: int = capacity - self._words * dtype.itemsize
        """The bytes of the header, to be left free in front of the payload."""
        self._coded_words = 0
        self._payload_bytes = 0
        self._zero_bits = 0
        self._plane_bits = 0
        # The codec's own checks of its parameters, by the header of a tensor without words; one
        # without dimensions has a word.
        self._header_of([0] * len(self._shape), bytearray(0 if self._shape else _ENTRY_BYTES))
        # Not a tensor, which could not be written to outside of the inference mode it is made in.
        self._table = bytearray(-(-self._words // _SEGMENT_WORDS) * _ENTRY_BYTES)
        self._pending = _tensor_of(b"").view(dtype)  # words of a segment that is not complete

    def push(self, x: Tensor) -> Tensor:
        """Takes the tensor's next words, those of ``x`` in row-major order, and returns the bytes
        of the payload that are ready now, uint8 [bytes].

        Raises:
            TypeError: ``x`` has another dtype than the whole tensor, or is no tensor.
            ValueError: a value does not fit into ``word_bits`` (noticed when its segment is
                complete), or ``x`` has more words than are left.
        """
        check_input("x", x, cuts_graph=True)
        if x.dtype != self._dtype:
            raise TypeError(f"x's dtype must be {self._dtype}, got {x.dtype}")
        left = self._words - self._coded_words - self._pending.numel()
        if x.numel() > left:
            raise ValueError(f"x must have at most the {left} words that are left, got {x.numel()}")
        words = x.detach().reshape(-1)
        if self._pending.numel() > 0:
            words = torch.cat([self._pending, words])
        complete = self._coded_words + words.numel() == self._words
        ready = words.numel() if complete else words.numel() // _SEGMENT_WORDS * _SEGMENT_WORDS
        payload = self._encode(words[:ready])
        self._pending = words[ready:].clone()
        return payload

    def _encode(self, words: Tensor) -> Tensor:
        if words.numel() == 0:
            return words.new_empty(0, dtype=torch.uint8)
        with translated():
            table, payload, bits = torch.ops.torch_ebpc.encode_segments.default(
                words, *self._code, self._coded_words, self._codec
            )
        zero_bits, plane_bits = bits.tolist()
        start = self._coded_words // _SEGMENT_WORDS * _ENTRY_BYTES
        _tensor_of(self._table)[start : start + table.numel()].copy_(table)
        self._coded_words += words.numel()
        self._payload_bytes += payload.numel()
        self._zero_bits += zero_bits
        self._plane_bits += plane_bits
        ready: Tensor = payload
        return ready

    def _header_of(self, shape: Sequence[int], table: bytearray) -> Tensor:
        with translated():
            header: Tensor = torch.ops.torch_ebpc.make_header.default(
                _tensor_of(table),
                shape,
                self._dtype,
                self._payload_bytes,
                self._zero_bits,
                self._plane_bits,
                self._memory_format,
                *self._code,
                self._codec,
            )
        return header

    def finish(self) -> Tensor:
        """The header, uint8 [header_bytes].

        Raises:
            ValueError: words are missing.
        """
        pushed = self._coded_words + self._pending.numel()
        if pushed != self._words:
            raise ValueError(f"all {self._words} words must have been pushed, got {pushed}")
        return self._header_of(self._shape, self._table)


def _tensor_of(data: bytes | bytearray) -> Tensor:
    """uint8 [bytes], of the same memory, and on the CPU whatever the default device is."""
    if not data:
        return torch.empty(0, dtype=torch.uint8, device="cpu")
    return torch.frombuffer(data, dtype=torch.uint8)


class ContainerDecoder:
    """Reads a container whose bytes are pushed in pieces of any size. It keeps the header and what
    has not been taken, so that its memory is bounded by what it was given. Only one thread at a
    time may use it and the iterators that it returns.

    Example:
        >>> packed = torch_ebpc.compress(torch.arange(10_000, dtype=torch.int32))
        >>> decoder = torch_ebpc.ContainerDecoder()
        >>> sum(words.numel() for part in packed.split(1000) for words in decoder.push(part))
        10000
        >>> decoder.finish()
    """

    def __init__(self) -> None:
        self.info: ops.ContainerInfo | None = None
        """What the header says, once all of it has been pushed."""
        self._header = _tensor_of(b"")
        self._ends = self._header.to(torch.int64)  # of the segments, in the container
        self._pending = self._header
        self._pending_offset = 0  # of its first byte, in the container
        self._segments = 0  # that are decoded
        self._damage: EBPCError | None = None  # that was found

    def push(self, data: Tensor | bytes | bytearray | memoryview) -> Iterator[Tensor]:
        """Takes the container's next bytes and returns an iterator over the words that they
        complete: one-dimensional tensors of the container's dtype, in row-major order, of at most
        a million words each. What is not taken from it comes with the next push.

        Args:
            data: a uint8 tensor [bytes], or bytes; of what else has a buffer, the bytes in it.

        Raises:
            EBPCFormatError, EBPCChecksumError: as :func:`decompress`, here or from the iterator,
                and then again from whatever is called. Words that came before that are right.
            TypeError, ValueError: ``data`` is neither of that.
        """
        if not isinstance(data, Tensor):
            try:
                # A copy, since PyTorch's tensors may be written to.
                data = _tensor_of(bytearray(memoryview(data)))
            except TypeError:
                raise TypeError(
                    f"data must be a uint8 tensor or bytes, got {type(data).__name__}"
                ) from None
        check_bytes("data", data)
        with self._remembered_damage():
            self._pending = torch.cat([self._pending, data])
            if self.info is None:
                self._read_header()
        return self._words()

    @contextlib.contextmanager
    def _remembered_damage(self) -> Iterator[None]:
        if self._damage is not None:
            raise self._damage
        try:
            with translated():
                yield
        except EBPCError as error:
            self._damage = error
            raise

    def _read_header(self) -> None:
        available = self._pending.numel()
        if available < _FIXED_HEADER_BYTES:
            return
        size = int(torch.ops.torch_ebpc.header_bytes.default(self._pending))
        if available < size:
            return
        self.info = ops.read_info(self._pending, allow_cut=True)
        self._ends = torch.ops.torch_ebpc.segment_ends.default(self._pending)
        self._header = self._pending[:size].clone()
        self._pending = self._pending[size:]
        self._pending_offset = size

    def _words(self) -> Iterator[Tensor]:
        if self.info is None:
            return
        while segments := self._complete_segments():
            with self._remembered_damage():
                words = torch.ops.torch_ebpc.decode_segments.default(
                    self._header,
                    self._pending,
                    self._segments,
                    segments,
                    self._pending_offset,
                    self.info.dtype,
                )
            self._segments += segments
            end = int(self._ends[self._segments - 1])
            self._pending = self._pending[end - self._pending_offset :]
            self._pending_offset = end
            yield words
        with self._remembered_damage():
            self._check_end()

    def _complete_segments(self) -> int:
        available = self._pending_offset + self._pending.numel()
        ends = self._ends[self._segments : self._segments + _PIECE_SEGMENTS]
        return int(torch.searchsorted(ends, available, right=True))

    def _check_end(self) -> None:
        assert self.info is not None
        if self._segments == self.info.segments and self._pending.numel() > 0:
            raise EBPCFormatError(
                f"container at byte {self.info.container_bytes} (container bytes): expected the"
                f" end, found {self._pending.numel()} more bytes"
            )

    def finish(self) -> None:
        """Checks that the container is complete.

        Raises:
            EBPCFormatError: bytes are missing, or too many.
            EBPCFormatError, EBPCChecksumError: damage was found before.
            ValueError: words that :meth:`push` returned have not been taken.
        """
        if self._damage is not None:
            raise self._damage
        if self.info is not None:
            if self._complete_segments() > 0:
                raise ValueError("all words that push returned must be taken before finish")
            self._check_end()
            if self._segments == self.info.segments:
                return
        end = self._pending_offset + self._pending.numel()
        expected = "a header" if self.info is None else f"{self.info.container_bytes} bytes"
        raise EBPCFormatError(
            f"container at byte {end} (container bytes): expected {expected}, found the end"
        )
