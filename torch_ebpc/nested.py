"""Nested containers of tensors, such as state dicts and checkpoints: every tensor packed, and back.

What :func:`pack` returns has the structure of what it was given, and only ordinary tensors in it.
It goes through :func:`torch.save` and ``torch.load(weights_only=True)``, and a flat one through
safetensors.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from torch_ebpc import ops
from torch_ebpc._arguments import check_max_bytes
from torch_ebpc.errors import EBPCLimitError


def pack(
    content: Any,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    codec: str = "ebpc",
    *,
    progress: Callable[[int], object] | None = None,
) -> Any:
    """Compresses every tensor in nested dicts, lists and tuples.

    Tensors of the dtypes that :func:`compress` knows become their containers, uint8 [bytes]. All
    else stays as it is: tensors that this would not make smaller, of other dtypes, devices and
    layouts, or that require grad and are not parameters; numbers, strings. But a strided uint8
    tensor always becomes a container, so that in the result what :func:`is_container` says is one
    and any other tensor is itself. Tied weights, the same memory under two names, stay tied.

    Args:
        content: a tensor, or dicts, lists and tuples of tensors and other objects; not changed.
        block_size, max_zero_run, base, codec: as for :func:`compress`.
        progress: called with the bytes of each tensor when it is done, such as ``tqdm``'s
            ``update``.

    Raises:
        ValueError: an argument is out of range, or there is a uint8 tensor of a class of its own,
            which a container does not keep.

    Example:
        >>> content = {"maps": torch.randn(10, 100).relu(), "step": 7}
        >>> packed = torch_ebpc.pack(content)
        >>> packed["maps"].dtype, torch_ebpc.inspect(packed["maps"]).shape, packed["step"]
        (torch.uint8, (10, 100), 7)
        >>> torch.equal(torch_ebpc.unpack(packed)["maps"], content["maps"])
        True
    """

    def packed(x: Tensor) -> Tensor:
        if not packable(x):
            if is_container(x):
                raise ValueError(
                    "content's uint8 tensors must be of the class Tensor or Parameter, got"
                    f" {type(x).__name__}"
                )
            return x
        container = ops.compress(x.detach(), None, block_size, max_zero_run, base, codec)
        if container.nbytes >= x.nbytes and x.dtype != torch.uint8:
            return x
        return _as_parameter(container) if isinstance(x, nn.Parameter) else container

    return _mapped(content, packed, progress)


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
            info = ops.inspect(x.detach())
            container_bytes += info.container_bytes
            tensor_bytes += info.tensor_bytes
        return x

    _mapped(content, counted)
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

    return _mapped(content, unpacked, progress)


_MAX_DIMS = 24


def is_container(x: Tensor) -> bool:
    """Of a tensor in what :func:`pack` returned: the others are themselves."""
    return x.dtype == torch.uint8 and _is_plain(x)


def _is_plain(x: Tensor) -> bool:
    return (
        x.layout == torch.strided
        and not x.is_nested
        and x.device.type == "cpu"
        and x.dim() <= _MAX_DIMS
    )


def packable(x: Tensor) -> bool:
    """Whether :func:`pack` makes a container of it, if that is smaller."""
    # A parameter that is frozen has nothing in its container to tell it from one that is not.
    restorable = (
        x.requires_grad == x.is_floating_point()
        if isinstance(x, nn.Parameter)
        else type(x) is Tensor and not x.requires_grad
    )
    return restorable and x.dtype in ops.DTYPES and _is_plain(x)


def _as_parameter(x: Tensor) -> nn.Parameter:
    return nn.Parameter(x, requires_grad=x.is_floating_point())


def _mapped(
    content: Any,
    function: Callable[[Tensor], Tensor],
    progress: Callable[[int], object] | None = None,
) -> Any:
    """A copy of the structure with every tensor replaced. What is the same object, or a tensor of
    the same memory, is the same in the copy."""
    done: dict[Any, Any] = {}

    def visit(item: Any) -> Any:
        key = _memory(item) if isinstance(item, Tensor) else id(item)
        if key in done:
            return done[key]
        result: Any = item
        if isinstance(item, Tensor):
            result = done[key] = function(item)
            if progress is not None:
                progress(item.nbytes if item.layout == torch.strided else 0)
        elif isinstance(item, dict):
            # A copy, for what its class keeps beside its items: a state dict's versions.
            result = done[key] = copy.copy(item)
            for name, value in item.items():
                result[name] = visit(value)
        elif type(item) is list:
            result = done[key] = []
            result.extend(visit(value) for value in item)
        elif type(item) is tuple:
            result = done[key] = tuple(visit(value) for value in item)
        return result

    return visit(content)


def _memory(x: Tensor) -> Any:
    if not packable(x) or x.numel() == 0:
        return id(x)
    return x.data_ptr(), x.shape, x.stride(), x.dtype, type(x)
