"""What autograd's saved tensors are kept as: ranges of memory, compressed or as they are."""

from __future__ import annotations

import collections
import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, UntypedStorage, nn

from torch_ebpc import ops
from torch_ebpc._arguments import SEGMENT_WORDS
from torch_ebpc._bits import packed_bools, unpacked_bools
from torch_ebpc.saved_report import SavedRow

# A view with gaps is kept by its whole storage, unless that has more than so many times its bytes.
_LARGEST_STORAGE = 4
# How much of a tensor is compressed to find out whether it is worth compressing.
_SAMPLE_SEGMENTS = 16


class Range(NamedTuple):
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
    if x.is_contiguous() or x.numel() == 0:
        return Range(x.dtype, first, x.numel())
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


# PyTorch's own, and private: where a version has no such function, words count as held.
_use_count: Callable[[int], int] | None = getattr(torch._C, "_storage_Use_Count", None)


def is_held_elsewhere(words: Tensor) -> bool:
    """Whether other tensors, or anything else, may hold the memory of ``words``."""
    if _use_count is None:
        return True
    alone = torch.empty(1, device="cpu")
    return _owners_of(words, _use_count) > _owners_of(alone, _use_count)


def _owners_of(words: Tensor, use_count: Callable[[int], int]) -> int:
    return use_count(words.untyped_storage()._cdata)


def word_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype as which the codec takes the bits of another."""
    if dtype in ops.DTYPES:
        return dtype
    return {1: torch.uint8, 2: torch.int16}.get(dtype.itemsize, torch.int32)


def estimated_bytes(words: Tensor, code: dict[str, Any]) -> int:
    """What the words would be compressed to, as far as a sample of them tells."""
    segments = words.numel() // SEGMENT_WORDS
    sample = words
    if segments >= 2:
        sample = words[: segments * SEGMENT_WORDS].view(segments, SEGMENT_WORDS)
        # By an odd step: an even one might meet the same rows of each map, such as the first of
        # causal attention, which are nearly all zero.
        sample = sample[:: max(2, segments // _SAMPLE_SEGMENTS) | 1]
    packed = ops.compress(sample, **code).numel()
    return -(-packed * words.numel() // max(1, sample.numel()))


def suited(words: Tensor, code: dict[str, Any]) -> Tensor:
    """Other words of the same bytes, where these become smaller: bits of masks, and words of 32
    bits of bytes such as those in which oneDNN's recurrent layers save floating-point numbers."""
    other = packed_bools(words) if words.dtype == torch.bool else _wide(words)
    if other is words:
        return words
    return min(words, other, key=lambda each: estimated_bytes(each, code))


def as_saved(words: Tensor, dtype: torch.dtype, tensor_bytes: int) -> Tensor:
    """The words of a tensor of that dtype and size, of those that suited it better."""
    if dtype == torch.bool and words.nbytes < tensor_bytes:
        return unpacked_bools(words, tensor_bytes)
    return words.view(dtype)


def _wide(words: Tensor) -> Tensor:
    aligned = words.data_ptr() % 4 == words.storage_offset() % 4 == words.nbytes % 4 == 0
    return words.view(torch.int32) if words.dtype == torch.uint8 and aligned else words


def is_parameter(x: Tensor) -> bool:
    """Whether it is a parameter or another leaf that requires grad."""
    # Of this type itself: subclasses are unusual anyway.
    return (x.is_leaf and x.requires_grad) or type(x) is nn.Parameter


def why_unusual(x: Tensor) -> str | None:
    """Why the memory of a tensor cannot be looked at; None if it can."""
    kind = type(x)
    if kind is not Tensor and kind is not nn.Parameter:
        return f"subclass {kind.__name__}"
    if x.layout is not torch.strided:
        return f"layout {str(x.layout).removeprefix('torch.')}"
    if not x.is_cpu:
        return f"device {x.device.type}"
    if x.is_quantized:
        return "quantized"
    if x.is_conj() or x.is_neg():
        return "lazy conjugate or negative"
    return None


class Container(NamedTuple):
    """Compressed words."""

    data: Tensor  # uint8 [bytes]

    @property
    def bytes(self) -> int:
        return self.data.numel()

    def words(self, elements: Range) -> Tensor:
        words = ops.decompress(self.data, max_bytes=elements.bytes)
        return as_saved(words, elements.dtype, elements.bytes)


class Cast(NamedTuple):
    """Words that a leaf, as a rule a weight under autocast, was cast to: cast again when asked."""

    leaf: Tensor
    version: int
    dtype: torch.dtype
    fingerprint: tuple[int, int]

    @property
    def bytes(self) -> int:
        return 16  # of the fingerprint

    def words(self, elements: Range) -> Tensor:
        check_version(self.leaf, self.version, f"whose cast to {self.dtype} was saved")
        words = self.cast_again()
        if fingerprint_of(words) != self.fingerprint:
            raise modified(self.leaf, f"whose cast to {self.dtype} was saved, has other values now")
        return words

    def cast_again(self) -> Tensor:
        cast = self.leaf.detach().to(self.dtype)
        return words_of(cast, Range(self.dtype, 0, cast.numel()))


class Estimate(NamedTuple):
    """What words would be compressed in, where it is only to be reported."""

    bytes: int


def cast_of_leaf(x: Tensor, elements: Range, fingerprint: tuple[int, int]) -> Cast | None:
    """How the memory of ``x`` can be made again of a leaf; None if it is no cast of one."""
    base = x if x._base is None else x._base
    if base.grad_fn is None or base.grad_fn.name() != "ToCopyBackward0":
        return None
    leaf = getattr(base.grad_fn.next_functions[0][0], "variable", None)  # of AccumulateGrad
    if (
        leaf is None
        or why_unusual(leaf) is not None
        or (base.shape, base.stride()) != (leaf.shape, leaf.stride())
        or elements != (base.dtype, 0, base.numel())
    ):
        return None
    cast = Cast(leaf, leaf._version, base.dtype, fingerprint)
    # Either may have been changed since, in ways that no version counter sees.
    return cast if fingerprint_of(cast.cast_again()) == fingerprint else None


def check_version(x: Tensor, version: int, what: str) -> None:
    """Raises autograd's error if a tensor has been modified since it was at that version."""
    if x._version != version:
        raise modified(x, f"{what}, is at version {x._version}; expected version {version} instead")


def modified(x: Tensor, what: str) -> RuntimeError:
    return RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace"
        f" operation: a tensor of {x.dtype} {list(x.shape)}, {what}."
    )


class Stored:
    """A range of memory and the bytes that it had, for all tensors that were saved in it."""

    # There is one for every saved tensor; fewer objects wake the garbage collector less often.
    __slots__ = (
        "__weakref__", "_held", "_storage", "content", "fingerprint", "row", "saves",
        "stored_bytes", "tensor_bytes", "unpacks", "unsettled", "words",
    )  # fmt: skip

    def __init__(
        self,
        storage: UntypedStorage | None,
        tensor_bytes: int,
        content: Container | Cast | Estimate | None,
        row: SavedRow,
        held: Held,
        fingerprint: tuple[int, int] | None = None,
    ) -> None:
        self._storage = None if storage is None else weakref.ref(storage)
        self._held = held
        self.tensor_bytes = tensor_bytes
        self.stored_bytes = tensor_bytes if content is None else content.bytes
        self.content = content  # None where the memory is kept as it is
        self.fingerprint = fingerprint  # of the words that it stands for
        self.row = row  # of the report, that it counts in
        self.saves = 0
        self.unpacks = 0
        # Its key and memory, while that may still be written to by the operation that saves it.
        self.unsettled: tuple[Any, Tensor] | None = None
        self.words: Tensor | None = None  # unpacked and given away, while they are due once more
        held.add(self.tensor_bytes, self.stored_bytes)

    def __del__(self) -> None:
        self._held.release(self.tensor_bytes, self.stored_bytes)

    def replace(self, content: Container, fingerprint: tuple[int, int]) -> None:
        self.fingerprint = fingerprint
        self._held.add(0, content.bytes - self.stored_bytes)
        self.content, self.stored_bytes = content, content.bytes

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

    __slots__ = ("_tensor", "_version", "stored")

    def __init__(self, x: Tensor, stored: Stored | None) -> None:
        # With its grad_fn, which may hold the saved tensor, it would be a reference cycle. A
        # parameter has none, and has to follow where its `data` are replaced.
        self._tensor = x if is_parameter(x) else x.detach()
        self._version = x._version
        self.stored = stored  # lives as long as this

    def unpack(self) -> Tensor:
        check_version(self._tensor, self._version, "left as it is by save_compressed")
        return self._tensor


class Packed:
    """A saved tensor whose range of memory is made again of what is stored."""

    __slots__ = ("_offset", "_range", "_shape", "_stride", "stored")

    def __init__(self, x: Tensor, stored: Stored, elements: Range) -> None:
        self.stored = stored
        self._range = elements
        self._shape = x.shape
        self._stride = x.stride()
        self._offset = x.storage_offset() - elements.first

    def words(self) -> Tensor:
        """Of the range, made again."""
        assert isinstance(self.stored.content, (Container, Cast))
        return self.stored.content.words(self._range)

    def view_of(self, words: Tensor) -> Tensor:
        """The tensor in the words of its range."""
        return words.view(self._range.dtype).as_strided(self._shape, self._stride, self._offset)
