"""Nested containers of tensors, such as state dicts and checkpoints: every tensor packed, and back.

What :func:`pack` returns has the structure of what it was given, and only ordinary tensors in it.
It goes through :func:`torch.save` and ``torch.load(weights_only=True)``, and a flat one through
safetensors.
"""

from __future__ import annotations

import collections
import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any

import torch
from torch import Tensor, nn

from torch_ebpc import ops
from torch_ebpc._arguments import MAX_DIMS, check_max_bytes
from torch_ebpc.container import inspect
from torch_ebpc.errors import EBPCLimitError


def pack(
    content: Any,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    codec: str = "ebpc",
    zero: float | str = "auto",
    *,
    progress: Callable[[int], object] | None = None,
) -> Any:
    """Compresses every tensor in nested dicts, lists, tuples, named tuples, deques and UserDicts.

    Tensors of the dtypes that :func:`compress` knows become their containers, uint8 [bytes]. All
    else stays as it is: tensors that this would not make smaller, of other dtypes, devices and
    layouts, subclasses, or that require grad and are not parameters; numbers, strings. But a
    strided uint8 tensor always becomes a container, so that in the result what
    ``torch_ebpc.nested.is_container`` says is one and any other tensor is itself. Tied weights, the
    same memory under two names, stay tied.

    What a container cannot keep whole stays as it is too, and a warning names it: tensors that
    overlap with others (``flat`` and ``flat[:5000]``) or with themselves (expanded ones), so that
    what is written into one still shows in the other; tensors with Python attributes; and objects
    of other classes that tensors are found in.

    Args:
        content: a tensor, or nested containers of tensors and other objects; not changed.
        block_size, max_zero_run, base, codec: as for :func:`compress`.
        zero: as for :func:`compress`, but by default ``"auto"``: pruned weights, which are 0 and
            -0.0 alike, become as small as they can.
        progress: called with the bytes of each tensor when it is done, such as ``tqdm``'s
            ``update``.

    Raises:
        ValueError: an argument is out of range, or there is a strided uint8 tensor that a container
            cannot keep whole (it is of a class of its own, overlaps with another, or has
            attributes).

    Warns:
        UserWarning: tensors stay as they are that one would expect to be packed.

    Example:
        >>> content = {"maps": torch.randn(10, 100).relu(), "step": 7}
        >>> packed = torch_ebpc.pack(content)
        >>> packed["maps"].dtype, torch_ebpc.inspect(packed["maps"]).shape, packed["step"]
        (torch.uint8, (10, 100), 7)
        >>> torch.equal(torch_ebpc.unpack(packed)["maps"], content["maps"])
        True
    """

    everything = _Content(content)
    left = _why_left(everything.tensors)

    def packed(x: Tensor) -> Tensor:
        if not packable(x) or id(x) in left:
            if is_container(x):
                raise ValueError(
                    "content's uint8 tensors must be of the class Tensor or Parameter, without"
                    " attributes, and overlap with no other, got one that"
                    f" {left.get(id(x)) or f'is a {type(x).__name__}'}"
                )
            return x
        container = ops.compress(x.detach(), None, block_size, max_zero_run, base, codec, zero)
        if container.nbytes >= x.nbytes and x.dtype != torch.uint8:
            return x
        return _as_parameter(container) if isinstance(x, nn.Parameter) else container

    result = everything.mapped(packed, progress)
    names = [f"{path} {left[id(x)]}" for path, x in everything.tensors if id(x) in left]
    names += everything.left
    if names:
        more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        warnings.warn(
            f"pack leaves as it is: {'; '.join(names[:_NAMED])}{more}", UserWarning, stacklevel=2
        )
    return result


def unpack(
    content: Any,
    max_bytes: int | None = None,
    *,
    progress: Callable[[int], object] | None = None,
) -> Any:
    """What :func:`pack` was given. Untrusted bytes are safe.

    Args:
        content: from :func:`pack`, maybe saved and loaded in between; not changed.
        max_bytes: tensors of more bytes, all together, are refused before memory is asked for. By
            default 1 GiB, or 64 times the bytes of all containers if that is more.
        progress: as for :func:`pack`, with the bytes of each container.

    Raises:
        EBPCFormatError, EBPCChecksumError: a uint8 tensor is not a container, or has changed.
        EBPCLimitError: the tensors have more than ``max_bytes`` bytes.
    """
    check_max_bytes(max_bytes)
    container_bytes = tensor_bytes = 0

    def counted(x: Tensor) -> Tensor:
        nonlocal container_bytes, tensor_bytes
        if is_container(x):
            info = inspect(x.detach())
            container_bytes += info.container_bytes
            tensor_bytes += info.tensor_bytes
        return x

    everything = _Content(content)
    everything.mapped(counted)
    limit = max(1 << 30, 64 * container_bytes) if max_bytes is None else max_bytes
    if tensor_bytes > limit:
        raise EBPCLimitError(
            f"content's tensors must have at most {limit} bytes (max_bytes), found {tensor_bytes}"
        )

    def unpacked(x: Tensor) -> Tensor:
        if not is_container(x):
            return x
        tensor = ops.decompress(x.detach(), max_bytes=limit)
        return _as_parameter(tensor) if isinstance(x, nn.Parameter) else tensor

    return everything.mapped(unpacked, progress)


def bytes_of(x: Tensor) -> int:
    """Bytes of what a tensor of any kind holds; 0 where it does not say."""
    if x.layout == torch.strided and not x.is_nested:
        return x.nbytes
    if x.layout == torch.sparse_coo:
        parts = [x._indices(), x._values()]
    elif x.layout in (torch.sparse_csr, torch.sparse_bsr):
        parts = [x.crow_indices(), x.col_indices(), x.values()]
    elif x.layout in (torch.sparse_csc, torch.sparse_bsc):
        parts = [x.ccol_indices(), x.row_indices(), x.values()]
    elif x.is_nested:
        parts = [x.detach().values()]
    else:
        parts = []
    return sum(part.nbytes for part in parts)


_NAMED = 5  # paths in a warning


def is_container(x: Tensor) -> bool:
    """Of a tensor in what :func:`pack` returned: the others are themselves."""
    return x.dtype == torch.uint8 and _is_plain(x)


def _is_plain(x: Tensor) -> bool:
    return (
        x.layout == torch.strided
        and not x.is_nested
        and x.device.type == "cpu"
        and x.dim() <= MAX_DIMS
    )


def packable(x: Tensor) -> bool:
    """Whether :func:`pack` makes a container of it, if that is smaller."""
    # A parameter that is frozen has nothing in its container to tell it from one that is not.
    restorable = (
        x.requires_grad == x.is_floating_point()
        if type(x) is nn.Parameter
        else type(x) is Tensor and not x.requires_grad
    )
    return restorable and x.dtype in ops.DTYPES and _is_plain(x) and not (x.is_conj() or x.is_neg())


def _as_parameter(x: Tensor) -> nn.Parameter:
    return nn.Parameter(x, requires_grad=x.is_floating_point())


# ---- Memory that is shared -----------------------------------------------------------------------


def _why_left(tensors: list[tuple[str, Tensor]]) -> dict[int, str]:
    """Why tensors cannot be packed that are of a packable kind, by their ids."""
    left = {}
    ranges = []
    for _, x in tensors:
        if packable(x) and vars(x):
            left[id(x)] = f"has attributes: {', '.join(vars(x))}"
        if type(x) in (Tensor, nn.Parameter) and _is_plain(x) and x.numel() > 0:
            ranges.append((*_range_of(x), x))
            if packable(x) and _may_overlap_itself(x):
                left[id(x)] = "overlaps with itself"
    ranges.sort(key=lambda each: each[:2])
    groups: list[list[Tensor]] = []  # that overlap, one with the next
    reach = 0
    for begin, end, x in ranges:
        if begin >= reach:
            groups.append([])
        groups[-1].append(x)
        reach = max(reach, end)
    for group in groups:
        if len({_memory(x) for x in group}) > 1:
            left |= {id(x): "overlaps with another" for x in group if packable(x)}
    return left


def _range_of(x: Tensor) -> tuple[int, int]:
    """The addresses that a strided tensor lies in."""
    steps = zip(x.shape, x.stride(), strict=True)
    elements = 1 + sum((size - 1) * stride for size, stride in steps)
    return x.data_ptr(), x.data_ptr() + elements * x.itemsize


def _may_overlap_itself(x: Tensor) -> bool:
    reach = 0  # of the dimensions before, from the smallest stride on
    for stride, size in sorted(zip(x.stride(), x.shape, strict=True)):
        if size > 1:
            if stride <= reach:
                return True
            reach += (size - 1) * stride
    return False


def _memory(x: Tensor) -> Any:
    """Equal for tensors that are the same under two names, both of which are alive."""
    if not packable(x) or x.numel() == 0:
        return id(x)
    return x.data_ptr(), x.shape, x.stride(), x.dtype, type(x)


# ---- Nested containers ---------------------------------------------------------------------------


class _Content:
    """Nested containers. All that is found in them is held: ids and addresses tell things apart
    only while these live, and a container may make its values when it is asked for them."""

    def __init__(self, content: Any) -> None:
        self._content = content
        self._parts: dict[int, tuple[Any, list[tuple[Any, Any]] | None]] = {}  # by id
        self.tensors: list[tuple[str, Tensor]] = []  # with their paths, each once
        self.left: list[str] = []  # other objects that tensors are in
        self._find(content, "content")

    def _find(self, item: Any, path: str) -> None:
        if id(item) in self._parts:
            return
        parts = None if isinstance(item, Tensor) else _parts_of(item)
        self._parts[id(item)] = item, parts
        if isinstance(item, Tensor):
            self.tensors.append((path, item))
        elif parts is None and _holds_tensors(item, set()):
            self.left.append(f"{path}, of class {type(item).__name__}, with the tensors in it")
        for key, value in parts or []:
            self._find(value, f"{path}[{key!r}]")

    def mapped(
        self, function: Callable[[Tensor], Tensor], progress: Callable[[int], object] | None = None
    ) -> Any:
        """A copy of the structure with every tensor replaced. What is the same object, or a tensor
        of the same memory, is the same in the copy."""
        done: dict[Any, Any] = {}

        def visit(item: Any) -> Any:
            key = _memory(item) if isinstance(item, Tensor) else id(item)
            if key in done:
                return done[key]
            parts = self._parts[id(item)][1]
            result: Any = item
            if isinstance(item, Tensor):
                result = function(item)
                if progress is not None:
                    progress(bytes_of(item))
            elif isinstance(item, tuple) and parts is not None:
                make = getattr(item, "_make", type(item))  # named tuples have it
                result = make([visit(value) for _, value in parts])
            elif parts is not None:
                # A copy, for what its class keeps beside its items: a state dict's versions.
                result = done[key] = copy.copy(item)
                for name, value in parts:
                    result[name] = visit(value)
            done[key] = result
            return result

        return visit(self._content)


def _parts_of(item: Any) -> list[tuple[Any, Any]] | None:
    """The keys and values of a container that can be copied faithfully; None for other objects."""
    if isinstance(item, (dict, collections.UserDict)):
        return list(item.items())
    is_plain = type(item) in (list, tuple, collections.deque)
    is_named = (hasattr(type(item), "_fields") and hasattr(type(item), "_make")) or (
        type(item).__module__ == "torch.return_types"
    )
    if is_plain or (isinstance(item, tuple) and is_named and not getattr(item, "__dict__", None)):
        return list(enumerate(item))
    return None


def _holds_tensors(item: Any, seen: set[int]) -> bool:
    """Whether there are tensors in the attributes and items of an object of any class."""
    if isinstance(item, Tensor):
        return True
    if id(item) in seen or isinstance(item, (str, bytes, type)):
        return False
    seen.add(id(item))
    return any(_holds_tensors(value, seen) for value in _values_of(item))


def _values_of(item: Any) -> Iterator[Any]:
    if isinstance(item, Mapping):
        yield from item.values()
    elif isinstance(item, (list, tuple, collections.deque, Set)):
        yield from item
    yield from getattr(item, "__dict__", {}).values()
