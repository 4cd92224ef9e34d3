"""Measures what every layer's feature map costs, by forward hooks on any model."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor, nn

from torch_ebpc import ops
from torch_ebpc.errors import EBPCError
from torch_ebpc.quantizer import FloatCast, Quantizer
from torch_ebpc.report import LayerRow, Report, software_versions

LayerSelection = (
    type[nn.Module] | str | Sequence["type[nn.Module] | str"] | Callable[[str, nn.Module], bool]
)


class _Code(TypedDict):
    block_size: int
    max_zero_run: int
    base: str


_TRANSMISSION_DIMS = {"tensor": 0, "image": 1, "channel": 2}


class CompressionMeter:
    """A context manager that measures, and optionally inserts, compression behind a model's layers.

    While it is entered, a forward hook sits on every matched layer. Each call of such a layer is
    one row of the report, named ``layer#call`` with calls counted from 1 in each forward pass of
    the model (``layer1.0.relu#1``, ``layer1.0.relu#2``); batches accumulate. Hooks are gone when
    the block is left, also by an exception, and no tensor is kept.

    Args:
        model: any module.
        layers: which layers: a module type, a name as in ``model.named_modules()``, several of
            those, or a predicate ``(name, module) -> bool``.
        quantizer: turns floating-point maps into fixed-point words before they are measured, or
            (:class:`FloatCast`) into another floating-point type. None: maps are measured by bit
            pattern as they are.
        mode: ``"insert"``: the next layer runs on what the decoder returned (with a quantizer: on
            the dequantized words, so that its effect on accuracy shows; without: the same bits).
            Gradients pass through unchanged. ``"observe"``: the model is not touched.
        methods: what to count, of :data:`torch_ebpc.ops.METHODS`; the first is the one that totals
            and ratios are about.
        block_size, max_zero_run, base: as for :func:`torch_ebpc.compress`.
        transmission: what is coded as one transmission: ``"image"``, each index of the first
            dimension (as in the papers), ``"channel"``, each index of the first two, or
            ``"tensor"``.
        verify: decode and compare every bit.

    Raises:
        ValueError: a layer name is unknown, nothing matches, or an argument is out of range.
        TypeError: an argument, or a matched layer's output, has the wrong type.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> quantizer = torch_ebpc.Quantizer(bits=8)
        >>> with torch_ebpc.CompressionMeter(model, quantizer=quantizer) as meter:
        ...     y = model(torch.randn(2, 3, 16, 16))
        >>> meter.report().rows[0].name
        '1#1'
    """

    def __init__(
        self,
        model: nn.Module,
        layers: LayerSelection = nn.ReLU,
        *,
        quantizer: Quantizer | FloatCast | None = None,
        mode: Literal["insert", "observe"] = "insert",
        methods: Sequence[str] = ("ebpc", "zvc", "zero_rle"),
        block_size: int = 8,
        max_zero_run: int = 16,
        base: str = "sent",
        transmission: Literal["image", "channel", "tensor"] = "image",
        verify: bool = False,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        if mode not in ("insert", "observe"):
            raise ValueError(f"mode must be 'insert' or 'observe', got {mode!r}")
        if transmission not in _TRANSMISSION_DIMS:
            raise ValueError(
                f"transmission must be 'image', 'channel' or 'tensor', got {transmission!r}"
            )
        if isinstance(methods, str) or not methods:
            raise ValueError(f"methods must be a non-empty sequence of names, got {methods!r}")
        for method in methods:
            if method not in ops.METHODS:
                raise ValueError(f"methods must be of {', '.join(ops.METHODS)}, got {method!r}")
        # What the codec thinks of its parameters is better known now than in the middle of a pass.
        nothing = torch.empty(0, dtype=torch.int8)
        ops.count_bits(nothing, "none", None, block_size, max_zero_run, base)

        self._model = model
        self._layers = _matched_layers(model, layers)
        self._quantizer = quantizer
        self._mode = mode
        self._methods = tuple(methods)
        self._code: _Code = {"block_size": block_size, "max_zero_run": max_zero_run, "base": base}
        self._transmission = transmission
        self._verify = verify
        self._rows: dict[str, LayerRow] = {}
        self._largest: dict[str, float] = {}
        self._calls: dict[str, int] = {}
        self._calibrating = False
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    # ---- Entering and leaving --------------------------------------------------------------------

    def __enter__(self) -> CompressionMeter:
        if self._handles:
            raise RuntimeError("this CompressionMeter is entered already; make a second one")
        self._handles.append(self._model.register_forward_pre_hook(self._begin_forward))
        for name, module in self._layers.items():
            self._handles.append(module.register_forward_hook(self._hook_for(name)))
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._calls.clear()

    @contextlib.contextmanager
    def calibrate(self) -> Iterator[None]:
        """Inside of it, forward passes of the entered model are not measured: each layer's largest
        magnitude is noted, for ``Quantizer(scale="calibrated")``."""
        if not self._handles:
            raise RuntimeError("enter the CompressionMeter before calibrating: with meter: ...")
        self._calibrating = True
        try:
            yield
        finally:
            self._calibrating = False

    @property
    def calibration(self) -> dict[str, float]:
        """The largest magnitude of every call, as found by calibration; may be set, to use the
        calibration of another run."""
        return dict(self._largest)

    @calibration.setter
    def calibration(self, largest: dict[str, float]) -> None:
        self._largest = dict(largest)

    def report(self) -> Report:
        """All that was measured so far, as an independent copy."""
        called = {row.layer for row in self._rows.values()}
        return Report(
            rows=[row.copy() for row in self._rows.values()],
            methods=self._methods,
            never_called=[name for name in self._layers if name not in called],
            provenance={
                "model": type(self._model).__name__,
                "mode": self._mode,
                "code": dict(self._code),
                "transmission": self._transmission,
                "quantizer": None if self._quantizer is None else vars(self._quantizer).copy(),
                "verified": self._verify,
                **software_versions(),
            },
        )

    # ---- Hooks -----------------------------------------------------------------------------------

    def _begin_forward(self, module: nn.Module, arguments: Any) -> None:
        self._calls.clear()

    def _hook_for(self, layer: str) -> Callable[[nn.Module, Any, Any], Tensor | None]:
        def hook(module: nn.Module, arguments: Any, output: Any) -> Tensor | None:
            call = self._calls[layer] = self._calls.get(layer, 0) + 1
            name = f"{layer}#{call}"
            if not isinstance(output, Tensor):
                raise TypeError(f"{name}: the output must be a tensor, got {type(output).__name__}")
            if self._calibrating:
                self._note_magnitude(name, output)
                return None
            try:
                return self._measure(name, layer, call, output)
            except (TypeError, ValueError, AssertionError, EBPCError) as error:
                raise type(error)(f"{name}: {error}") from error

        return hook

    def _note_magnitude(self, name: str, output: Tensor) -> None:
        self._largest[name] = max(self._largest.get(name, 0.0), _largest_magnitude(output))

    def _words(self, name: str, x: Tensor) -> tuple[Tensor, float]:
        """The words of a map, and their scale."""
        quantizer = self._quantizer
        if quantizer is None:
            if x.dtype not in ops.DTYPES:
                names = ", ".join(str(dtype).removeprefix("torch.") for dtype in ops.DTYPES)
                raise TypeError(f"the output's dtype must be one of {names}, got {x.dtype}")
            return x, 1.0
        if not x.is_floating_point():
            raise TypeError(f"a quantizer needs a floating-point map, got {x.dtype}")
        if isinstance(quantizer, FloatCast):
            return x.to(quantizer.dtype), 1.0
        if quantizer.scale == "calibrated":
            if name not in self._largest:
                raise ValueError("was not calibrated: run batches under meter.calibrate() first")
            largest = self._largest[name]
        else:
            largest = _largest_magnitude(x)
        scale = quantizer.scale_for(largest)
        return quantizer.quantize(x, scale), scale

    def _measure(self, name: str, layer: str, call: int, output: Tensor) -> Tensor | None:
        words, scale = self._words(name, output.detach())
        quantizer = self._quantizer
        word_bits = 8 * words.dtype.itemsize if quantizer is None else quantizer.bits
        row = self._rows.get(name)
        if row is None:
            row = self._rows[name] = LayerRow(
                name, layer, call, tuple(words.shape[1:]), word_bits, self._methods
            )
        self._count(row, words)

        if self._mode == "observe" and not self._verify:
            return None
        decoded = self._round_trip(row, words)
        if self._verify:
            row.verified_values += words.numel()
            _compare_bits(words, decoded)
        if self._mode == "observe":
            return None
        if isinstance(quantizer, Quantizer):
            decoded = quantizer.dequantize(decoded, scale, output.dtype)
        decoded = decoded.to(output.dtype)
        replaced: Tensor = _StraightThrough.apply(  # type: ignore[no-untyped-call]
            output, (decoded,)
        )
        return replaced

    def _count(self, row: LayerRow, words: Tensor) -> None:
        dims = min(_TRANSMISSION_DIMS[self._transmission], words.dim())
        row.images += words.shape[0] if words.dim() > 0 else 1
        row.values += words.numel()
        row.zeros += words.numel() - int(words.view(_integer_dtype(words)).count_nonzero())
        for method in self._methods:
            bits = ops.count_transmission_bits(
                words, method, row.word_bits, **self._code, transmission_dims=dims
            )
            position_bits, value_bits = bits.reshape(-1, 2).sum(0).tolist()
            row.position_bits[method] += position_bits
            row.value_bits[method] += value_bits

    def _round_trip(self, row: LayerRow, words: Tensor) -> Tensor:
        begin = time.perf_counter()
        packed = ops.compress(words, row.word_bits, **self._code)
        encoded = time.perf_counter()
        decoded = ops.decompress(packed, max_bytes=words.nbytes)
        row.encode_seconds += encoded - begin
        row.decode_seconds += time.perf_counter() - encoded
        row.container_bytes += packed.numel()
        row.container_values += words.numel()
        return decoded


class _StraightThrough(torch.autograd.Function):
    """The decoder's output in place of a layer's, with the gradient passed on as it is.

    The decoder's output comes in a tuple, out of autograd's sight: an input that is returned as it
    is would become a view, which the next layers could not change in place.
    """

    @staticmethod
    def forward(ctx: Any, output: Tensor, decoded: tuple[Tensor]) -> Tensor:
        return decoded[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def _matched_layers(model: nn.Module, layers: LayerSelection) -> dict[str, nn.Module]:
    modules = dict(model.named_modules())
    if callable(layers) and not isinstance(layers, type):
        matched = {name: module for name, module in modules.items() if layers(name, module)}
        if not matched:
            raise ValueError("layers: the predicate matches no module of the model")
        return matched

    wanted = [layers] if isinstance(layers, (str, type)) else list(layers)
    types: list[type[nn.Module]] = []
    names: list[str] = []
    for each in wanted:
        if isinstance(each, str):
            if each not in modules:
                raise ValueError(
                    f"layers: the model has no module named {each!r}; see model.named_modules()"
                )
            names.append(each)
        elif isinstance(each, type) and issubclass(each, nn.Module):
            types.append(each)
        else:
            raise TypeError(
                "layers must be module types, names or a predicate (name, module) -> bool,"
                f" got {each!r}"
            )
    matched = {
        name: module
        for name, module in modules.items()
        if name in names or isinstance(module, tuple(types))
    }
    if not matched:
        looked_for = ", ".join(each.__name__ for each in types) or "nothing"
        raise ValueError(f"layers: no module of the model is a {looked_for}")
    return matched


def _largest_magnitude(x: Tensor) -> float:
    if x.numel() == 0:
        return 0.0
    low, high = torch.aminmax(x.detach())
    return max(abs(low.item()), abs(high.item()))


def _integer_dtype(x: Tensor) -> torch.dtype:
    """The signed integer dtype of the same width, in which a word's bits are compared."""
    return {1: torch.int8, 2: torch.int16, 4: torch.int32}[x.dtype.itemsize]


def _compare_bits(expected: Tensor, found: Tensor) -> None:
    if (expected.dtype, expected.shape) != (found.dtype, found.shape):
        raise AssertionError(
            f"the decoded map differs: {expected.dtype} {tuple(expected.shape)} became"
            f" {found.dtype} {tuple(found.shape)}"
        )
    integer = _integer_dtype(expected)
    different = (expected.view(integer) != found.view(integer)).flatten()
    if different.any():
        index = int(different.to(torch.uint8).argmax())
        raise AssertionError(
            f"the decoded map differs at index {index}:"
            f" {expected.flatten()[index].item()} became {found.flatten()[index].item()}"
        )
