"""Containers in files: written whole or not at all, and read without taking them into memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from torch_ebpc.code import Code
from torch_ebpc.stream import ContainerDecoder, ContainerEncoder

_READ_BYTES = 1 << 22


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a file for writing that appears, or replaces the one that is there, when all has been
    written and has reached the disk; with any exception nothing is changed and nothing
    stays. A file that is replaced hands on its mode; a new one has the mode of the umask.

    It is written under another name beside ``path``, ``.torch_ebpc.*.tmp``, which stays only
    after a kill or power failure.

    Raises:
        OSError: the file cannot be written, with its name; on a full disk ``errno.ENOSPC``.

    Example:
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with torch_ebpc.files.whole_file(f"{folder}/notes") as file:
        ...         size = file.write(b"all or nothing")
        ...     os.listdir(folder)
        ['notes']
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise OSError(f"{target} must be a regular file, if it exists")
    # Without the target's name, which may be as long as a name can be.
    temporary = target.with_name(f".torch_ebpc.{secrets.token_hex(8)}.tmp")
    try:
        with named_errors(target), open(temporary, "xb") as file:
            if target.exists():
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    # The new name too. The file is there by now, so that where this cannot be done (a folder may
    # be writable and not readable) there is nothing to report.
    with contextlib.suppress(OSError):
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def named_errors(name: str | os.PathLike[str]) -> Iterator[None]:
    """Gives errors of the system that name no file, as those of writing do not, the name of one."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(name)) from error


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
    zero: float = 0,
    *,
    code: Code | None = None,
) -> int:
    """Writes the container of a tensor that comes in parts, such as samples or batches of them: the
    bytes of :func:`compress` with that ``zero``. The file appears whole or not at all.

    Args:
        path: where to; what is there is replaced.
        parts: the tensor's words, each part in row-major order.
        shape, dtype, memory_format: of the whole tensor.
        word_bits, block_size, max_zero_run, base, codec, zero, code: as for
            :class:`ContainerEncoder`.

    Returns:
        The bytes of the file.

    Raises:
        TypeError, ValueError: as :func:`compress`, or the parts have other than ``shape``'s words.
        OSError: the file cannot be written; on a full disk ``errno.ENOSPC``.

    Example:
        >>> import tempfile
        >>> batches = [torch.zeros(2, 8), torch.ones(2, 8)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/maps.ebpc"
        ...     size = torch_ebpc.write_file(path, batches, (4, 8), torch.float32)
        ...     torch_ebpc.inspect(torch_ebpc.map_file(path)).shape
        (4, 8)
    """
    encoder = ContainerEncoder(
        *(shape, dtype, memory_format, word_bits, block_size, max_zero_run, base, codec, zero),
        code=code,
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

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/maps.ebpc"
        ...     size = torch_ebpc.write_file(path, [torch.ones(100)], (100,), torch.float32)
        ...     sum(words.sum().item() for words in torch_ebpc.read_file(path))
        100.0
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
        OSError: the file cannot be read, or is not a regular file that knows its size.

    Example:
        >>> import tempfile
        >>> x = torch.arange(10.0).reshape(5, 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/x.ebpc"
        ...     size = torch_ebpc.write_file(path, [x], x.shape, x.dtype)
        ...     torch_ebpc.decompress(torch_ebpc.map_file(path), index=3)
        tensor([6., 7.])
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{os.fspath(path)} must be a regular file")
    size = status.st_size
    with open(path, "rb") as file:  # says clearly if it may not be read
        if size == 0:
            if file.read(1):  # as files of /proc are
                raise OSError(f"{os.fspath(path)} must have a size, found 0 bytes to map")
            return torch.empty(0, dtype=torch.uint8)
        return torch.from_file(os.fspath(path), shared=False, size=size, dtype=torch.uint8)


def _write(file: BinaryIO, data: Tensor) -> None:
    """Without NumPy, which PyTorch can do without. ``data`` lives as long as the view of it."""
    file.write(memoryview((ctypes.c_char * data.numel()).from_address(data.data_ptr())))
