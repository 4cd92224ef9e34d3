"""Containers of tensors that do not fit into memory: written and read piece by piece."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from torch_ebpc import ops
from torch_ebpc.errors import EBPCFormatError, translated
from torch_ebpc.partial import max_compressed_bytes

_SEGMENT_WORDS = 4096
_PIECE_SEGMENTS = 256  # decoded at a time, whatever the payload claims to stand for
_FIXED_HEADER_BYTES = 52


class ContainerEncoder:
    """Writes the very bytes of :func:`compress`, of a tensor that is pushed in pieces of any size.

    The header is known last, since it says where everything is: leave :attr:`header_bytes` free,
    write behind it what :meth:`push` returns, and then in front what :meth:`finish` returns.
    :func:`write_file` does all that for a file.

    Args:
        shape, dtype, memory_format: of the whole tensor, as ``ContainerInfo`` has them.
        word_bits, block_size, max_zero_run, base, codec: as for :func:`compress`.

    Raises:
        TypeError, ValueError: as :func:`compress`.
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
        capacity = max_compressed_bytes(shape, dtype)
        self._shape = tuple(shape)
        self._dtype = dtype
        self._memory_format = memory_format
        self._code = (word_bits, block_size, max_zero_run, base)
        self._codec = codec
        ops._check_str("codec", codec)
        self._words = math.prod(self._shape)
        self.header_bytes: int = capacity - self._words * dtype.itemsize
        """The bytes of the header, to be left free in front of the payload."""
        self._pending = torch.empty(0, dtype=dtype)  # words of a segment that is not complete
        self._coded_words = 0
        self._tables: list[Tensor] = []
        self._payload_bytes = 0
        self._bits = torch.zeros(2, dtype=torch.int64)
        self._encode(self._pending)  # the codec's own checks of its parameters

    def push(self, x: Tensor) -> Tensor:
        """Takes the tensor's next words, those of ``x`` in row-major order, and returns the bytes
        of the payload that are ready now, uint8 [bytes].

        Raises:
            TypeError: ``x`` has another dtype than the whole tensor, or is no tensor.
            ValueError: a value does not fit into ``word_bits`` (noticed when its segment is
                complete), or ``x`` has more words than are left.
        """
        ops._check_input("x", x, cuts_graph=True)
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
        with translated():
            table, payload, bits = torch.ops.torch_ebpc.encode_segments.default(
                words, *self._code, self._coded_words, self._codec
            )
        self._tables.append(table)
        self._payload_bytes += payload.numel()
        self._bits += bits
        self._coded_words += words.numel()
        ready: Tensor = payload
        return ready

    def finish(self) -> Tensor:
        """The header, uint8 [header_bytes].

        Raises:
            ValueError: words are missing.
        """
        pushed = self._coded_words + self._pending.numel()
        if pushed != self._words:
            raise ValueError(f"all {self._words} words must have been pushed, got {pushed}")
        with translated():
            header: Tensor = torch.ops.torch_ebpc.make_header.default(
                torch.cat(self._tables),
                self._shape,
                self._dtype,
                self._payload_bytes,
                *self._bits.tolist(),
                self._memory_format,
                *self._code,
                self._codec,
            )
        return header


class ContainerDecoder:
    """Reads a container whose bytes are pushed in pieces of any size. It keeps the header and what
    has not been taken, so that its memory is bounded by what it was given.

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
        self._header = torch.empty(0, dtype=torch.uint8)
        self._ends = torch.empty(0, dtype=torch.int64)  # of the segments, in the container
        self._pending = torch.empty(0, dtype=torch.uint8)
        self._pending_offset = 0  # of its first byte, in the container
        self._segments = 0  # that are decoded

    def push(self, data: Tensor | bytes | bytearray | memoryview) -> Iterator[Tensor]:
        """Takes the container's next bytes and returns an iterator over the words that they
        complete: one-dimensional tensors of the container's dtype, in row-major order, of at most
        a million words each. What is not taken from it comes with the next push.

        Raises:
            EBPCFormatError, EBPCChecksumError: as :func:`decompress`, here or from the iterator.
                Words that came before that are right.
        """
        if not isinstance(data, Tensor):
            # A copy, since PyTorch's tensors may be written to.
            data = (
                torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else self._header[:0]
            )
        ops._check_bytes("data", data)
        self._pending = torch.cat([self._pending, data])
        if self.info is None:
            self._read_header()
        return self._words()

    def _read_header(self) -> None:
        available = self._pending.numel()
        if available < _FIXED_HEADER_BYTES:
            return
        with translated():
            size = int(torch.ops.torch_ebpc.header_bytes.default(self._pending))
        if available < size:
            return
        self.info = ops.read_info(self._pending, header_only=True)
        with translated():
            self._ends = torch.ops.torch_ebpc.segment_ends.default(self._pending)
        self._header = self._pending[:size].clone()
        self._pending = self._pending[size:]
        self._pending_offset = size

    def _words(self) -> Iterator[Tensor]:
        if self.info is None:
            return
        while segments := self._complete_segments():
            with translated():
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
            ValueError: words that :meth:`push` returned have not been taken.
        """
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
