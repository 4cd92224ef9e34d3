"""Measures what the feature maps and gradients of any model's layers cost."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor, nn

from torch_ebpc import ops
from torch_ebpc._arguments import DTYPE_NAMES
from torch_ebpc._selection import LayerSelection
from torch_ebpc.errors import EBPCError
from torch_ebpc.layer_row import LayerRow
from torch_ebpc.quantizer import FloatCast, Quantizer, value_range
from torch_ebpc.report import Report, software_versions
from torch_ebpc.taps import Tap, TapKind, Taps


class _Code(TypedDict):
    block_size: int
    max_zero_run: int
    base: str


_TRANSMISSION_DIMS = {"tensor": 0, "image": 1, "channel": 2}
_QUANTIZED_DTYPES = (torch.qint8, torch.quint8, torch.qint32)


class CompressionMeter:
    """A context manager that measures, and optionally inserts, compression behind a model's layers.

    While it is entered, every matched call is measured: one row of the report, named
    ``layer#call`` with calls counted from 1 in each forward pass of the model (``layer1.0.relu#1``,
    ``layer1.0.relu#2``); batches accumulate. It sits on :class:`torch_ebpc.Taps`: nothing of it is
    left in the model when the block is left, also by an exception, and no tensor is kept. A model
    that torch.compile has compiled is measured without its compiled code, as said there.

    Args:
        model: any module; for TorchScript modules and exported programs see :class:`Taps`.
        layers: which layers: a module type, a name as in ``model.named_modules()``, several of
            those, or a predicate ``(name, module) -> bool``.
        quantizer: turns floating-point maps into fixed-point words before they are measured, or
            (:class:`FloatCast`) into another floating-point type. None: maps are measured by bit
            pattern as they are; PyTorch's quantized tensors by the integers of ``int_repr()``.
        mode: ``"insert"``: the next layer runs on what the decoder returned (with a quantizer: on
            the dequantized words, so that its effect on accuracy shows; without: the same bits).
            Gradients pass through unchanged. ``"observe"``: the model is not touched.
        methods: what to count, of :data:`torch_ebpc.ops.METHODS`; the first is the one that totals
            and ratios are about.
        block_size, max_zero_run, base: as for :func:`torch_ebpc.compress`.
        transmission: what is coded as one transmission: ``"image"``, each index of the first
            dimension (as in the papers), ``"channel"``, each index of the first two, or
            ``"tensor"``. Rows keep the bits of each (of channels, their sum over an image), in 8
            bytes per method.
        verify: encode and decode by every method, each transmission as it is counted, and compare
            every bit.
        functions, of: functional calls, and inputs or gradients instead of outputs, as for
            :class:`torch_ebpc.Taps`. Gradients are only measured: ``mode="observe"``.

    Raises:
        ValueError: a layer name is unknown, nothing matches, or an argument is out of range.
        TypeError: an argument, or a tapped tensor, has the wrong type.

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
        functions: Sequence[Callable[..., Any]] = (),
        of: TapKind = "outputs",
    ) -> None:
        if mode not in ("insert", "observe"):
            raise ValueError(f"mode must be 'insert' or 'observe', got {mode!r}")
        if of == "gradients" and mode == "insert":
            raise ValueError(
                "mode must be 'observe' for gradients, which are only measured, got 'insert'"
            )
        if transmission not in _TRANSMISSION_DIMS:
            raise ValueError(
                f"transmission must be 'image', 'channel' or 'tensor', got {transmission!r}"
            )
        if isinstance(methods, str) or not isinstance(methods, Sequence) or not methods:
            raise ValueError(f"methods must be a non-empty sequence of names, got {methods!r}")
        for method in methods:
            if method not in ops.METHODS:
                raise ValueError(f"methods must be of {', '.join(ops.METHODS)}, got {method!r}")
        if len(set(methods)) < len(methods):
            raise ValueError(f"methods must be different ones, got {methods!r}")
        if quantizer is not None and not isinstance(quantizer, (Quantizer, FloatCast)):
            raise TypeError(
                f"quantizer must be a Quantizer or FloatCast, got {type(quantizer).__name__}"
            )
        # What the codec thinks of its parameters is better known now than in the middle of a pass.
        nothing = torch.empty(0, dtype=torch.int8, device="cpu")
        ops.count_bits(nothing, "none", None, block_size, max_zero_run, base)

        self._model = model
        self._of = of
        self._taps = Taps(model, self._on_tap, layers, functions=functions, of=of)
        self._quantizer = quantizer
        self._mode = mode
        self._methods = tuple(methods)
        self._code: _Code = {"block_size": block_size, "max_zero_run": max_zero_run, "base": base}
        self._transmission = transmission
        self._verify = verify
        self._rows: dict[str, LayerRow] = {}
        self._called_operations: set[str] = set()
        self._largest: dict[str, float] = {}
        self._calibrating = False
        self._lock = threading.Lock()  # of rows, where several threads run the model

    # ---- Entering and leaving --------------------------------------------------------------------

    def __enter__(self) -> CompressionMeter:
        if self._taps.entered:
            raise RuntimeError("this CompressionMeter is entered already; make a second one")
        self._taps.__enter__()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._taps.__exit__(exception_type, exception, traceback)

    @contextlib.contextmanager
    def calibrate(self) -> Iterator[None]:
        """Inside of it, forward passes of the entered model are not measured: each layer's largest
        magnitude is noted, for ``Quantizer(scale="calibrated")``."""
        if not self._taps.entered:
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
        return Report(
            rows=[row.copy() for row in self._rows.values()],
            methods=self._methods,
            never_called=self._never_called(),
            provenance={
                "model": type(self._model).__name__,
                "mode": self._mode,
                "of": self._of,
                "code": dict(self._code),
                "transmission": self._transmission,
                "quantizer": None if self._quantizer is None else vars(self._quantizer).copy(),
                "verified": self._verify,
                **software_versions(),
            },
        )

    def _never_called(self) -> list[str]:
        """Modules by name, functions as ``add()``."""
        called = {row.layer for row in self._rows.values()}
        return [name for name in self._taps.layers if name not in called] + [
            f"{operation}()"
            for operation in self._taps.operations
            if operation not in self._called_operations
        ]

    # ---- One tensor ------------------------------------------------------------------------------

    def _on_tap(self, tap: Tap, tensor: Tensor) -> Tensor | None:
        try:
            with self._lock:
                if self._calibrating:
                    self._note_magnitude(tap.name, tensor)
                    return None
                return self._measure(tap, tensor)
        except (TypeError, ValueError, AssertionError, EBPCError) as error:
            raise type(error)(f"{tap.name}: {error}") from error

    def _note_magnitude(self, name: str, tensor: Tensor) -> None:
        largest = _largest_magnitude(value_range(tensor))
        if not math.isfinite(largest):
            raise ValueError(f"the output must be finite to calibrate with, got {largest}")
        self._largest[name] = max(self._largest.get(name, 0.0), largest)

    def _words(self, name: str, x: Tensor) -> tuple[Tensor, float]:
        """The words of a map, and their scale."""
        quantizer = self._quantizer
        if quantizer is None:
            if x.dtype in _QUANTIZED_DTYPES:
                return x.int_repr(), 1.0
            if x.dtype not in ops.DTYPES:
                raise TypeError(f"the output's dtype must be one of {DTYPE_NAMES}, got {x.dtype}")
            return x, 1.0
        if not x.is_floating_point():
            raise TypeError(f"a quantizer needs a floating-point map, got {x.dtype}")
        if isinstance(quantizer, FloatCast):
            return x.to(quantizer.dtype), 1.0
        bounds = value_range(x)
        if quantizer.scale == "calibrated":
            if name not in self._largest:
                raise ValueError("was not calibrated: run batches under meter.calibrate() first")
            largest = self._largest[name]
        else:
            largest = _largest_magnitude(bounds)
        scale = quantizer.scale_for(largest)
        return quantizer.quantize(x, scale, bounds), scale

    def _measure(self, tap: Tap, x: Tensor) -> Tensor | None:
        words, scale = self._words(tap.name, x.detach())
        quantizer = self._quantizer
        word_bits = 8 * words.dtype.itemsize if quantizer is None else quantizer.bits
        row = self._rows.get(tap.name)
        if row is None:
            row = self._rows[tap.name] = LayerRow(
                tap.name, tap.layer, tap.call, tuple(words.shape[1:]), word_bits, self._methods
            )
        self._count(row, words)
        if tap.operation is not None:
            self._called_operations.add(tap.operation)

        if self._mode == "observe" and not self._verify:
            return None
        decoded = self._round_trip(row, words)
        if self._verify:
            _compare_bits("", words, decoded)
            self._verify_streams(words, row.word_bits)
            row.verified_values += words.numel()
        if self._mode == "observe":
            return None
        if x.is_quantized:  # made of the same integers it would be the same tensor
            _compare_bits("", words, decoded)
            return None
        if isinstance(quantizer, Quantizer):
            decoded = quantizer.dequantize(decoded, scale, x.dtype)
        decoded = decoded.to(x.dtype)
        if torch.is_inference_mode_enabled():  # without gradients to pass on
            return decoded
        replaced: Tensor = _StraightThrough.apply(x, (decoded,))  # type: ignore[no-untyped-call]
        return replaced

    def _count(self, row: LayerRow, words: Tensor) -> None:
        dims = self._transmission_dims_of(words)
        row.images += words.shape[0] if words.dim() > 0 else 1
        row.values += words.numel()
        transmissions = words.shape[0] if dims > 0 else 1
        words_each = words.numel() // max(1, transmissions)
        row.transmission_words.extend([words_each] * transmissions)
        # Zero-value compression has the non-zero words in full, which tells the zeros.
        for method in dict.fromkeys(("zvc", *self._methods)):
            counted = self._transmission_bits(row, words, method, dims)
            position_bits = sum(position for position, _ in counted)
            value_bits = sum(value for _, value in counted)
            if method == "zvc":
                row.zeros += words.numel() - value_bits // row.word_bits
            if method in self._methods:
                row.transmission_bits[method].extend(map(sum, counted))
                row.position_bits[method] += position_bits
                row.value_bits[method] += value_bits

    def _transmission_bits(
        self, row: LayerRow, words: Tensor, method: str, dims: int
    ) -> list[list[int]]:
        """The position and the value bits of each transmission; of channels, their sums over an
        image."""
        bits = ops.count_transmission_bits(
            words, method, row.word_bits, **self._code, transmission_dims=dims
        )
        if dims == 0:
            return [bits.tolist()]
        pairs: list[list[int]] = (bits if dims == 1 else bits.sum(1)).tolist()
        return pairs

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

    def _verify_streams(self, words: Tensor, word_bits: int) -> None:
        """Every transmission by every method, as it was counted."""
        for index, transmission in enumerate(self._transmissions(words)):
            for method in self._methods:
                streams = ops.encode(transmission, word_bits, **self._code, method=method)
                what = f"transmission {index}, method {method}: "
                counted = ops.count_bits(transmission, method, word_bits, **self._code)
                if streams.bits != counted:
                    raise AssertionError(f"{what}counted {counted} bits, wrote {streams.bits}")
                _compare_bits(what, transmission, ops.decode(streams))

    def _transmission_dims_of(self, words: Tensor) -> int:
        return min(_TRANSMISSION_DIMS[self._transmission], words.dim())

    def _transmissions(self, words: Tensor) -> Iterable[Tensor]:
        dims = self._transmission_dims_of(words)
        return words.reshape(1, *words.shape) if dims == 0 else words.flatten(0, dims - 1)


class _StraightThrough(torch.autograd.Function):
    """What the decoder returned in place of a tensor, with the gradient passed on as it is.

    The decoder's output comes in a tuple, out of autograd's sight: an input that is returned as it
    is would become a view, which the next layers could not change in place.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, decoded: tuple[Tensor]) -> Tensor:
        return decoded[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def _largest_magnitude(bounds: Tensor) -> float:
    return float(bounds.abs().max())


def _integer_dtype(x: Tensor) -> torch.dtype:
    """The signed integer dtype of the same width, in which a word's bits are compared."""
    return {1: torch.int8, 2: torch.int16, 4: torch.int32}[x.dtype.itemsize]


def _compare_bits(what: str, expected: Tensor, found: Tensor) -> None:
    if (expected.dtype, expected.shape) != (found.dtype, found.shape):
        raise AssertionError(
            f"{what}the decoded map differs: {expected.dtype} {tuple(expected.shape)} became"
            f" {found.dtype} {tuple(found.shape)}"
        )
    integer = _integer_dtype(expected)
    different = (expected.view(integer) != found.view(integer)).flatten()
    if different.any():
        index = int(different.to(torch.uint8).argmax())
        raise AssertionError(
            f"{what}the decoded map differs at index {index}:"
            f" {expected.flatten()[index].item()} became {found.flatten()[index].item()}"
        )
