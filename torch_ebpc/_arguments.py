"""Checks of arguments, whose errors name the argument, what was expected and what was found."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

DTYPES: tuple[torch.dtype, ...] = (
    torch.int8,
    torch.uint8,
    torch.int16,
    torch.uint16,
    torch.int32,
    torch.float16,
    torch.bfloat16,
    torch.float32,
)
"""The dtypes that can be compressed, in the order of their numbers in the container."""

DTYPE_NAMES = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)


def check_input(name: str, x: Any, *, cuts_graph: bool) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(x).__name__}")
    if x.is_nested:
        raise TypeError(f"{name} must be a strided tensor, got a nested one")
    if x.layout != torch.strided:
        raise TypeError(f"{name} must be a strided tensor, got layout {x.layout}")
    if x.dtype not in DTYPES:
        hint = f": pass {name}.int_repr()" if x.is_quantized else ""
        raise TypeError(f"{name}'s dtype must be one of {DTYPE_NAMES}, got {x.dtype}{hint}")
    if x.device.type not in ("cpu", "meta"):
        raise ValueError(f"{name} must be on the CPU, got {x.device}: pass {name}.cpu()")
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


def _has_tangent(x: Tensor) -> bool:
    return unpack_dual(x).tangent is not None  # type: ignore[no-untyped-call]


def check_bytes(name: str, packed: Any) -> None:
    if not isinstance(packed, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(packed).__name__}")
    if packed.dtype != torch.uint8:
        raise TypeError(f"{name}'s dtype must be uint8, got {packed.dtype}")
    if packed.device.type not in ("cpu", "meta"):
        raise ValueError(f"{name} must be on the CPU, got {packed.device}: pass {name}.cpu()")


def check_max_bytes(max_bytes: Any) -> None:
    if max_bytes is not None and not isinstance(max_bytes, int):
        raise TypeError(f"max_bytes must be an int or None, got {type(max_bytes).__name__}")


def check_int(name: str, value: Any) -> None:
    if not isinstance(value, (int, torch.SymInt)):
        raise TypeError(f"{name} must be an int, got {type(value).__name__}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{name} is out of range: {value}")


def check_str(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, got {type(value).__name__}")


def check_parameters(word_bits: Any, block_size: Any, max_zero_run: Any, base: Any) -> None:
    """Types only; the codec itself knows the ranges."""
    if word_bits is not None:
        check_int("word_bits", word_bits)
    check_int("block_size", block_size)
    check_int("max_zero_run", max_zero_run)
    check_str("base", base)
