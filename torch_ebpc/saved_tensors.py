"""Keeps what autograd saves for the backward pass compressed, without changing one bit."""

from __future__ import annotations

import contextlib
import re
import threading
import time
import weakref
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn

from torch_ebpc import ops
from torch_ebpc._caller import Caller
from torch_ebpc._compiled import is_compiled
from torch_ebpc._saved_memory import (
    Held,
    Kept,
    Packed,
    Stored,
    fingerprint_of,
    is_parameter,
    range_of,
    seems_worth,
    why_unusual,
    words_of,
)
from torch_ebpc.nested import bytes_of
from torch_ebpc.report import software_versions
from torch_ebpc.saved_report import (
    BUFFER,
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

    Made of ``torch.autograd.graph.saved_tensors_hooks``. Only the forward pass has to be inside;
    the backward pass decompresses a tensor whenever it asks for it. One object can be entered again
    and again, and by several threads at once; it reports on all of it.

    - A tensor that is saved several times, such as the output of a ReLU (by the ReLU itself, by the
      convolution that follows, by a residual connection), is stored once, and so are views of the
      same memory. What is stored is found again by its memory and a fingerprint of its bytes (128
      bits), and only while some graph holds it.
    - The words of a tensor are coded in the order of memory, and it comes back with its strides.
    - Tensors of dtypes that :func:`torch_ebpc.compress` does not know are coded by their bits:
      indices (int64), masks (bool), float64, complex numbers and all others.
    - Left as they are, and named in the report: parameters, other leaves that require grad, and
      buffers; tensors of fewer than ``min_bytes``; those that would hardly become smaller, as far
      as a sample of their words tells; those that are not on the CPU, not strided, quantized or of
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

    ``docs/training.md`` says how much smaller, and what malloc needs to be told so that memory that
    is freed leaves the process.

    Args:
        model: whose layers the report tells apart, and whose buffers are left alone. Without one, a
            report says of saved tensors only what made them.
        min_bytes: smaller tensors are left as they are: their bookkeeping costs more than they do.
        min_ratio: so are those that have fewer than this times the bytes of their container.
        block_size, max_zero_run, base: as for :func:`torch_ebpc.compress`, but for the default:
            floating-point words become smaller with ``block_size=16``.

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
        block_size: int = 16,
        max_zero_run: int = 16,
        base: str = "sent",
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
        self._code: dict[str, Any] = {
            "block_size": block_size,
            "max_zero_run": max_zero_run,
            "base": base,
        }
        # What the codec thinks of its parameters is better known now than in the middle of a pass.
        ops.count_bits(torch.empty(0, dtype=torch.int8, device="cpu"), **self._code)

        self._model = model
        self._min_bytes = min_bytes
        self._min_ratio = float(min_ratio)
        self._thread = _Entered()
        self._lock = threading.Lock()  # of what follows
        self._threads = 0  # that are inside
        self._attached = contextlib.ExitStack()
        self._caller: Caller | None = None
        self._layers_seen = False
        self._model_memory: dict[int, tuple[weakref.ref[UntypedStorage], str]] = {}
        self._rows: dict[RowKey, SavedRow] = {}

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
                    self._attach(self._model)
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
        with self._lock:
            self._threads -= 1
            if self._threads == 0:
                self._caller = None
                self._model_memory.clear()
                self._attached.close()

    def _attach(self, model: nn.Module) -> None:
        for kind, tensors in ((BUFFER, model.buffers()), (PARAMETER, model.parameters())):
            for x in tensors:
                if why_unusual(x) is None:
                    storage = x.untyped_storage()
                    self._model_memory[id(storage)] = (weakref.ref(storage), kind)
        modules = _modules_that_call_hooks(model)
        if modules:
            self._caller = Caller(modules, self._attached)

    # ---- Saving and unpacking --------------------------------------------------------------------

    def _pack(self, x: Tensor) -> Kept | Packed:
        begin = time.perf_counter()
        row = SavedRow(self._layer(), made_by(x), str(x.dtype).removeprefix("torch."), saves=1)
        handle = self._saved(x, row)
        row.pack_seconds = time.perf_counter() - begin
        self._count(row)
        return handle

    def _saved(self, x: Tensor, row: SavedRow) -> Kept | Packed:
        """Saves a tensor, and counts it in a row of its own."""
        why = why_unusual(x)
        if why is not None:
            row.keep(why, bytes_of(x))
            return Kept(x, Stored(None, bytes_of(x), None, row.key, self._held))
        storage = x.untyped_storage()
        why = self._held_by_the_model(x, storage)
        if why is not None:
            row.keep(why, x.nbytes)
            return Kept(x, None)
        elements = range_of(x)
        tensor_bytes = x.nbytes if elements is None else elements.bytes
        # Of what is left as it is, nothing is stored: taken for another, it would only be counted
        # wrongly. So autograd's version counter will do, which not all tensors of a storage share.
        left: _Key = (
            id(storage),
            elements or (x.storage_offset(), x.shape, x.stride()),
            x._version,
        )
        stored = self._again(left, storage, row)
        why = "small" if tensor_bytes < self._min_bytes else "part of a larger storage"
        if stored is None and elements is not None and tensor_bytes >= self._min_bytes:
            words = words_of(x, elements)
            # Whoever has written into this memory, and by whatever way: the same bytes are found.
            key: _Key = (id(storage), elements, fingerprint_of(words))
            stored = self._again(key, storage, row)
            if stored is None and (container := self._compressed(words)) is not None:
                row.packed = 1
                row.packed_tensor_bytes = tensor_bytes
                row.container_bytes = container.numel()
                stored = Stored(storage, tensor_bytes, container, row.key, self._held)
                self._stored[key] = stored
            why = "hardly smaller"
        if stored is None:
            row.keep(why, tensor_bytes)
            stored = Stored(storage, tensor_bytes, None, row.key, self._held)
            self._stored[left] = stored
        stored.saves += 1
        if stored.container is None or elements is None:
            return Kept(x, stored)
        return Packed(x, stored, elements)

    def _again(self, key: _Key, storage: UntypedStorage, row: SavedRow) -> Stored | None:
        stored = self._stored.get(key)
        # Where a storage has died, its place may be that of another by now.
        if stored is None or not stored.is_of(storage):
            return None
        row.repeated = 1
        return stored

    def _held_by_the_model(self, x: Tensor, storage: UntypedStorage) -> str | None:
        if is_parameter(x) or (x._base is not None and is_parameter(x._base)):
            return PARAMETER
        memory, kind = self._model_memory.get(id(storage), (None, None))
        return kind if memory is not None and memory() is storage else None

    def _compressed(self, words: Tensor) -> Tensor | None:
        """Their container; None if it would be hardly smaller."""
        if not seems_worth(words, self._min_ratio, self._code):
            return None
        container = ops.compress(words, **self._code)
        return container if container.numel() * self._min_ratio <= words.nbytes else None

    def _unpack(self, saved: Kept | Packed) -> Tensor:
        if isinstance(saved, Kept):
            return saved.unpack()
        begin = time.perf_counter()
        stored = saved.stored
        row = SavedRow(*stored.row, unpacks=1)
        with self._lock:
            # Whoever takes the words is alone with them.
            words, stored.words = stored.words, None
            last = None if self._last_unpacked is None else self._last_unpacked()
            if last is not None:
                last.words = None
            stored.unpacks += 1
            due = stored.unpacks % stored.saves != 0
        if words is None:
            words = saved.decompress()
            row.decompressed = 1
        given = words
        if due:
            # What is given away may be written into, now or later, and no counter need show it.
            given = words.clone()
            with self._lock:
                stored.words = words
                self._last_unpacked = weakref.ref(stored)
        row.unpack_seconds = time.perf_counter() - begin
        self._count(row)
        return saved.view_of(given)

    # ---- Reporting -------------------------------------------------------------------------------

    def report(self) -> SavedReport:
        """All that was saved so far, as an independent copy."""
        with self._lock:
            return SavedReport(
                rows=[row.copy() for row in self._rows.values()],
                peak_tensor_bytes=self._held.peak_tensor_bytes,
                peak_stored_bytes=self._held.peak_stored_bytes,
                has_layers=self._model is not None,
                provenance={
                    "model": None if self._model is None else type(self._model).__name__,
                    "min_bytes": self._min_bytes,
                    "min_ratio": self._min_ratio,
                    "code": dict(self._code),
                    **software_versions(),
                },
            )

    def _count(self, row: SavedRow) -> None:
        with self._lock:
            self._rows.setdefault(row.key, SavedRow(*row.key)).add(row)

    def _layer(self) -> str:
        if self._model is None:
            return ""
        caller = self._caller
        running = [""] if caller is None else caller.modules
        return (running[-1] or MODEL) if running else OUTSIDE


class _Entered(threading.local):
    hooks: torch.autograd.graph.saved_tensors_hooks | None = None


_Key = tuple[int, Any, Any]  # id of the storage, what part of it, and its fingerprint or version


def _modules_that_call_hooks(model: nn.Module) -> dict[str, nn.Module]:
    """All modules but those inside of compiled ones, whose hooks do not run, and TorchScript's."""
    modules: dict[str, nn.Module] = {}
    compiled: list[str] = []
    for name, module in model.named_modules():  # a module before what is in it
        if any(each == "" or name.startswith(f"{each}.") for each in compiled):
            continue
        if isinstance(module, torch.jit.ScriptModule):
            compiled.append(name)
            continue
        modules[name] = module
        # What torch.compile(module) returns, and what module.compile() leaves in the module.
        if is_compiled(module):
            compiled.append(name)
    return modules


def made_by(x: Tensor) -> str:
    """The function that made a tensor, or what it is a view of: ``"Convolution"``."""
    base = x if x._base is None else x._base
    if base.grad_fn is None:
        return "leaf"
    return re.sub(r"Backward\d*$", "", base.grad_fn.name())
