"""Checks of arguments, whose errors name the argument, what was expected and what was found."""

from __future__ import annotations

import dataclasses
import json
import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual


@dataclasses.dataclass(frozen=True)
class DTypeTraits:
    """A row of the table in C++ (``csrc/ebpc/tensor_info.cpp``)."""

    word_bits: int
    element_words: int
    has_negative_zero: bool  #: as a word that ``zero="auto"`` takes for a zero


def _table() -> dict[str, DTypeTraits]:
    rows = (row.split(":") for row in torch.ops.torch_ebpc.dtypes().split())
    return {
        name: DTypeTraits(int(bits), int(words), bool(int(negative)))
        for name, bits, words, negative in rows
    }


DTYPE_NAMES = ", ".join(_table())
"""Of the dtypes that can be compressed."""

TRAITS: dict[torch.dtype, DTypeTraits] = {
    getattr(torch, name): traits for name, traits in _table().items() if hasattr(torch, name)
}
"""Of those of them that this PyTorch has."""

DTYPES: tuple[torch.dtype, ...] = tuple(TRAITS)
"""The dtypes that can be compressed and that this PyTorch has."""


CONSTANTS: dict[str, int] = json.loads(torch.ops.torch_ebpc.constants())
"""Of the format and the operators, as C++ has them."""

MAX_DIMS = CONSTANTS["max_dims"]
"""Of a tensor in a container."""

SEGMENT_WORDS = CONSTANTS["segment_words"]


def check_dtype(name: str, dtype: Any) -> None:
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"{name} must be a torch.dtype, got {type(dtype).__name__}")
    if dtype not in DTYPES:
        raise TypeError(f"{name} must be one of {DTYPE_NAMES}, got {dtype}")


def dtype_named(name: str) -> torch.dtype:
    """Raises a TypeError where this PyTorch is too old to have it."""
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise TypeError(
            f"the container holds {name}, which torch {torch.__version__} does not have"
        )
    return dtype


def word_of(zero: Any, dtype: torch.dtype) -> int:
    """The word that a value of the dtype is, for the parameter ``zero``.

    Raises:
        TypeError: it is no number.
        ValueError: it is no value of the dtype, or the dtype has more than one word in an element.
    """
    zero = _python_int(zero)
    if isinstance(zero, bool) or not isinstance(zero, (int, float)):
        raise TypeError(f"zero must be a number, got {type(zero).__name__}")
    if zero == 0 and (math.copysign(1, zero) > 0 or not dtype.is_floating_point):
        return 0
    if dtype in TRAITS and TRAITS[dtype].element_words > 1:
        raise ValueError(f"zero must be 0 for {dtype}, which is several words, got {zero}")
    if dtype.is_floating_point:
        value = torch.tensor(zero, dtype=torch.float64, device="cpu").to(dtype)
        if value.item() == zero:
            integer = {1: torch.int8, 2: torch.int16, 4: torch.int32}[dtype.itemsize]
            return int(value.view(integer).item())
    else:
        smallest, largest = (0, 1) if dtype == torch.bool else _range_of(dtype)
        if smallest <= zero <= largest and zero == int(zero):
            return int(zero)
    raise ValueError(f"zero must be a value of {dtype}, got {zero}")


def _range_of(dtype: torch.dtype) -> tuple[int, int]:
    limits = torch.iinfo(dtype)
    return limits.min, limits.max


def check_input(name: str, x: Any, *, cuts_graph: bool, may_be_meta: bool = False) -> None:
    """``cuts_graph``: what is made of ``x`` carries no gradient. ``may_be_meta``: its shape and
    dtype are enough."""
    _check_strided(name, x)
    if x.dtype not in DTYPES:
        hint = f": pass {name}.int_repr()" if x.is_quantized else ""
        raise TypeError(f"{name}'s dtype must be one of {DTYPE_NAMES}, got {x.dtype}{hint}")
    _check_device(name, x, may_be_meta=may_be_meta)
    if cuts_graph and x.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{name} must not require grad while grad mode is on: its packed bytes carry no"
            f" gradient. Pass {name}.detach(), or work under torch.no_grad()."
        )
    if cuts_graph and not torch.compiler.is_compiling() and _has_tangent(x):
        raise ValueError(
            f"{name} must not carry a forward-mode tangent (as under torch.func.jvp): its packed"
            " bytes carry none"
        )


def check_bytes(name: str, packed: Any) -> None:
    _check_strided(name, packed)
    if packed.dtype != torch.uint8:
        raise TypeError(f"{name}'s dtype must be uint8, got {packed.dtype}")
    if packed.dim() != 1:
        raise ValueError(f"{name} must have one dimension, got {packed.dim()}")
    _check_device(name, packed)


def _check_strided(name: str, x: Any) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(x).__name__}")
    if x.is_nested:
        raise TypeError(f"{name} must be a strided tensor, got a nested one")
    if x.layout != torch.strided:
        raise TypeError(f"{name} must be a strided tensor, got layout {x.layout}")


def _check_device(name: str, x: Tensor, *, may_be_meta: bool = False) -> None:
    if x.is_cpu or (x.is_meta and may_be_meta):
        return
    hint = "which has no data" if x.device.type == "meta" else f"pass {name}.cpu()"
    raise ValueError(f"{name} must be on the CPU, got {x.device}: {hint}")


def _has_tangent(x: Tensor) -> bool:
    return unpack_dual(x).tangent is not None  # type: ignore[no-untyped-call]


def checked_shape(name: str, shape: Any) -> tuple[int, ...]:
    """Types only; the codec itself knows the ranges. Sizes may be NumPy's integers."""
    if not isinstance(shape, Sequence) or isinstance(shape, (str, bytes)):
        raise TypeError(f"{name} must be a tuple of ints, got {type(shape).__name__}")
    sizes = tuple(_python_int(size) for size in shape)
    for size in sizes:
        check_int(f"a size of {name}", size)
    return sizes


def _python_int(value: Any) -> Any:
    if isinstance(value, (int, torch.SymInt, Tensor)) or not hasattr(value, "__index__"):
        return value
    return operator.index(value)


def check_max_bytes(max_bytes: Any) -> None:
    if max_bytes is None:
        return
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int):
        raise TypeError(f"max_bytes must be an int or None, got {type(max_bytes).__name__}")
    if not 0 <= max_bytes < 2**63:
        raise ValueError(f"max_bytes must be from 0 to 2^63 - 1, got {max_bytes}")


def check_int(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, torch.SymInt)):
        raise TypeError(f"{name} must be an int, got {type(value).__name__}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{name} is out of range: {value}")


def check_str(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, got {type(value).__name__}")
