"""What is left of a damaged container, and how large a container can be."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from torch_ebpc import ops
from torch_ebpc.errors import translated


@dataclasses.dataclass(frozen=True)
class RecoveredTensor:
    """What :func:`recover` could read."""

    tensor: Tensor  #: 0 where words are lost
    lost_words: tuple[range, ...]
    """The words that are lost, as ranges of indices into ``tensor.flatten()``."""
    lost_samples: tuple[int, ...]
    """The indices into the first dimension of all samples that have lost words."""


def recover(packed: Tensor, max_bytes: int | None = None) -> RecoveredTensor:
    """Unpacks what is intact of a container that is damaged or cut short.

    A container's payload is made of segments of 4096 words that are coded independently, each
    with a checksum. A damaged one is lost as a whole, and only that one.

    Args:
        packed: uint8 [bytes], from :func:`compress`; the end may be missing, and what follows the
            container is ignored. Untrusted bytes are safe.
        max_bytes: as in :func:`decompress`.

    Raises:
        EBPCFormatError, EBPCChecksumError: the header is damaged; nothing can be read without it.
        EBPCLimitError, TypeError, ValueError: as :func:`decompress`.

    Example:
        >>> packed = torch_ebpc.compress(torch.randn(3, 4096))
        >>> packed[-1] ^= 1
        >>> torch_ebpc.recover(packed).lost_samples
        (2,)
    """
    info = ops.read_info(packed, header_only=True)
    ops._check_max_bytes(max_bytes)
    with translated():
        tensor, lost = torch.ops.torch_ebpc.recover.default(
            packed, info.shape, info.dtype, info.memory_format, max_bytes
        )
    lost_words = tuple(range(first, first + count) for first, count in lost.tolist())
    samples: set[int] = set()
    if info.shape and lost_words:
        sample_words = math.prod(info.shape[1:])
        for words in lost_words:
            samples.update(range(words.start // sample_words, (words.stop - 1) // sample_words + 1))
    return RecoveredTensor(tensor, lost_words, tuple(sorted(samples)))


def max_compressed_bytes(shape: Sequence[int], dtype: torch.dtype) -> int:
    """The most bytes that :func:`compress` makes of such a tensor, whatever is in it: its own
    bytes, and less than 1 % and 256 bytes more.

    Raises:
        TypeError: ``dtype`` is not supported.
        ValueError: ``shape`` has more than 24 dimensions, a negative size, or 2^63 bytes or more.

    Example:
        >>> torch_ebpc.max_compressed_bytes((64, 112, 112), torch.int8)
        804460
    """
    if dtype not in ops.DTYPES:
        names = ", ".join(str(each).removeprefix("torch.") for each in ops.DTYPES)
        raise TypeError(f"dtype must be one of {names}, got {dtype}")
    with translated():
        size: int = torch.ops.torch_ebpc.max_compressed_bytes.default(list(shape), dtype)
    return size
