"""What is left of a damaged container, and how large a container can be."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from torch_ebpc import ops
from torch_ebpc._arguments import DTYPE_NAMES, check_max_bytes, checked_shape
from torch_ebpc.errors import translated


@dataclasses.dataclass(frozen=True)
class RecoveredTensor:
    """What :func:`recover` could read."""

    tensor: Tensor  #: 0 where words are lost
    lost_words: tuple[range, ...]
    """The words that are lost, as ranges of indices into ``tensor.flatten()``."""
    lost_samples: tuple[range, ...]
    """The samples that have lost words, as ranges of indices into the first dimension;
    ``itertools.chain.from_iterable`` gives them one by one."""


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
        (range(2, 3),)
    """
    info = ops.read_info(packed, allow_cut=True)
    check_max_bytes(max_bytes)
    with translated():
        tensor, lost = torch.ops.torch_ebpc.recover.default(
            packed, info.shape, info.dtype, info.memory_format, max_bytes
        )
    firsts, counts = lost.unbind(1)
    lost_words = tuple(map(range, firsts.tolist(), (firsts + counts).tolist()))
    return RecoveredTensor(tensor, lost_words, _samples_of(lost_words, info.shape))


def _samples_of(lost_words: tuple[range, ...], shape: tuple[int, ...]) -> tuple[range, ...]:
    """The samples of which words are lost, as ranges in order that do not touch."""
    samples: list[range] = []
    if shape and lost_words:
        sample_words = math.prod(shape[1:])
        for words in lost_words:
            first = words.start // sample_words
            stop = (words.stop - 1) // sample_words + 1
            if samples and samples[-1].stop >= first:
                first = samples.pop().start
            samples.append(range(first, stop))
    return tuple(samples)


def max_compressed_bytes(shape: Sequence[int], dtype: torch.dtype) -> int:
    """The most bytes that :func:`compress` makes of such a tensor, whatever is in it: its own
    bytes, and less than 1 % and 256 bytes more.

    Raises:
        TypeError: ``shape`` is not a sequence of ints, or ``dtype`` not supported.
        ValueError: ``shape`` has more than 24 dimensions, a negative size, or 2^63 bytes or more.

    Example:
        >>> torch_ebpc.max_compressed_bytes((64, 112, 112), torch.int8)
        804460
    """
    sizes = checked_shape("shape", shape)
    if dtype not in ops.DTYPES:
        raise TypeError(f"dtype must be one of {DTYPE_NAMES}, got {dtype}")
    with translated():
        size: int = torch.ops.torch_ebpc.max_compressed_bytes.default(sizes, dtype)
    return size
