"""Compression of a layer's output that scripts, traces, saves, compiles and exports with the layer.

It is a forward hook, with buffers and attributes on the layer itself: the layer keeps its class,
its name, its parameters and all else that a model reads of it.

TorchScript, torch.compile, torch.export and FX all read this module's code, so it keeps to what
they have in common. TorchScript is deprecated upstream; no other module of the package uses it.
"""

# No `from __future__ import annotations`: TorchScript wants types, not their names.
import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from torch_ebpc._arguments import TRAITS
from torch_ebpc.quantizer import Quantizer

COLUMNS = (
    "images",
    "values",
    "nonzero_values",  # words that are not the zero word
    "uncompressed_bits",
    "zero_stream_bits",  # of EBPC, each image coded as one transmission, without container
    "plane_stream_bits",
    "container_bytes",
    "position",  # among all calls of a forward pass, from 1
    "number",  # among the calls of this layer in a forward pass, from 1
)
"""The columns of the buffer ``ebpc_calls``, int64 ``[calls, 9 + dimensions]``, of an inserted
compression. The first seven are sums over all forward passes; the rest is fixed, and 0 where calls
are not known: one row is then of all calls. The shape of one image follows, padded with -1."""

COUNTS = 7


# ---- Operations on one map -----------------------------------------------------------------------
# As functions of their own, so that tracing keeps them (sizes would become constants otherwise) and
# so that torch.fx.symbolic_trace does not look inside.


@torch.jit.script_if_tracing  # type: ignore[untyped-decorator]
def _through_codec(
    words: Tensor,
    calls: Tensor,
    next_call: Tensor,
    word_bits: int | None,
    block_size: int,
    max_zero_run: int,
    base: str,
    zero: int,
) -> Tensor:
    """What the decoder returns for ``words``; what they cost is added to a row of ``calls``."""
    if zero != 0 and words.is_floating_point():
        raise ValueError("zero must be 0 for a layer that returns floating point")
    packed = torch.ops.torch_ebpc.compress(
        words, word_bits, block_size, max_zero_run, base, "ebpc", zero
    )
    # These are our own bytes, of a shape that is known and checked: they need no other limit.
    decoded: Tensor = torch.ops.torch_ebpc.decompress(
        packed, words.shape, words.dtype, "contiguous", 9223372036854775807
    )

    dims = min(1, words.dim())
    bits = torch.ops.torch_ebpc.count_methods(
        words, "ebpc,zvc", word_bits, block_size, max_zero_run, base, dims, zero
    )
    sums = bits.reshape(2, -1, 2).sum(1)
    images = words.shape[0] if dims == 1 else 1
    width = 8 * words.element_size() if word_bits is None else word_bits
    row = torch.cat(
        [
            torch.tensor([images, words.numel()]),
            sums[1, 1:] // width,
            torch.tensor([words.numel() * width]),
            sums[0],
            torch.tensor([packed.numel()]),
        ]
    )
    calls.narrow(1, 0, row.numel()).index_add_(0, next_call, row.unsqueeze(0))
    # In one step, so that no other thread finds a number that there is no row for.
    next_call.copy_((next_call + 1).remainder(calls.size(0)))
    return decoded


@torch.jit.script_if_tracing  # type: ignore[untyped-decorator]
def _fixed_point(
    x: Tensor,
    scales: list[float],
    next_call: Tensor,
    smallest_word: int,
    largest_word: int,
    nearest: bool,
    headroom: float,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """The words of ``x`` and their scale, bit for bit those of :class:`Quantizer`, by operations on
    tensors alone. A scale of 0 is to come from ``x``."""
    x = x.to(torch.float32)
    largest = x.abs().max() if x.numel() > 0 else torch.zeros((), dtype=torch.float32)
    _require(largest.isfinite(), "x must be finite to be quantized, got inf or NaN")
    if scales[0] > 0:
        every = torch.tensor(scales, dtype=torch.float32, device=x.device)
        scale = every.index_select(0, next_call)
    else:
        quotient = largest.to(torch.float64) / (headroom * largest_word)
        # Within what float32 can divide by.
        quotient = quotient.clamp(1.1754943508222875e-38, 3.4028234663852886e38)
        scale = torch.where(largest == 0, 1.0, quotient).to(torch.float32)
    words = x / scale
    if nearest:
        words = words.round()
    if smallest_word == 0:
        _require(
            (words > -1).all(), "x must not be negative for unsigned words; signed=True takes it"
        )
    return words.clamp(smallest_word, largest_word).to(dtype), scale


def _require(condition: Tensor, message: str) -> None:
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        if not bool(condition):
            raise ValueError(message)
    else:
        # A branch on data would not compile. In TorchScript this would be removed as dead code.
        torch._assert_async(condition, message)


# Elements that are one word: the counts of a layer are of elements.
_DTYPES = tuple(dtype for dtype, of in TRAITS.items() if of.element_words == 1)


def why_left_alone(x: Any, quantized: bool, zero: int) -> str | None:
    """Why there is no compression of what a layer has returned; None where there is."""
    if not isinstance(x, Tensor):
        return f"returns a {type(x).__name__} and not one tensor"
    if x.is_nested:  # which comes of a mask for padding
        return "returns a nested tensor; nn.TransformerEncoder(enable_nested_tensor=False) has none"
    if x.layout != torch.strided:
        return f"returns a tensor of layout {x.layout}"
    if quantized and not x.is_floating_point():
        return f"returns {x.dtype}, and a quantizer needs floating point"
    if zero != 0 and x.is_floating_point():
        return f"returns {x.dtype}, and zero={zero} is the zero point of integers"
    if not quantized and x.dtype not in _DTYPES:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES)
        return f"returns {x.dtype}, which is none of {names}"
    return None


def warn_left_alone(name: str, reason: str, stacklevel: int) -> None:
    warnings.warn(f"{name} is left without compression: it {reason}", stacklevel=stacklevel + 1)


def _is_compressed(layer: Any, x: Any) -> bool:
    """Whether an output goes through the codec. Warns where something is amiss."""
    if isinstance(x, torch.fx.Proxy):
        return True
    reason = why_left_alone(x, layer.ebpc_quantized, layer.ebpc_zero)
    if torch.compiler.is_compiling():  # which has no place for a warning
        return reason is None
    if reason is not None:
        warn_left_alone(layer.ebpc_name, reason, 3)
        return False
    if torch._C._functorch.is_functorch_wrapped_tensor(x):
        raise NotImplementedError(
            f"{layer.ebpc_name}: compression cannot run inside of torch.func.vmap, grad or jvp,"
            " where it can neither take single samples nor count; torch.autograd works"
        )
    replicas = DistributedDataParallel._active_ddp_module
    if (
        replicas is not None
        and replicas.will_sync_module_buffers()  # type: ignore[no-untyped-call]
        and any(buffer is layer.ebpc_calls for buffer in replicas.modules_buffers)
    ):
        warnings.warn(
            f"{layer.ebpc_name}: DistributedDataParallel replaces its counts by those of rank 0:"
            " wrap the very module that insert_compression returns",
            stacklevel=3,
        )
    return True


torch.fx.wrap("_through_codec")
torch.fx.wrap("_fixed_point")


# ---- The hook ------------------------------------------------------------------------------------


def compress_output(self: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    """A forward hook: what the decoder makes of a layer's output."""
    if not torch.jit.is_scripting():  # type: ignore[attr-defined]
        compressed = _is_compressed(self, output)
        if not compressed:
            return output
    words = output.detach()
    scale = torch.empty(0)
    if self.ebpc_quantized:
        words, scale = _fixed_point(
            words,
            self.ebpc_scales,
            self.ebpc_next_call,
            self.ebpc_smallest_word,
            self.ebpc_largest_word,
            self.ebpc_nearest,
            self.ebpc_headroom,
            self.ebpc_word_dtype,
        )
    decoded = _through_codec(
        words,
        self.ebpc_calls,
        self.ebpc_next_call,
        self.ebpc_word_bits,
        self.ebpc_block_size,
        self.ebpc_max_zero_run,
        self.ebpc_base,
        self.ebpc_zero,
    )
    if self.ebpc_quantized:
        decoded = decoded.to(torch.float32) * scale
    # The gradient passes straight through: to autograd, the result is a copy of the output.
    y = output.clone()
    y.detach().copy_(decoded)
    return y


# PyTorch numbers the hooks of a process from 0, and a hook of a model that was unpickled in another
# process would be replaced by the one that gets its number there.
_HOOK = -1


@dataclasses.dataclass(frozen=True)
class LayerCall:
    """One call of a layer, as example inputs have shown it."""

    position: int  # among all calls of a forward pass, from 1
    number: int  # among the calls of its layer, from 1
    shape: tuple[int, ...]  # of one image
    largest: float  # magnitude


def has_compression(layer: nn.Module) -> bool:
    return hasattr(layer, "ebpc_calls") and hasattr(layer, "ebpc_next_call")


def put_compression(
    layer: nn.Module,
    name: str,
    calls: Sequence[LayerCall],
    quantizer: Quantizer | None,
    block_size: int,
    max_zero_run: int,
    base: str,
    zero: int,
) -> None:
    """Gives a layer the hook, and the buffers and attributes that the hook reads. From C++ they can
    be read by name: ``ebpc_calls``, int64 [calls, 9 + dimensions], see COLUMNS, and
    ``ebpc_next_call``, int64 [1], the index of the next call."""
    known = [(call.position, call.number, *call.shape) for call in calls] or [(0, 0)]
    table = torch.full((len(known), COUNTS + max(map(len, known))), -1)
    table[:, :COUNTS] = 0
    for row, call in zip(table, known, strict=True):
        row[COUNTS : COUNTS + len(call)] = torch.tensor(call)
    buffers = {"ebpc_calls": table, "ebpc_next_call": torch.zeros(1, dtype=torch.int64)}
    for buffer, value in buffers.items():
        # Not persistent: a state dict is that of the model without compression.
        layer.register_buffer(buffer, value, persistent=False)
    words = quantizer or Quantizer()
    scales = [0.0]
    if words.scale != "batch":
        scales = [words.scale_for(call.largest) for call in calls] or [words.scale_for(0.0)]
    attributes = {
        "name": name,
        "block_size": block_size,
        "max_zero_run": max_zero_run,
        "base": base,
        "zero": zero,
        "quantized": quantizer is not None,
        "quantizer": repr(quantizer),
        # No buffer, which model.half() would round.
        "scales": scales,
        "word_bits": None if quantizer is None else words.bits,
        "word_dtype": words.dtype,
        "smallest_word": words.smallest_word,
        "largest_word": words.largest_word,
        "nearest": words.rounding == "nearest",
        "headroom": float(words.headroom),
    }
    for attribute, setting in attributes.items():
        setattr(layer, f"ebpc_{attribute}", setting)
    layer._forward_hooks[_HOOK] = compress_output
