"""What autograd's saved tensors are kept as: ranges of memory, compressed or as they are."""

from __future__ import annotations

import collections
import dataclasses
import threading
import weakref
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn

from torch_ebpc import ops

# A view with gaps is kept by its whole storage, unless that has more than so many times its bytes.
_LARGEST_STORAGE = 4
# How much of a tensor is counted to find out whether it is worth compressing.
_SAMPLE_SEGMENTS, _SEGMENT_WORDS = 16, 4096


@dataclasses.dataclass(frozen=True)
class Range:
    """The elements of a storage that a strided tensor lies in: equal for all views of the same
    elements, whatever their strides."""

    dtype: torch.dtype
    first: int  # in elements, from the beginning of the storage
    elements: int

    @property
    def bytes(self) -> int:
        return self.elements * self.dtype.itemsize


def range_of(x: Tensor) -> Range | None:
    """The range of ``x``; None for a view with gaps that is a small part of its storage, or that
    autograd does not know as a view.

    The gaps of other views belong to the range, and so do those of their neighbours: three thirds
    of a tensor's last dimension are all in its whole storage. Neighbours that autograd does not
    know may be written one after the other, each after the one before was saved (the gates of a
    recurrent cell): their storage would be another one for each.
    """
    first = int(x.storage_offset())
    if x.numel() == 0:
        return Range(x.dtype, first, 0)
    steps = zip(x.shape, x.stride(), strict=True)
    spanned = 1 + sum((size - 1) * stride for size, stride in steps)
    if spanned <= x.numel():
        return Range(x.dtype, first, spanned)
    if x._base is None:
        return None
    elements = x.untyped_storage().nbytes() // x.dtype.itemsize
    return Range(x.dtype, 0, elements) if elements <= _LARGEST_STORAGE * x.numel() else None


def words_of(x: Tensor, elements: Range) -> Tensor:
    """The words of a range of the storage of ``x``, in the order of memory."""
    flat = x.detach().as_strided((elements.elements,), (1,), elements.first)
    return flat.view(word_dtype(x.dtype))


def fingerprint_of(words: Tensor) -> tuple[int, int]:
    """128 bits that other words share with a probability of 2^-128, in this process alone."""
    first, second = torch.ops.torch_ebpc.fingerprint.default(words.view(torch.uint8)).tolist()
    return first, second


def word_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype as which the codec takes the bits of another."""
    if dtype in ops.DTYPES:
        return dtype
    return {1: torch.uint8, 2: torch.int16}.get(dtype.itemsize, torch.int32)


def seems_worth(words: Tensor, min_ratio: float, code: dict[str, Any]) -> bool:
    """Whether the words would become that much smaller, as far as a sample of them tells."""
    segments = words.numel() // _SEGMENT_WORDS
    if segments < 2:
        return True  # coding is not much more work than counting
    sample = words[: segments * _SEGMENT_WORDS].view(segments, _SEGMENT_WORDS)
    sample = sample[:: max(2, segments // _SAMPLE_SEGMENTS)]
    return ops.count_bits(sample, **code) * min_ratio <= 8 * sample.nbytes


def is_parameter(x: Tensor) -> bool:
    """Whether it is a parameter or another leaf that requires grad."""
    return isinstance(x, nn.Parameter) or (x.is_leaf and x.requires_grad)


def why_unusual(x: Tensor) -> str | None:
    """Why the memory of a tensor cannot be looked at; None if it can."""
    if type(x) is not Tensor and type(x) is not nn.Parameter:
        return f"subclass {type(x).__name__}"
    if x.layout != torch.strided:
        return f"layout {str(x.layout).removeprefix('torch.')}"
    if x.device.type != "cpu":
        return f"device {x.device.type}"
    if x.is_quantized:
        return "quantized"
    if x.is_conj() or x.is_neg():
        return "lazy conjugate or negative"
    return None


class Stored:
    """A range of memory and the bytes that it had, for all tensors that were saved in it."""

    def __init__(
        self,
        storage: UntypedStorage | None,
        tensor_bytes: int,
        container: Tensor | None,
        row: tuple[str, str, str],
        held: Held,
    ) -> None:
        self._storage = None if storage is None else weakref.ref(storage)
        self._bytes = tensor_bytes, tensor_bytes if container is None else container.numel()
        self._held = held
        self.container = container  # uint8 [bytes]; None where the memory is kept as it is
        self.row = row  # of the report, that it counts in
        self.saves = 0
        self.unpacks = 0
        self.words: Tensor | None = None  # decompressed, for us alone, while they are due once more
        held.add(*self._bytes)

    def __del__(self) -> None:
        self._held.release(*self._bytes)

    def is_of(self, storage: UntypedStorage) -> bool:
        return self._storage is not None and self._storage() is storage


class Held:
    """Bytes that are alive, and were at most."""

    def __init__(self) -> None:
        self.peak_tensor_bytes = 0
        self.peak_stored_bytes = 0
        self._tensor_bytes = 0
        self._stored_bytes = 0
        self._lock = threading.Lock()
        # The last reference may go at any moment, also while this thread has the lock.
        self._released: collections.deque[tuple[int, int]] = collections.deque()

    def add(self, tensor_bytes: int, stored_bytes: int) -> None:
        with self._lock:
            while self._released:
                tensor, stored = self._released.popleft()
                self._tensor_bytes -= tensor
                self._stored_bytes -= stored
            self._tensor_bytes += tensor_bytes
            self._stored_bytes += stored_bytes
            self.peak_tensor_bytes = max(self.peak_tensor_bytes, self._tensor_bytes)
            self.peak_stored_bytes = max(self.peak_stored_bytes, self._stored_bytes)

    def release(self, tensor_bytes: int, stored_bytes: int) -> None:
        self._released.append((tensor_bytes, stored_bytes))


class Kept:
    """A saved tensor that is left as it is."""

    def __init__(self, x: Tensor, stored: Stored | None) -> None:
        # With its grad_fn, which may hold the saved tensor, it would be a reference cycle. A
        # parameter has none, and has to follow where its `data` are replaced.
        self._tensor = x if is_parameter(x) else x.detach()
        self._version = x._version
        self.stored = stored  # lives as long as this

    def unpack(self) -> Tensor:
        if self._tensor._version != self._version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an"
                f" inplace operation: a tensor of {self._tensor.dtype} {list(self._tensor.shape)},"
                f" left as it is by save_compressed, is at version {self._tensor._version};"
                f" expected version {self._version} instead."
            )
        return self._tensor


class Packed:
    """A saved tensor whose range of memory is compressed."""

    def __init__(self, x: Tensor, stored: Stored, elements: Range) -> None:
        self.stored = stored
        self._range = elements
        self._shape = x.shape
        self._stride = x.stride()
        self._offset = x.storage_offset() - elements.first

    def decompress(self) -> Tensor:
        """The words of the range."""
        container = self.stored.container
        assert container is not None
        return ops.decompress(container, max_bytes=self._range.bytes)

    def view_of(self, words: Tensor) -> Tensor:
        """The tensor in the words of its range."""
        return words.view(self._range.dtype).as_strided(self._shape, self._stride, self._offset)
