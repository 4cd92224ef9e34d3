"""Keeps what autograd saves for the backward pass compressed, without changing one bit."""

from __future__ import annotations

import collections
import functools
import re
import sys
import threading
import time
import weakref
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn

from torch_ebpc import ops
from torch_ebpc._compiled import is_compiled
from torch_ebpc._malloc import Trimmer
from torch_ebpc._saved_memory import (
    Cast,
    Container,
    Estimate,
    Held,
    Kept,
    Packed,
    Stored,
    cast_of_leaf,
    estimated_bytes,
    fingerprint_of,
    is_held_elsewhere,
    is_parameter,
    range_of,
    suited,
    why_unusual,
    words_of,
)
from torch_ebpc.nested import bytes_of
from torch_ebpc.report import software_versions
from torch_ebpc.saved_report import (
    BUFFER,
    CAST,
    MODEL,
    OUTSIDE,
    PARAMETER,
    RowKey,
    SavedReport,
    SavedRow,
)


class save_compressed:  # noqa: N801 - named as torch.autograd.graph.save_on_cpu is
    """A context manager under which autograd keeps compressed what it saves for the backward pass:
    lossless, so that gradients are the same to the last bit.

    It uses ``torch.autograd.graph.saved_tensors_hooks``. Only the forward pass has to be inside;
    the backward pass decompresses a tensor whenever it asks for it. One object can be entered again
    and again, and by several threads at once; it reports on all of it.

    - A tensor that is saved several times, such as the output of a ReLU (by the ReLU itself, by the
      convolution that follows, by a residual connection), is stored once, and so are views of the
      same memory. What is stored is found again by its memory and a fingerprint of its bytes (128
      bits), and only while some graph holds it.
    - The words of a tensor are coded in the order of memory, and it comes back with its strides.
    - A cast of a parameter or another leaf, as autocast makes one of each weight, is not stored: it
      is cast again when asked. Where the leaf has been modified by then, that is autograd's error.
    - Tensors of dtypes that :func:`torch_ebpc.compress` does not know are coded by their bits:
      indices (int64), masks (bool, eight in a byte), float64, complex numbers and all others.
    - Left as they are, and named in the report: parameters, other leaves that require grad, and
      buffers; tensors of fewer than ``min_bytes``; those that would hardly become smaller, as far
      as a sample of their words tells (none is taken while all else in their row of the report
      was compressed); those that are not on the CPU, not strided, quantized or of
      a subclass of ``Tensor``; views with gaps of a small part of a storage, or that autograd does
      not know as views (``unsafe_chunk``, ``detach``).

    A compressed tensor has the values that it had when it was saved, whatever is written into its
    memory afterwards, also where autograd's version counter does not see it (``x.data``, memory
    shared with NumPy, views with counters of their own); and so has a tensor that is saved after
    it. Where it is modified in place before the backward pass, which is an error with autograd
    alone, the gradient is right. A tensor that is left as it is behaves as with autograd alone: it
    gives that error, and follows what no counter sees.

    Of such hooks, PyTorch applies the innermost alone: what is saved inside of ``save_on_cpu`` or
    ``torch.utils.checkpoint`` is theirs. A checkpoint's inputs are saved before it begins, so they
    are compressed.

    What is freed is given back to the system, where glibc's malloc would keep it, whenever clearly
    more is resident than this process has needed so far (``malloc_trim``, in both passes). With
    another libc or allocator nothing is done. ``docs/training.md`` says how much smaller it gets.

    Args:
        model: whose layers the report tells apart, and whose buffers are left alone. Without one, a
            report says of saved tensors only what made them.
        min_bytes: smaller tensors are left as they are: their bookkeeping costs more than they do.
        min_ratio: so are those that have fewer than this times the bytes of their container.
        block_size, max_zero_run, base, zero: of EBPC, as for :func:`torch_ebpc.compress`, and zero
            one of ``"auto"`` and 0: other zeros would not be values of all dtypes that are saved.
            If none of the four is given, each segment is coded as with ``codec="auto"``, which is
            smaller.
        compress: if false, nothing is compressed: the report says what autograd saves, and by a
            sample what it would be kept in.
        trim: whether to give freed memory back to the system.

    Raises:
        ValueError: an argument is out of range.
        TypeError: an argument has the wrong type.
        RuntimeError: it is entered by a thread that has entered it already.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> with torch_ebpc.save_compressed(model) as saved:
        ...     loss = model(torch.rand(4, 3, 32, 32)).sum()
        >>> loss.backward()
        >>> [(row.layer, row.made_by) for row in saved.report().rows]
        [('0', 'leaf'), ('1', 'Relu')]
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        *,
        min_bytes: int = 16384,
        min_ratio: float = 1.05,
        block_size: int | None = None,
        max_zero_run: int | None = None,
        base: str | None = None,
        zero: str | int | None = None,
        compress: bool = True,
        trim: bool = True,
    ) -> None:
        if model is not None and not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module or None, got {type(model).__name__}")
        if not isinstance(min_bytes, int):
            raise TypeError(f"min_bytes must be an int, got {type(min_bytes).__name__}")
        if min_bytes < 0:
            raise ValueError(f"min_bytes must not be negative, got {min_bytes}")
        if not isinstance(min_ratio, (int, float)):
            raise TypeError(f"min_ratio must be a float, got {type(min_ratio).__name__}")
        if not min_ratio >= 1:
            raise ValueError(f"min_ratio must be at least 1, got {min_ratio}")
        for name, value in (("compress", compress), ("trim", trim)):
            if not isinstance(value, bool):
                raise TypeError(f"{name} must be a bool, got {type(value).__name__}")
        if zero not in ("auto", 0, None):
            raise ValueError(f"zero must be 'auto' or 0, got {zero!r}")
        given = {
            "block_size": block_size,
            "max_zero_run": max_zero_run,
            "base": base,
            "zero": zero,
        }
        self._code: dict[str, Any] = {
            name: value for name, value in given.items() if value is not None
        } or {"codec": "auto"}
        # So that wrong parameters are refused now and not in the middle of a forward pass.
        ops.compress(torch.empty(0, dtype=torch.int8, device="cpu"), **self._code)

        self._model = model
        self._min_bytes = min_bytes
        self._min_ratio = float(min_ratio)
        self._compress = compress
        self._thread = _Entered()
        self._lock = threading.Lock()  # of what follows
        self._threads = 0  # that are inside
        self._layers = _Layers(model)
        self._model_memory: dict[int, tuple[weakref.ref[UntypedStorage], str]] = {}
        self._rows: dict[RowKey, SavedRow] = {}

        self._trimmer = Trimmer(trim)
        self._held = Held()
        self._stored: weakref.WeakValueDictionary[_Key, Stored] = weakref.WeakValueDictionary()
        self._last_unpacked: weakref.ref[Stored] | None = None

    # ---- Entering and leaving --------------------------------------------------------------------

    def __enter__(self) -> save_compressed:
        if self._thread.hooks is not None:
            raise RuntimeError("this save_compressed is entered already; make a second one")
        # A compiler that sees them called would make them part of what it compiles.
        hooks = torch.autograd.graph.saved_tensors_hooks(
            *map(torch.compiler.disable, (self._pack, self._unpack))
        )
        hooks.__enter__()  # raises where PyTorch allows none
        self._thread.hooks = hooks
        try:
            with self._lock:
                self._threads += 1
                if self._threads == 1 and self._model is not None:
                    self._layers.refresh()
                    self._look_at(self._model)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        hooks, self._thread.hooks = self._thread.hooks, None
        if hooks is not None:
            hooks.__exit__(exception_type, exception, traceback)
        self._settle(self._thread.packs)
        with self._lock:
            self._threads -= 1
            if self._threads == 0:
                self._model_memory.clear()

    def _look_at(self, model: nn.Module) -> None:
        for kind, tensors in ((BUFFER, model.buffers()), (PARAMETER, model.parameters())):
            for x in tensors:
                if why_unusual(x) is None:
                    storage = x.untyped_storage()
                    self._model_memory[id(storage)] = (weakref.ref(storage), kind)

    # ---- Saving and unpacking --------------------------------------------------------------------

    def _pack(self, x: Tensor) -> Kept | Packed:
        begin = time.perf_counter()
        self._thread.packs += 1
        self._settle(self._thread.packs - 2)
        row = self._row(self._layers.running(), made_by(x), _name(x.dtype))
        handle, what = self._saved(x, row)
        stored = handle.stored
        if stored is not None and isinstance(stored.content, Cast):
            row = self._row(row.layer, CAST, row.dtype)
        with self._lock:
            if stored is not None:
                stored.saves += 1
            row.saves += 1
            if what == REPEATED:
                row.repeated += 1
            elif what == PACKED:
                assert stored is not None
                row.packed += 1
                row.packed_tensor_bytes += stored.tensor_bytes
                row.container_bytes += stored.stored_bytes
            else:
                row.keep(what, x.nbytes if stored is None else stored.tensor_bytes)
            row.pack_seconds += time.perf_counter() - begin
        if stored is not None and what != REPEATED:
            self._trimmer.passed(stored.tensor_bytes)
        return handle

    def _saved(self, x: Tensor, row: SavedRow) -> tuple[Kept | Packed, str]:
        """What autograd is given, and what that is: PACKED, REPEATED, or why it is left."""
        why = why_unusual(x)
        if why is not None:
            return Kept(x, Stored(None, bytes_of(x), None, row, self._held)), why
        storage = x.untyped_storage()
        why = self._held_by_the_model(x, storage)
        if why is not None:
            return Kept(x, None), why
        elements = range_of(x)
        tensor_bytes = x.nbytes if elements is None else elements.bytes
        # Of what is left as it is, nothing is stored: taken for another, it would only be counted
        # wrongly. So autograd's version counter will do, which not all tensors of a storage share.
        left: _Key = (
            id(storage),
            elements or (x.storage_offset(), x.shape, x.stride()),
            x._version,
        )
        stored = self._again(left, storage)
        if stored is not None:
            return Kept(x, stored), REPEATED
        if tensor_bytes < self._min_bytes:
            why = "small"
        elif elements is None:
            why = "part of a larger storage"
        else:
            words = words_of(x, elements)
            # By its bytes, since memory may be written to in ways that no version counter sees.
            fingerprint = fingerprint_of(words)
            key: _Key = (id(storage), elements, fingerprint)
            stored, what = self._again(key, storage), REPEATED
            if stored is None:
                cast = cast_of_leaf(x, elements, fingerprint)
                content = cast or self._compressed(words, row)
                if content is not None:
                    if cast is not None:
                        row = self._row(row.layer, CAST, row.dtype)
                    stored, what = (
                        Stored(storage, tensor_bytes, content, row, self._held, fingerprint),
                        PACKED,
                    )
                    self._stored[key] = stored
                    if x.grad_fn is None and x._version == 0 and isinstance(content, Container):
                        stored.unsettled = key, words
                        self._thread.unsettled.append((self._thread.packs, stored))
            if stored is not None:
                handle = Packed(x, stored, elements) if self._compress else Kept(x, stored)
                return handle, what
            why = HARDLY_SMALLER
        stored = self._stored[left] = Stored(storage, tensor_bytes, None, row, self._held)
        return Kept(x, stored), why

    # PyTorch 2.13 saves the noise of torch.rrelu before the operation has filled it, and no version
    # counter shows that. The operation then saves its input, and is done when the next one saves.

    def _settle(self, last: int) -> None:
        """Of this thread's packs up to that number."""
        unsettled = self._thread.unsettled
        while unsettled and unsettled[0][0] <= last:
            self._settle_one(unsettled.popleft()[1])

    def _settle_one(self, stored: Stored) -> None:
        """Compresses once more what was written to after it was saved."""
        if stored.unsettled is None:
            return
        with self._lock:
            if stored.unsettled is None:
                return
            key, words = stored.unsettled
            if words._version == 0 and (fingerprint := fingerprint_of(words)) != key[2]:
                self._stored.pop(key, None)
                before = stored.stored_bytes
                packed = ops.compress(suited(words, self._code), **self._code)
                stored.replace(Container(packed), fingerprint)
                stored.row.container_bytes += stored.stored_bytes - before
            stored.unsettled = None

    def _again(self, key: _Key, storage: UntypedStorage) -> Stored | None:
        stored = self._stored.get(key)
        # Where a storage has died, its place may be that of another by now.
        return stored if stored is not None and stored.is_of(storage) else None

    def _held_by_the_model(self, x: Tensor, storage: UntypedStorage) -> str | None:
        if is_parameter(x) or (x._base is not None and is_parameter(x._base)):
            return PARAMETER
        memory, kind = self._model_memory.get(id(storage), (None, None))
        return kind if memory is not None and memory() is storage else None

    def _compressed(self, words: Tensor, row: SavedRow) -> Container | Estimate | None:
        """What to keep of them; None if it would be hardly smaller. Where all of the row so far was
        compressed, no sample is needed."""
        enough = words.nbytes / self._min_ratio
        words = suited(words, self._code)
        content: Container | Estimate | None = None
        if not self._compress or row.packed == 0 or HARDLY_SMALLER in row.kept:
            content = Estimate(estimated_bytes(words, self._code))
        if self._compress and (content is None or content.bytes <= enough):
            content = Container(ops.compress(words, **self._code))
        return content if content is not None and content.bytes <= enough else None

    def _unpack(self, saved: Kept | Packed) -> Tensor:
        if isinstance(saved, Kept):
            self._trimmer.passed(0 if saved.stored is None else saved.stored.tensor_bytes)
            return saved.unpack()
        begin = time.perf_counter()
        stored = saved.stored
        self._settle_one(stored)
        row = stored.row
        with self._lock:
            # Taking the words out leaves them to this call alone.
            words, stored.words = stored.words, None
            last = None if self._last_unpacked is None else self._last_unpacked()
            if last is not None:
                last.words = None
            stored.unpacks += 1
            due = stored.unpacks % stored.saves != 0
        if words is not None and is_held_elsewhere(words):
            words = words.clone()
        # What was given away may have been written into, and no counter need show it.
        made = words is None or fingerprint_of(words) != stored.fingerprint
        if words is None or made:
            words = None  # before memory is asked for
            words = saved.words()
        given = saved.view_of(words)  # has an owner of its own before others can take the words
        if due:
            with self._lock:
                stored.words = words
                self._last_unpacked = weakref.ref(stored)
        with self._lock:
            row.unpacks += 1
            row.decompressed += made
            row.unpack_seconds += time.perf_counter() - begin
        self._trimmer.passed(words.nbytes)
        return given

    # ---- Reporting -------------------------------------------------------------------------------

    def report(self) -> SavedReport:
        """All that was saved so far, as an independent copy."""
        with self._lock:
            return SavedReport(
                rows=[row.copy() for row in self._rows.values()],
                peak_tensor_bytes=self._held.peak_tensor_bytes,
                peak_stored_bytes=self._held.peak_stored_bytes,
                trims=self._trimmer.trims,
                trim_seconds=self._trimmer.seconds,
                compressed=self._compress,
                has_layers=self._model is not None,
                provenance={
                    "model": None if self._model is None else type(self._model).__name__,
                    "min_bytes": self._min_bytes,
                    "min_ratio": self._min_ratio,
                    "code": dict(self._code),
                    "trim": self._trimmer.available,
                    **software_versions(),
                },
            )

    def _row(self, layer: str, made: str, dtype: str) -> SavedRow:
        """The one that counts for a layer, a function and a dtype."""
        key = layer, made, dtype
        row = self._rows.get(key)
        if row is None:
            with self._lock:
                row = self._rows.setdefault(key, SavedRow(*key))
        return row


class _Entered(threading.local):
    def __init__(self) -> None:
        self.hooks: torch.autograd.graph.saved_tensors_hooks | None = None
        self.packs = 0
        self.unsettled: collections.deque[tuple[int, Stored]] = collections.deque()


# What became of saved memory that was not left as it is.
PACKED, REPEATED = "packed", "repeated"
HARDLY_SMALLER = "hardly smaller"  # why it was left

_Key = tuple[int, Any, Any]  # id of the storage, what part of it, and its fingerprint or version


class _Layers:
    """Knows which module of a model this thread is in, by the calls that lead here: nothing has to
    be attached to the modules, and nothing is done when they run.
    """

    def __init__(self, model: nn.Module | None) -> None:
        self._model = model
        self._names: dict[nn.Module, str] = {}

    def refresh(self) -> None:
        """Looks at the modules that the model has now: all but those inside of compiled ones and
        of TorchScript's, of which some are called by Python and some are not."""
        self._names.clear()
        whole: list[str] = []
        for name, module in [] if self._model is None else self._model.named_modules():
            # A module comes before what is in it.
            if any(each == "" or name.startswith(f"{each}.") for each in whole):
                continue
            self._names[module] = name
            # What torch.compile(module) returns, and what module.compile() leaves in the module.
            if isinstance(module, torch.jit.ScriptModule) or is_compiled(module):
                whole.append(name)

    def running(self) -> str:
        """The innermost, as a report names it."""
        if self._model is None:
            return ""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_code is _CALL:
                name = self._names.get(frame.f_locals["self"])
                if name is not None:
                    return name or MODEL
            frame = frame.f_back
        return OUTSIDE


_CALL = nn.Module._wrapped_call_impl.__code__


def made_by(x: Tensor) -> str:
    """The function that made a tensor, or what it is a view of: ``"Convolution"``."""
    base = x if x._base is None else x._base
    return "leaf" if base.grad_fn is None else _function(base.grad_fn.name())


@functools.cache
def _function(name: str) -> str:
    return re.sub(r"Backward\d*$", "", name)


@functools.cache
def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
