"""Compression as part of a model that scripts, traces, saves, compiles and exports.

TorchScript, torch.compile, torch.export and FX all read this module's code, so it keeps to what
they have in common. TorchScript is deprecated upstream; no other module of the package uses it.
"""

# No `from __future__ import annotations`: TorchScript wants types, not their names.
import copy
import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from torch_ebpc import ops
from torch_ebpc._compiled import is_compiled, layer_name
from torch_ebpc._graphs import graph_of
from torch_ebpc._selection import LayerSelection, matched_layers
from torch_ebpc.layer_row import LayerRow
from torch_ebpc.quantizer import Quantizer
from torch_ebpc.report import Report, software_versions
from torch_ebpc.taps import Tap, Taps

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

_COUNTS = 7
_METHODS = ("ebpc", "zvc")


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
    next_call.add_(1).remainder_(calls.size(0))
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


def _check_output(name: str, x: Any, quantized: bool) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: the output must be a tensor, got {type(x).__name__}")
    if quantized and not x.is_floating_point():
        raise TypeError(f"{name}: a quantizer needs a floating-point map, got {x.dtype}")
    if not quantized and x.dtype not in ops.DTYPES:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in ops.DTYPES)
        raise TypeError(f"{name}: the output's dtype must be one of {names}, got {x.dtype}")


torch.fx.wrap("_through_codec")
torch.fx.wrap("_fixed_point")
torch.fx.wrap("_check_output")


# ---- The module ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Call:
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
        calls: Sequence[_Call],
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
        table = torch.full((len(known), _COUNTS + max(map(len, known))), -1)
        table[:, :_COUNTS] = 0
        for row, call in zip(table, known, strict=True):
            row[_COUNTS : _COUNTS + len(call)] = torch.tensor(call)
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
            _check_output(self.name, x, self.quantized)
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


# ---- Into a model and out of it ------------------------------------------------------------------


def insert_compression(
    model: nn.Module,
    layers: LayerSelection = nn.ReLU,
    *,
    example_inputs: Tensor | Sequence[Any] | None = None,
    quantizer: Quantizer | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    inplace: bool = False,
) -> nn.Module:
    """A copy of the model that has compression and decompression behind some of its layers.

    What :class:`CompressionMeter` does by hooks, for where hooks do not run: the result works under
    torch.jit.script and trace, torch.compile, torch.export and AOTInductor, and in C++. Each chosen
    layer is wrapped in a module, and the layers behind it run on what the decoder returns: without
    a quantizer, the same bits. Gradients pass through unchanged.

    The wrappers count what they see, in buffers that are saved with the model;
    :func:`compression_report` makes a report of them.

    Args:
        model: any module that runs in Python.
        layers: which layers: a module type, a name as in ``model.named_modules()``, several of
            those, or a predicate ``(name, module) -> bool``. Each takes one tensor and returns one.
        example_inputs: the arguments of one forward pass, or its only tensor. They are run once,
            without gradients and on another copy, to see how many times each layer is called in a
            pass. The report then has a row for each call, as the meter's has; without them, one for
            each layer. Models that call a layer a varying number of times need None.
        quantizer: turns floating-point maps into fixed-point words, as in the meter; but
            ``scale="calibrated"`` takes the largest magnitudes from ``example_inputs``.
        block_size, max_zero_run, base: as for :func:`torch_ebpc.compress`.
        inplace: change and return ``model`` itself.

    Raises:
        ValueError: a layer name is unknown, nothing matches, an argument is out of range, a matched
            layer has compression behind it already, or the model is compiled.
        TypeError: an argument, or an output of a matched layer, has the wrong type.

    Outputs may be computed in several threads at once; counts are only right in one.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> images = torch.randn(2, 3, 16, 16)
        >>> compressed = torch_ebpc.insert_compression(model, example_inputs=images)
        >>> torch.equal(compressed(images), model(images))
        True
        >>> torch_ebpc.compression_report(compressed).rows[0].name
        '1#1'
    """
    if quantizer is not None and not isinstance(quantizer, Quantizer):
        raise TypeError(f"quantizer must be a Quantizer or None, got {type(quantizer).__name__}")
    if quantizer is not None and quantizer.scale == "calibrated" and example_inputs is None:
        raise ValueError("example_inputs must be given to calibrate the quantizer, got None")
    nothing = torch.empty(0, dtype=torch.int8)
    ops.count_bits(nothing, "ebpc", None, block_size, max_zero_run, base)
    if isinstance(model, nn.Module) and any(map(is_compiled, model.modules())):
        raise ValueError("model must not be compiled yet: compile what insert_compression returns")
    if isinstance(model, nn.Module) and graph_of(model) is not None:
        raise TypeError(
            "model must not be a TorchScript module or a graph of torch.export: script or export"
            " what insert_compression returns"
        )
    taps = Taps(model, lambda tap, x: None, layers)  # checks both
    calls: dict[str, list[_Call]] = {}
    if example_inputs is not None:
        calls = _example_calls(model, layers, example_inputs, quantizer)
        if quantizer is not None and quantizer.scale == "calibrated":
            for name in taps.layers:
                if name not in calls:
                    raise ValueError(f"example_inputs: {name} is not called, so not calibrated")

    result = model if inplace else copy.deepcopy(model)
    matched = matched_layers(result, layers)
    if inplace and "" in matched:
        raise ValueError("inplace must be False where the model itself is a matched layer")
    for name in matched:
        if any(isinstance(module, CompressedLayer) for module in _path(result, name)):
            raise ValueError(f"layers: {name!r} has compression behind it already")
    with torch.inference_mode(False):  # buffers that can be changed in every mode
        compressed: dict[nn.Module | None, nn.Module] = {
            layer: CompressedLayer(
                layer, name, calls.get(name, ()), quantizer, block_size, max_zero_run, base
            )
            for name, layer in matched.items()
        }
    held = [  # a layer may be held by several modules, or by one under several names
        (parent, attribute, child)
        for parent in result.modules()
        for attribute, child in parent._modules.items()
        if child in compressed
    ]
    for parent, attribute, child in held:
        setattr(parent, attribute, compressed[child])
    return compressed.get(result, result)


def compression_report(model: nn.Module) -> Report:
    """What the compression that :func:`insert_compression` has put into a model has counted so far.

    Rows are those of :class:`CompressionMeter` without times and single transmissions: each image
    is a transmission, and zero-value compression stands beside EBPC.

    Args:
        model: what :func:`insert_compression` returned, or has become: scripted, traced, saved and
            loaded, compiled, or the module of an exported program (which has lost the shapes).

    Raises:
        TypeError: ``model`` is not a module.
        ValueError: there is no compression in it.
    """
    calls: list[tuple[str, dict[str, int], tuple[int, ...]]] = []
    never_called = []
    provenance: dict[str, Any] = {"model": type(model).__name__, "mode": "inserted"}
    for layer, module in _inserted(model).items():
        called = [call for call in module.ebpc_calls.tolist() if any(call[:_COUNTS])]
        if not called:
            never_called.append(layer)
        for call in called:
            shape = tuple(size for size in call[len(COLUMNS) :] if size != -1)
            calls.append((layer, dict(zip(COLUMNS, call, strict=False)), shape))
        for key in ("block_size", "max_zero_run", "base", "quantizer"):
            if hasattr(module, key):
                provenance[key] = getattr(module, key)
    calls.sort(key=lambda call: call[1]["position"])
    rows = [_row(*call) for call in calls]
    return Report(rows, _METHODS, never_called, provenance | software_versions())


def reset_compression(model: nn.Module) -> None:
    """Sets all counts of the compression in a model to zero, and begins a new forward pass: after
    tracing, which runs the model, before saving it, or after an exception inside the model.

    Args:
        model: as for :func:`compression_report`.

    Raises:
        TypeError, ValueError: as :func:`compression_report`.

    Example:
        >>> compressed = torch_ebpc.insert_compression(torch.nn.ReLU())
        >>> y = compressed(torch.zeros(1, 8))
        >>> len(torch_ebpc.compression_report(compressed).rows)
        1
        >>> torch_ebpc.reset_compression(compressed)
        >>> len(torch_ebpc.compression_report(compressed).rows)
        0
    """
    for module in _inserted(model).values():
        module.ebpc_calls[:, :_COUNTS] = 0
        module.ebpc_next_call.zero_()


def _example_calls(
    model: nn.Module,
    layers: LayerSelection,
    example_inputs: Tensor | Sequence[Any],
    quantizer: Quantizer | None,
) -> dict[str, list[_Call]]:
    """The calls of all matched layers, by their name, in a run on the example inputs."""
    if isinstance(example_inputs, Tensor):
        example_inputs = (example_inputs,)
    elif not isinstance(example_inputs, Sequence) or isinstance(example_inputs, str):
        raise TypeError(
            "example_inputs must be a tensor or a sequence of arguments, got"
            f" {type(example_inputs).__name__}"
        )
    calls: dict[str, list[_Call]] = {}

    def note(tap: Tap, x: Tensor) -> None:
        _check_output(tap.name, x, quantizer is not None)
        largest = 0.0
        if quantizer is not None and x.numel() > 0:
            largest = x.abs().max().item()
            if not math.isfinite(largest):
                raise ValueError(f"{tap.name}: the output must be finite, got {largest}")
        position = 1 + sum(map(len, calls.values()))
        calls.setdefault(tap.layer, []).append(
            _Call(position, tap.call, tuple(x.shape[1:]), largest)
        )

    # Neither the model (batch statistics) nor the inputs (in-place layers) are changed.
    probe = copy.deepcopy(model)
    inputs = [x.detach().clone() if isinstance(x, Tensor) else x for x in example_inputs]
    with torch.no_grad(), torch.random.fork_rng(devices=[]), Taps(probe, note, layers):
        probe(*inputs)
    return calls


def _path(model: nn.Module, name: str) -> Iterator[nn.Module]:
    """The modules on the way from ``model`` to its module of that name, both among them."""
    yield model
    for part in filter(None, name.split(".")):
        model = getattr(model, part)
        yield model


def _inserted(model: nn.Module) -> dict[str, Any]:
    """The modules that have the buffers of a CompressedLayer, whatever they have become, by their
    layers' names."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    found = {}
    seen = set()
    for name, module in model.named_modules():
        if hasattr(module, "ebpc_calls") and hasattr(module, "ebpc_next_call"):
            # Of a module that is held twice, TorchScript makes two with the same buffers.
            address = module.ebpc_calls.data_ptr()
            if address not in seen:
                found[layer_name(name)] = module
            seen.add(address)
    if not found:
        raise ValueError(
            "model has no compression in it: torch_ebpc.insert_compression returns one that has"
        )
    return found


def _row(layer: str, call: dict[str, int], shape: tuple[int, ...]) -> LayerRow:
    values = call["values"]
    word_bits, remainder = divmod(call["uncompressed_bits"], max(1, values))
    if remainder:
        raise ValueError(
            f"{layer}: maps of different dtypes were counted together; reset_compression between"
        )
    return LayerRow(
        f"{layer}#{call['number']}" if call["number"] else layer,
        layer,
        call["number"],
        shape,
        word_bits,
        _METHODS,
        images=call["images"],
        values=values,
        zeros=values - call["nonzero_values"],
        position_bits={"ebpc": call["zero_stream_bits"], "zvc": values},
        value_bits={"ebpc": call["plane_stream_bits"], "zvc": call["nonzero_values"] * word_bits},
        container_bytes=call["container_bytes"],
        container_values=values,
    )
