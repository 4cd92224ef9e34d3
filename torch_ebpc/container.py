"""Containers: what a header says, and a container of which parts are read again and again."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import weakref
from collections.abc import Sequence
from typing import Any, NoReturn, SupportsIndex

import torch
from torch import Tensor

from torch_ebpc._arguments import (
    check_bytes,
    check_dtype,
    check_max_bytes,
    checked_shape,
    dtype_named,
)
from torch_ebpc._index import part_of
from torch_ebpc.errors import translated

_AUTO_CODINGS = (
    *("raw", "N=15, no zeros", "N=31, no zeros", "N=63, no zeros"),
    *("words, mask", "N=15, mask", "N=31, mask", "N=63, mask"),
    *("words, R=16", "N=15, R=16", "N=31, R=16", "N=63, R=16"),
    *("words, R=256", "N=15, R=256", "N=31, R=256", "N=63, R=256"),
    *("entropy", "entropy, mask", "entropy, R=256"),
    *("entropy, mask of repeats", "entropy, R=256 of repeats", "default"),
)
CODINGS: dict[str, tuple[str, ...]] = {"ebpc": ("raw", "ebpc"), "auto": _AUTO_CODINGS}
"""How a segment may be coded: by the container's codec, in the order of their numbers."""

_MEMORY_FORMATS = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
    "channels_last_3d": torch.channels_last_3d,
}


@dataclasses.dataclass(frozen=True)
class CodingCount:
    """The segments of a container that are coded in the same way.

    Example:
        >>> packed = torch_ebpc.compress(torch.eye(128), codec="auto")
        >>> for count in torch_ebpc.inspect(packed).codings:
        ...     print(count.segments, "segments:", count.coding)
        4 segments: entropy, R=256
    """

    coding: str
    """``"raw"``, or ``"ebpc"`` where the container has parameters for all segments. Where segments
    choose (``codec="auto"``), how words are coded (their upper bits in an ``"entropy"`` code, in
    blocks of N with the base re-used, or as they are, ``"words"``), and then how those are known
    that are left out (a ``mask``, or runs of up to R): zeros, or ``repeats`` of the word before.
    ``"default"`` is EBPC as :func:`compress` has it by default."""
    segments: int
    words: int  #: of these segments


@dataclasses.dataclass(frozen=True)
class ContainerInfo:
    """What a container's header says, as returned by :func:`inspect`.

    Example:
        >>> info = torch_ebpc.inspect(torch_ebpc.compress(torch.zeros(100, 100)))
        >>> info.shape, info.words, info.segments, info.raw_segments
        ((100, 100), 10000, 3, 0)
    """

    format_version: int
    dtype: torch.dtype
    memory_format: str  #: "contiguous", "channels_last" or "channels_last_3d"
    shape: tuple[int, ...]
    codec: str  #: "ebpc" or "auto", as :func:`compress` was asked for
    word_bits: int
    block_size: int | None  #: of all segments; None if they choose (codec="auto")
    max_zero_run: int | None
    base: str | None
    zero: int  #: the word that counts as zero
    both_zeros: bool  #: whether 0 and -0.0 both do
    words: int
    """The tensor's words, as many as it has elements, or more where an element is several words (of
    64-bit integers, float64 and complex numbers)."""
    segment_words: int  #: words of a segment; the last one may have fewer
    segments: int
    raw_segments: int  #: stored as they are, because coding would not make them smaller
    raw_words: int
    zero_stream_bits: int  #: of all coded segments, before padding, with the signs of zeros
    plane_stream_bits: int  #: of all coded segments, before padding
    header_bytes: int
    container_bytes: int
    codings: tuple[CodingCount, ...]  #: that there are segments of

    @property
    def stream_bits(self) -> int:
        """Bits of the words, coded or raw, without padding and header."""
        return self.zero_stream_bits + self.plane_stream_bits + self.raw_words * self.word_bits

    @property
    def tensor_bytes(self) -> int:
        """Bytes of the uncompressed tensor."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def ratio(self) -> float:
        """Bytes of the tensor / bytes of the container."""
        return self.tensor_bytes / self.container_bytes


def info_from(text: str) -> ContainerInfo:
    """Of the JSON that the operators give."""
    fields: dict[str, Any] = json.loads(text)
    fields["dtype"] = dtype_named(fields["dtype"])
    fields["shape"] = tuple(fields["shape"])
    names = CODINGS[fields["codec"]]
    fields["codings"] = tuple(
        CodingCount(names[number], segments, words) for number, segments, words in fields["codings"]
    )
    if fields["codec"] == "auto":  # there, segments choose
        fields |= {"block_size": None, "max_zero_run": None, "base": None}
    return ContainerInfo(**fields)


@dataclasses.dataclass(frozen=True)
class RecoveredTensor:
    """What :func:`recover` could read."""

    tensor: Tensor  #: 0 where words are lost
    lost_words: tuple[range, ...]
    """The elements that are lost, as ranges of indices into ``tensor.flatten()``."""
    lost_samples: tuple[range, ...]
    """The samples that have lost elements, as ranges of indices into the first dimension;
    ``itertools.chain.from_iterable`` gives them one by one."""


class OpenHandle:
    """What the operators keep open for an object, until the object is gone."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        weakref.finalize(self, torch.ops.torch_ebpc.close.default, handle)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be copied or pickled, since it is open in this process"
            " alone: open another one where it is needed"
        )


class Container(OpenHandle):
    """A container whose header is read and checked once: for reading sample after sample.

    Args:
        packed: uint8 [bytes], from :func:`compress`, or the path of a file that holds one, which is
            mapped and read where it is looked at (see :func:`map_file`). Untrusted bytes are safe.
            Bytes must not change while the object is used. Threads may share it.

    Raises:
        EBPCFormatError, EBPCChecksumError, TypeError, ValueError: as :func:`decompress`.
        OSError: the file cannot be read.

    Example:
        >>> container = torch_ebpc.Container(torch_ebpc.compress(torch.eye(3)))
        >>> container.info.shape, container[1]
        ((3, 3), tensor([0., 1., 0.]))
    """

    def __init__(
        self, packed: Tensor | str | os.PathLike[str], *, _may_be_cut: bool = False
    ) -> None:
        if isinstance(packed, (str, os.PathLike)):
            from torch_ebpc.files import map_file

            packed = map_file(packed)
        check_bytes("packed", packed)
        with translated():
            super().__init__(torch.ops.torch_ebpc.open_container.default(packed, _may_be_cut))
            self.info: ContainerInfo = info_from(
                torch.ops.torch_ebpc.container_info.default(self._handle)
            )
            """What the header says."""

    def __len__(self) -> int:
        """The size of the first dimension."""
        if not self.info.shape:
            raise TypeError("a container of a tensor without dimensions has no length")
        return self.info.shape[0]

    def __getitem__(self, index: SupportsIndex | slice) -> Tensor:
        """As ``decompress()[index]`` for an int or a slice with a positive step, reading only the
        segments that hold these samples.

        Raises:
            IndexError, TypeError, ValueError: ``index`` is none of these.
            EBPCFormatError, EBPCChecksumError: one of these segments is damaged.
            EBPCLimitError: the samples have more bytes than :func:`decompress` allows by default.
        """
        return self.read(index)

    def read(self, index: SupportsIndex | slice, max_bytes: int | None = None) -> Tensor:
        """As ``container[index]``, with a limit as in :func:`decompress`."""
        check_max_bytes(max_bytes)
        part = part_of(self.info.shape, index)
        with translated():
            elements = torch.ops.torch_ebpc.container_range.default(
                self._handle, part.first_word, part.words, max_bytes
            )
        samples: Tensor = elements.view(part.shape).contiguous(
            memory_format=_MEMORY_FORMATS[self.info.memory_format]
        )
        return samples[part.take]

    def decompress(self, max_bytes: int | None = None) -> Tensor:
        """The whole tensor, as :func:`decompress`."""
        check_max_bytes(max_bytes)
        with translated():
            x: Tensor = torch.ops.torch_ebpc.container_read.default(self._handle, max_bytes)
        return x

    def recover(self, max_bytes: int | None = None) -> RecoveredTensor:
        """What is intact, as :func:`recover`."""
        check_max_bytes(max_bytes)
        with translated():
            tensor, lost = torch.ops.torch_ebpc.container_recover.default(self._handle, max_bytes)
        # Of an element that is several words, one lost word loses the element.
        each = max(1, self.info.words // max(1, tensor.numel()))
        firsts, counts = lost.unbind(1)
        lost_elements = tuple(
            range(first // each, -(-(first + count) // each))
            for first, count in zip(firsts.tolist(), counts.tolist(), strict=True)
        )
        return RecoveredTensor(tensor, lost_elements, _samples_of(lost_elements, self.info.shape))


def inspect(packed: Tensor) -> ContainerInfo:
    """Reads and checks a container's header; the payload is not looked at.

    Args:
        packed: uint8 [bytes], from :func:`compress`.

    Raises:
        EBPCFormatError, EBPCChecksumError, TypeError, ValueError: as :func:`decompress`.

    Example:
        >>> info = torch_ebpc.inspect(torch_ebpc.compress(torch.zeros(2, 3)))
        >>> info.dtype, info.shape, info.word_bits
        (torch.float32, (2, 3), 32)
    """
    return Container(packed).info


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
    return Container(packed, _may_be_cut=True).recover(max_bytes)


def _samples_of(lost: tuple[range, ...], shape: tuple[int, ...]) -> tuple[range, ...]:
    """The samples of which elements are lost, as ranges in order that do not touch."""
    samples: list[range] = []
    if shape and lost:
        sample_elements = math.prod(shape[1:])
        for elements in lost:
            first = elements.start // sample_elements
            stop = (elements.stop - 1) // sample_elements + 1
            if samples and samples[-1].stop >= first:
                first = samples.pop().start
            samples.append(range(first, stop))
    return tuple(samples)


def max_compressed_bytes(shape: Sequence[int], dtype: torch.dtype) -> int:
    """The most bytes that :func:`compress` makes of such a tensor, whatever is in it: its own
    bytes, and less than 1 % and 260 bytes more.

    Raises:
        TypeError: ``shape`` is not a sequence of ints, or ``dtype`` not supported.
        ValueError: ``shape`` has more than 24 dimensions, a negative size, or 2^63 bytes or more.

    Example:
        >>> torch_ebpc.max_compressed_bytes((64, 112, 112), torch.int8)
        805248
    """
    sizes = checked_shape("shape", shape)
    check_dtype("dtype", dtype)
    with translated():
        size: int = torch.ops.torch_ebpc.max_compressed_bytes.default(sizes, dtype)
    return size
