"""Which tensors a meter can measure. The others are left out, by name, and end no run."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from torch_ebpc._arguments import DTYPES, MAX_DIMS

_QUANTIZED = (torch.qint8, torch.quint8, torch.qint32)
_FLOATS = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz),
)


def plain_tensor(x: Tensor, *, quantized: bool) -> Tensor | str:
    """The tensor without autograd and the transforms of :mod:`torch.func`, to be called and used
    :func:`outside_of_transforms`; or why it cannot be measured or, where it is to be ``quantized``,
    not by a quantizer. What has no plain memory may have no sizes either, so it is found first."""
    while _functorch.is_functorch_wrapped_tensor(x):
        if _functorch.is_batchedtensor(x):
            return "a batch of torch.func.vmap"
        if _functorch.is_functionaltensor(x):
            return "a tensor of torch.func.functionalize"
        x = _functorch.get_unwrapped(x)
    if x.is_nested:
        return "a nested tensor"
    if type(x).__torch_dispatch__ is not Tensor.__torch_dispatch__:
        return f"a {type(x).__name__}, which has no plain memory"
    if x.layout != torch.strided:
        return f"of layout {_short(x.layout)}"
    if x.device.type != "cpu":
        return f"on {x.device}, not on the CPU"
    if x.dim() > MAX_DIMS:
        return f"of more than {MAX_DIMS} dimensions"
    if quantized and x.dtype not in _FLOATS:
        return f"of dtype {_short(x.dtype)}, where a quantizer needs floating point"
    if not quantized and x.dtype not in (*DTYPES, *_QUANTIZED):
        return f"of dtype {_short(x.dtype)}"
    return x.detach().resolve_neg()


def _short(name: torch.layout | torch.dtype) -> str:
    return str(name).removeprefix("torch.")


def outside_of_transforms() -> contextlib.AbstractContextManager[Any]:
    """Inside of it, plain tensors are themselves also where torch.func would wrap them."""
    return temporarily_clear_interpreter_stack()
