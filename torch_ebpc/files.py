"""Containers in files: written whole or not at all, and read without taking them into memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from torch_ebpc.stream import ContainerDecoder, ContainerEncoder

_READ_BYTES = 1 << 22


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a file for writing that appears, or replaces the one that is there, when all has been
    written and has reached the disk; with any exception nothing is changed or left behind.

    It is written under another name beside ``path``, ``.NAME.*.tmp``, which only a kill or power
    failure leaves behind.

    Raises:
        OSError: the file cannot be written, with its name; on a full disk ``errno.ENOSPC``.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise OSError(f"{target} must be a regular file, if it exists")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name too
    finally:
        os.close(folder)


def write_file(
    path: str | os.PathLike[str],
    parts: Iterable[Tensor],
    shape: Sequence[int],
    dtype: torch.dtype,
    memory_format: str = "contiguous",
    word_bits: int | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    codec: str = "ebpc",
) -> int:
    """Writes the container of a tensor that comes in parts, such as samples or batches of them;
    the file has the bytes of :func:`compress`, and appears whole or not at all.

    Args:
        path: where to; what is there is replaced.
        parts: the tensor's words, each part in row-major order.
        shape, dtype, memory_format: of the whole tensor.
        word_bits, block_size, max_zero_run, base, codec: as for :func:`compress`.

    Returns:
        The bytes of the file.

    Raises:
        TypeError, ValueError: as :func:`compress`, or the parts have other than ``shape``'s words.
        OSError: the file cannot be written; on a full disk ``errno.ENOSPC``.
    """
    encoder = ContainerEncoder(
        shape, dtype, memory_format, word_bits, block_size, max_zero_run, base, codec
    )
    with whole_file(path) as file:
        file.seek(encoder.header_bytes)
        for part in parts:
            _write(file, encoder.push(part))
        size = file.tell()
        file.seek(0)
        _write(file, encoder.finish())
    return size


def read_file(path: str | os.PathLike[str]) -> Iterator[Tensor]:
    """The words of a container in a file, in row-major order, in one-dimensional tensors of at
    most a million words each.

    Raises:
        EBPCFormatError, EBPCChecksumError: as :func:`decompress`, when the damage is reached.
        OSError: the file cannot be read.
    """
    decoder = ContainerDecoder()
    with open(path, "rb") as file:
        while data := file.read(_READ_BYTES):
            yield from decoder.push(data)
    decoder.finish()


def map_file(path: str | os.PathLike[str]) -> Tensor:
    """A file as uint8 [bytes] that is read where it is looked at: ``decompress(map_file(path),
    index=3)`` reads the header and one sample. The file must not be cut while it is in use. Other
    processes map it themselves.

    Raises:
        OSError: the file cannot be read.
    """
    size = os.stat(path).st_size
    if size == 0:
        return torch.empty(0, dtype=torch.uint8)
    with open(path, "rb"):  # says clearly if it may not be read
        return torch.from_file(os.fspath(path), shared=False, size=size, dtype=torch.uint8)


def _write(file: BinaryIO, data: Tensor) -> None:
    """Without NumPy, which PyTorch can do without. ``data`` lives as long as the view of it."""
    file.write(memoryview((ctypes.c_char * data.numel()).from_address(data.data_ptr())))
