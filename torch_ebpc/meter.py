"""Measures what the feature maps and gradients of any model's layers cost."""

from __future__ import annotations

import array
import contextlib
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor, nn

from torch_ebpc import ops
from torch_ebpc._arguments import TRAITS, word_of
from torch_ebpc._bits import compare_bits, first_true, negative_zeros
from torch_ebpc._compiled import named_layers
from torch_ebpc._measurable import outside_of_transforms, plain_tensor
from torch_ebpc._selection import LayerSelection
from torch_ebpc._words import MapWords, Order, WordSource
from torch_ebpc.code import Code
from torch_ebpc.errors import EBPCError, translated
from torch_ebpc.layer_row import LayerRow, int64s_of
from torch_ebpc.quantizer import FloatCast, Quantizer
from torch_ebpc.report import Report, software_versions
from torch_ebpc.taps import Tap, TapKind, Taps


class _Code(TypedDict):
    block_size: int
    max_zero_run: int
    base: str


_TRANSMISSION_DIMS = {"tensor": 0, "image": 1, "channel": 2}


class CompressionMeter:
    """A context manager that measures what compression would make of the maps of a model's layers,
    and that can insert it.

    While it is entered, every matched call is measured: one row of the report, named
    ``layer#call`` with calls counted from 1 in each forward pass of the model (``layer1.0.relu#1``,
    ``layer1.0.relu#2``); batches accumulate. It uses :class:`torch_ebpc.Taps`: when the block
    is left, also by an exception, nothing of it stays in the model, and no tensor is kept. A model
    that torch.compile has compiled is measured without its compiled code, as said there.

    What has no words that can be read is left out, passed on untouched, and named in the report
    with the reason: nested, sparse, meta and fake tensors, batches of :func:`torch.func.vmap`, and
    other dtypes than :func:`torch_ebpc.compress` takes (with a quantizer: integers).

    Args:
        model: any module; for TorchScript modules and exported programs see :class:`Taps`.
        layers: which layers: a module type, a name as in ``model.named_modules()``, several of
            those, or a predicate ``(name, module) -> bool``.
        quantizer: turns floating-point maps into fixed-point words before they are measured, or
            (:class:`FloatCast`) into another floating-point type. None: maps are measured by bit
            pattern as they are; PyTorch's quantized tensors by the integers of ``int_repr()``.
        mode: ``"observe"``: the model's outputs stay as they are. ``"insert"``: the next layer runs
            on what the decoder returned (with a quantizer: on the dequantized words, so that its
            effect on accuracy shows; without: the same bits). Gradients pass through unchanged.
        methods: what to count, of :data:`torch_ebpc.ops.METHODS`; the first is the one that totals
            and ratios are about.
        block_size, max_zero_run, base: as for :func:`torch_ebpc.compress`.
        transmission: what is coded as one transmission: ``"image"``, each index of the first
            dimension (as in the papers), ``"channel"``, each index of the first two, or
            ``"tensor"``. Rows keep the bits of each (of channels, their sum over an image), in 8
            bytes per method.
        verify: encode and decode by every method, each transmission as it is counted, and compare
            every bit.
        zero: the value of the words that stands for 0, of all maps: the zero point where ``words``
            or the model's own integers have one. By default what comes with the map: the zero point
            of an affine quantizer, of PyTorch's quantized tensors and of the quantized integers in
            FX and exported graphs (of those with one for the whole tensor); else 0.
        order: in which the words of a map [images, channels, height, width] are sent: ``"nchw"``,
            row-major, or ``"nhwc"``, in which most accelerators for inference hold maps: all
            channels of a pixel together. Tensors of other than four dimensions stay in theirs.
        words: hands over the integers that hardware would hold where a layer's output is not these
            itself: a callable from the output, as the layer returns it, to an integer tensor. For
            Brevitas' ``QuantReLU(..., return_quant_tensor=True)``: ``lambda y: y.int()``. They are
            only measured: ``mode="observe"``, without a quantizer.
        word_bits: the bits of each of those words, an int or a callable from the same output
            (``lambda y: y.bit_width``); by default their dtype's.
        functions, of: functional calls, and inputs or gradients instead of outputs, as for
            :class:`torch_ebpc.Taps`. Gradients are only measured: ``mode="observe"``.

    Raises:
        ValueError: a layer name is unknown, nothing matches, or an argument is out of range.
        TypeError: an argument has the wrong type, or what ``words`` returns.

    In the model's forward pass, a ValueError names the layer whose map cannot be quantized (it is
    not finite, was not calibrated), or whose words are of another dtype or width than before.

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
        words: Callable[[Any], Tensor] | None = None,
        word_bits: Callable[[Any], Any] | int | None = None,
        mode: Literal["observe", "insert"] = "observe",
        methods: Sequence[str] = ("ebpc", "zvc", "zero_rle"),
        block_size: int = 8,
        max_zero_run: int = 16,
        base: str = "sent",
        transmission: Literal["image", "channel", "tensor"] = "image",
        verify: bool = False,
        zero: float | None = None,
        order: Order = "nchw",
        functions: Sequence[Callable[..., Any]] = (),
        of: TapKind = "outputs",
    ) -> None:
        if mode not in ("insert", "observe"):
            raise ValueError(f"mode must be 'observe' or 'insert', got {mode!r}")
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
        self._source = WordSource(quantizer, words, word_bits, zero, order)
        if order == "nhwc" and transmission == "channel":
            raise ValueError(
                "transmission must be 'image' or 'tensor' in the order 'nhwc', in which a channel's"
                " words are not together, got 'channel'"
            )
        if words is not None and (mode == "insert" or of != "outputs" or quantizer is not None):
            raise ValueError(
                "words must be None except with mode='observe', of='outputs' and without a"
                f" quantizer, got mode={mode!r}, of={of!r}, quantizer={quantizer!r}"
            )
        Code(None, block_size, max_zero_run, base)  # which says now what is wrong with them
        self._model = model
        self._taps = Taps(
            model, self._on_tap, layers, functions=functions, of=of, whole=words is not None
        )
        if words is None:
            _warn_of_brevitas(model, self._taps.layers)
        self._mode = mode
        self._methods = tuple(methods)
        self._counted = tuple(dict.fromkeys(("zvc", *methods)))  # the first tells the zeros
        self._code: _Code = {"block_size": block_size, "max_zero_run": max_zero_run, "base": base}
        self._transmission = transmission
        self._verify = verify
        self._of = of
        self._rows: dict[str, LayerRow] = {}
        self._left_out: dict[str, str] = {}
        self._called: set[str] = set()  # layers and operations
        self._lock = threading.Lock()  # layers may run in several threads
        self._calibrating = False

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
        """Inside of it, forward passes of the entered model are not measured: the range of
        each call's values is noted, for ``Quantizer(scale="calibrated")``."""
        if not self._taps.entered:
            raise RuntimeError("enter the CompressionMeter before calibrating: with meter: ...")
        self._calibrating = True
        try:
            yield
        finally:
            self._calibrating = False

    @property
    def calibration(self) -> dict[str, tuple[float, float]]:
        """The smallest and the largest value of every call, as found by calibration; may be set, to
        use the calibration of another run."""
        return dict(self._source.ranges)

    @calibration.setter
    def calibration(self, ranges: dict[str, tuple[float, float]]) -> None:
        self._source.ranges = dict(ranges)

    def report(self) -> Report:
        """All that was measured so far, as an independent copy."""
        # Calls without any tensor, of which the taps know.
        left_out = self._taps.left_out | self._left_out
        called = self._called.copy()
        for name in left_out.keys() - self._left_out.keys():
            layer = name.rpartition("#")[0]
            called |= {layer, layer.rpartition(".")[2]}
        return Report(
            rows=[row.copy() for row in self._rows.values()],
            methods=self._methods,
            never_called=[name for name in self._taps.layers if name not in called]
            + [f"{name}()" for name in self._taps.operations if name not in called],
            provenance={
                "model": type(self._model).__name__,
                "mode": self._mode,
                "of": self._of,
                "code": dict(self._code),
                "transmission": self._transmission,
                **self._source.provenance(),
                "verified": self._verify,
                **software_versions(),
            },
            left_out=left_out,
        )

    # ---- One tensor ------------------------------------------------------------------------------

    def _on_tap(self, tap: Tap, output: Any) -> Tensor | None:
        self._called |= {tap.layer, tap.operation or tap.layer}
        try:
            x = self._source.tensor_of(output)
            with outside_of_transforms():
                plain = plain_tensor(x, quantized=self._source.quantizer is not None)
                if isinstance(plain, str):
                    self._left_out.setdefault(tap.name, plain)
                    return None
                if self._calibrating:
                    self._source.calibrate(tap.name, plain)
                    return None
                words = self._source.words_of(tap.name, plain, output, tap.zero_point)
                row, decoded = self._measure(tap, plain, words)
        except (TypeError, ValueError, AssertionError, EBPCError) as error:
            raise type(error)(f"{tap.name}: {error}") from error
        with self._lock:
            if tap.name in self._rows:
                self._rows[tap.name].extend(row)
            else:
                self._rows[tap.name] = row
        if decoded is None or torch.is_inference_mode_enabled():  # without gradients to pass on
            return decoded
        replaced: Tensor = _StraightThrough.apply(x, (decoded,))  # type: ignore[no-untyped-call]
        return replaced

    def _measure(self, tap: Tap, x: Tensor, of: MapWords) -> tuple[LayerRow, Tensor | None]:
        """The row of this call alone, and what takes the place of ``x``, if anything does."""
        words = of.words
        shape = tuple(x.shape[1:])
        row = LayerRow(tap.name, tap.layer, tap.call, shape, of.word_bits, self._methods)
        row.dtype = str(words.dtype).removeprefix("torch.")
        row.overflows = of.overflows
        row.zero = of.zero
        counted = self._count(row, words)

        if self._mode == "observe" and not self._verify:
            return row, None
        decoded = self._round_trip(row, words)
        if self._verify:
            compare_bits("", words, decoded)
            self._verify_streams(words, row, counted)
            row.verified_values = row.values
        if self._mode == "observe":
            return row, None
        if x.is_quantized:  # made of the same integers it would be the same tensor
            compare_bits("", words, decoded)
            return row, None
        return row, self._source.values_of(decoded, of, x)

    def _count(self, row: LayerRow, words: Tensor) -> Tensor:
        """Counts into an empty row; returns the position and the value bits of each transmission,
        int64 [methods counted, transmissions, 2]."""
        dims = min(_TRANSMISSION_DIMS[self._transmission], words.dim())
        row.images = words.shape[0] if words.dim() > 0 else 1
        row.values = words.numel() * TRAITS[words.dtype].element_words
        row.negative_zeros = negative_zeros(words)
        parts = row.images if dims > 0 else 1
        row.transmission_words = array.array("q", [row.values // max(1, parts)]) * parts
        with translated():
            bits = torch.ops.torch_ebpc.count_methods.default(
                words,
                ",".join(self._counted),
                row.word_bits,
                **self._code,
                transmission_dims=dims,
                zero=word_of(row.zero or 0, words.dtype),
            )
        # One copy and plain integers: small operators would take longer than the count of a map.
        numbers = int64s_of(bits)
        of_method = len(numbers) // len(self._counted)
        of_part = of_method // max(1, parts)
        for index, method in enumerate(self._counted):
            mine = numbers[index * of_method : (index + 1) * of_method]
            positions, values = sum(mine[::2]), sum(mine[1::2])
            if method == "zvc":  # which has the non-zero words in full
                row.zeros = row.values - values // row.word_bits
            if method in self._methods:
                row.position_bits[method], row.value_bits[method] = positions, values
                row.transmission_bits[method] = array.array(
                    "q", (sum(mine[i * of_part : (i + 1) * of_part]) for i in range(parts))
                )
        counted: Tensor = bits.view(len(self._counted), -1, 2)
        return counted

    def _round_trip(self, row: LayerRow, words: Tensor) -> Tensor:
        begin = time.perf_counter()
        packed = ops.compress(words, row.word_bits, **self._code, zero=row.zero)
        encoded = time.perf_counter()
        decoded = ops.decompress(packed, max_bytes=words.nbytes)
        row.encode_seconds = encoded - begin
        row.decode_seconds = time.perf_counter() - encoded
        row.container_bytes = packed.numel()
        row.container_values = row.values
        return decoded

    def _verify_streams(self, words: Tensor, row: LayerRow, counted: Tensor) -> None:
        """Every transmission by every method, as it was counted."""
        dims = min(_TRANSMISSION_DIMS[self._transmission], words.dim())
        for method in self._methods:
            bits = counted[self._counted.index(method)]
            decoded, written = ops.round_trip(
                words,
                method,
                row.word_bits,
                **self._code,
                transmission_dims=dims,
                zero=row.zero or 0,
            )
            different = (bits != written.reshape(-1, 2)).any(1)
            if different.any():
                index = first_true(different)
                found = written.reshape(-1, 2)[index].tolist()
                raise AssertionError(
                    f"transmission {index}, method {method}: counted {bits[index].tolist()} bits"
                    f" of positions and values, wrote {found}"
                )
            compare_bits(f"method {method}: ", words, decoded, len(bits))


class _StraightThrough(torch.autograd.Function):
    """What the decoder returned in place of a tensor, with the gradient passed on as it is.

    The decoder's output comes in a tuple, out of autograd's sight: an input that is returned as it
    is would become a view, which the next layers could not change in place.
    """

    generate_vmap_rule = True  # for batches of tangents; a batched map is left out

    @staticmethod
    def forward(x: Tensor, decoded: tuple[Tensor]) -> Tensor:
        return decoded[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return tangent.clone()  # not itself, which PyTorch refuses


def _warn_of_brevitas(model: nn.Module, layers: Sequence[str]) -> None:
    """Brevitas' layers have plain ones inside, such as the ReLU of a QuantReLU: these see floating
    point, where hardware holds the integers that the quantizer after them makes."""
    quantizing = {
        name
        for name, module in named_layers(model).items()
        if type(module).__module__.partition(".")[0] == "brevitas"
    }
    found = [
        layer
        for layer in layers
        if any(layer == name or layer.startswith(f"{name}.") for name in quantizing)
    ]
    if found:
        warnings.warn(
            f"{', '.join(found)}: of Brevitas, measured in floating point. Its integers are"
            " measured by layers=QuantReLU, words=lambda y: y.int(), word_bits=lambda y:"
            " y.bit_width, where such layers have return_quant_tensor=True",
            stacklevel=3,
        )
