"""A layer with compression behind it, which scripts, traces, saves, compiles and exports.

TorchScript, torch.compile, torch.export and FX all read this module's code, so it keeps to what
they have in common. TorchScript is deprecated upstream; no other module of the package uses it.
"""

# No `from __future__ import annotations`: TorchScript wants types, not their names.
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from torch_ebpc import ops
from torch_ebpc._arguments import DTYPE_NAMES
from torch_ebpc.quantizer import Quantizer

COLUMNS = (
    "images",
    "values",
    "nonzero_values",  # words of which not all bits are zero
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
) -> Tensor:
    """What the decoder returns for ``words``; what they cost is added to a row of ``calls``."""
    packed = torch.ops.torch_ebpc.compress(words, word_bits, block_size, max_zero_run, base)
    decoded: Tensor = torch.ops.torch_ebpc.decompress(packed, words.shape, words.dtype)

    dims = min(1, words.dim())
    streams = torch.ops.torch_ebpc.count_bits(
        words, "ebpc", word_bits, block_size, max_zero_run, base, dims
    )
    nonzero_words = torch.ops.torch_ebpc.count_bits(
        words, "zvc", word_bits, block_size, max_zero_run, base, dims
    )
    images = words.shape[0] if dims == 1 else 1
    width = 8 * words.element_size() if word_bits is None else word_bits
    row = torch.cat(
        [
            torch.tensor([images, words.numel()]),
            nonzero_words.reshape(-1, 2).sum(0)[1:] // width,
            torch.tensor([words.numel() * width]),
            streams.reshape(-1, 2).sum(0),
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
    scales: Tensor,
    next_call: Tensor,
    smallest_word: int,
    largest_word: int,
    nearest: bool,
    headroom: float,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """The words of ``x`` and their scale, bit for bit those of :class:`Quantizer`, by operations on
    tensors alone. Without ``scales``, the scale comes from ``x``."""
    x = x.to(torch.float32)
    largest = x.abs().max() if x.numel() > 0 else torch.zeros((), dtype=torch.float32)
    _require(largest.isfinite(), "x must be finite to be quantized, got inf or NaN")
    if scales.numel() > 0:
        scale = scales.index_select(0, next_call)
    else:
        quotient = largest.to(torch.float64) / (headroom * largest_word)
        # Not below what float32 can divide by.
        quotient = quotient.clamp_min(1.1754943508222875e-38)
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


def check_output(name: str, x: Any, quantized: bool) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: the output must be a tensor, got {type(x).__name__}")
    if quantized and not x.is_floating_point():
        raise TypeError(f"{name}: a quantizer needs a floating-point map, got {x.dtype}")
    if not quantized and x.dtype not in ops.DTYPES:
        raise TypeError(f"{name}: the output's dtype must be one of {DTYPE_NAMES}, got {x.dtype}")


torch.fx.wrap("_through_codec")
torch.fx.wrap("_fixed_point")
torch.fx.wrap("check_output")


# ---- The module ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class LayerCall:
    """One call of a layer, as example inputs have shown it."""

    position: int  # among all calls of a forward pass, from 1
    number: int  # among the calls of its layer, from 1
    shape: tuple[int, ...]  # of one image
    largest: float  # magnitude


class CompressedLayer(nn.Module):
    """A layer with compression behind it: returns what the decoder makes of the layer's output.

    Made by :func:`insert_compression`. Its buffers and attributes can be read by name from C++.
    """

    ebpc_calls: Tensor
    """int64 [calls, 9 + dimensions], see COLUMNS."""

    ebpc_next_call: Tensor
    """int64 [1], the index of the next call."""

    ebpc_scales: Tensor
    """float32 [calls], of fixed point; [0] where there is none or it comes from each batch."""

    def __init__(
        self,
        layer: nn.Module,
        name: str,
        calls: Sequence[LayerCall],
        quantizer: Quantizer | None,
        block_size: int,
        max_zero_run: int,
        base: str,
    ) -> None:
        super().__init__()
        self.training = layer.training
        self.layer = layer
        self.name = name
        self.block_size = block_size
        self.max_zero_run = max_zero_run
        self.base = base
        self.quantized = quantizer is not None
        self.quantizer = repr(quantizer)
        quantizer = quantizer or Quantizer()
        self.word_bits = quantizer.bits if self.quantized else None
        self.word_dtype = quantizer.dtype
        self.smallest_word = quantizer.smallest_word
        self.largest_word = quantizer.largest_word
        self.nearest = quantizer.rounding == "nearest"
        self.headroom = float(quantizer.headroom)

        known = [(call.position, call.number, *call.shape) for call in calls] or [(0, 0)]
        table = torch.full((len(known), COUNTS + max(map(len, known))), -1)
        table[:, :COUNTS] = 0
        for row, call in zip(table, known, strict=True):
            row[COUNTS : COUNTS + len(call)] = torch.tensor(call)
        scales: list[float] = []
        if quantizer.scale != "batch":
            largest = [call.largest for call in calls] or [0.0]
            scales = [quantizer.scale_for(each) for each in largest]
        buffers = {
            "ebpc_calls": table,
            "ebpc_next_call": torch.zeros(1, dtype=torch.int64),
            "ebpc_scales": torch.tensor(scales, dtype=torch.float32),
        }
        for buffer, value in buffers.items():
            # Not persistent: a state dict is that of the model without compression.
            self.register_buffer(buffer, value, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            check_output(self.name, x, self.quantized)
        if self.quantized:
            words, scale = _fixed_point(
                x.detach(),
                self.ebpc_scales,
                self.ebpc_next_call,
                self.smallest_word,
                self.largest_word,
                self.nearest,
                self.headroom,
                self.word_dtype,
            )
            decoded = self._through_codec(words).to(torch.float32) * scale
        else:
            decoded = self._through_codec(x.detach())
        # The gradient passes straight through: to autograd, the result is a copy of x.
        y = x.clone()
        y.detach().copy_(decoded)
        return y

    def _through_codec(self, words: Tensor) -> Tensor:
        return _through_codec(  # type: ignore[no-any-return]
            words,
            self.ebpc_calls,
            self.ebpc_next_call,
            self.word_bits,
            self.block_size,
            self.max_zero_run,
            self.base,
        )

    def extra_repr(self) -> str:
        words = f"quantizer={self.quantizer}, " if self.quantized else ""
        return (
            f"{words}block_size={self.block_size}, max_zero_run={self.max_zero_run},"
            f" base={self.base!r}"
        )
