"""Containers of tensors that do not fit into memory: written and read piece by piece.

The encoder and the decoder are C++ (``csrc/ebpc/container_stream.h``); a handle to them closes with
the object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from torch_ebpc._arguments import (
    check_bytes,
    check_dtype,
    check_input,
    check_str,
    checked_shape,
    word_of,
)
from torch_ebpc.code import Code, plain_code
from torch_ebpc.container import ContainerInfo, OpenHandle, info_from
from torch_ebpc.errors import translated


class ContainerEncoder(OpenHandle):
    """Writes the very bytes of :func:`compress`, of a tensor that is pushed in pieces of any size.

    The header is known last, since it says where everything is: leave :attr:`header_bytes` free,
    write after it what :meth:`push` returns, and then in front what :meth:`finish` returns.
    :func:`write_file` does all that for a file. Only one thread at a time may use an encoder.

    Args:
        shape, dtype, memory_format: of the whole tensor, as ``ContainerInfo`` has them.
        word_bits, block_size, max_zero_run, base, codec, code: as for :func:`compress`.
        zero: as for :func:`compress`, but not ``"auto"``, for which all words have to be there.

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
        zero: float = 0,
        *,
        code: Code | None = None,
    ) -> None:
        sizes = checked_shape("shape", shape)
        check_dtype("dtype", dtype)
        check_str("memory_format", memory_format)
        plain = plain_code(code, word_bits, block_size, max_zero_run, base, zero)
        check_str("codec", codec)
        word = word_of(plain.zero, dtype)
        with translated():
            handle = torch.ops.torch_ebpc.open_encoder.default(
                sizes, dtype, memory_format, *plain[:4], codec, word
            )
            super().__init__(handle)
            self.header_bytes: int = torch.ops.torch_ebpc.encoder_header_bytes.default(self._handle)
            """The bytes of the header, to be left free in front of the payload."""
        self._dtype = dtype

    def push(self, x: Tensor) -> Tensor:
        """Takes the tensor's next elements, those of ``x`` in row-major order; returns the bytes
        of the payload that are ready now, uint8 [bytes].

        Raises:
            TypeError: ``x`` has another dtype than the whole tensor, or is no tensor.
            ValueError: a value does not fit into ``word_bits``, or ``x`` has more elements than are
                left; then nothing of it has been taken.
        """
        check_input("x", x, cuts_graph=True)
        if x.dtype != self._dtype:
            raise TypeError(f"x's dtype must be {self._dtype}, got {x.dtype}")
        with translated():
            payload: Tensor = torch.ops.torch_ebpc.encoder_push.default(self._handle, x.detach())
        return payload

    def finish(self) -> Tensor:
        """The header, uint8 [header_bytes].

        Raises:
            ValueError: words are missing.
        """
        with translated():
            header: Tensor = torch.ops.torch_ebpc.encoder_finish.default(self._handle)
        return header


def _tensor_of(data: bytes | bytearray) -> Tensor:
    """uint8 [bytes], of the same memory, and on the CPU whatever the default device is."""
    if not data:
        return torch.empty(0, dtype=torch.uint8, device="cpu")
    return torch.frombuffer(data, dtype=torch.uint8)


class ContainerDecoder(OpenHandle):
    """Reads a container whose bytes are pushed in pieces of any size. It keeps the header's table
    and what has not been taken, so that its memory is bounded by what it was given. Only one thread
    at a time may use it and the iterators that it returns.

    Example:
        >>> packed = torch_ebpc.compress(torch.arange(10_000, dtype=torch.int32))
        >>> decoder = torch_ebpc.ContainerDecoder()
        >>> sum(words.numel() for part in packed.split(1000) for words in decoder.push(part))
        10000
        >>> decoder.finish()
    """

    def __init__(self) -> None:
        self.info: ContainerInfo | None = None
        """What the header says, once all of it has been pushed."""
        with translated():
            super().__init__(torch.ops.torch_ebpc.open_decoder.default())

    def push(self, data: Tensor | bytes | bytearray | memoryview) -> Iterator[Tensor]:
        """Takes the container's next bytes and returns an iterator over the elements that they
        complete: one-dimensional tensors of the container's dtype, in row-major order, of at most
        a million words each. What is not taken from it comes with the next push.

        Args:
            data: a uint8 tensor [bytes], or bytes; of what else has a buffer, the bytes in it.

        Raises:
            EBPCFormatError, EBPCChecksumError: as :func:`decompress`, here or from the iterator,
                and then again from whatever is called. Elements that came before that are right.
            TypeError, ValueError: ``data`` is none of these.
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
        with translated():
            torch.ops.torch_ebpc.decoder_push.default(self._handle, data)
            if self.info is None:
                text = torch.ops.torch_ebpc.decoder_info.default(self._handle)
                self.info = info_from(text) if text else None
        return self._elements()

    def _elements(self) -> Iterator[Tensor]:
        while True:
            with translated():
                elements: Tensor = torch.ops.torch_ebpc.decoder_next.default(self._handle)
            if elements.numel() == 0:
                return
            yield elements

    def finish(self) -> None:
        """Checks that the container is complete.

        Raises:
            EBPCFormatError: bytes are missing, or too many.
            EBPCFormatError, EBPCChecksumError: damage was found before.
            ValueError: elements that :meth:`push` returned have not been taken.
        """
        with translated():
            torch.ops.torch_ebpc.decoder_finish.default(self._handle)
