"""The words of a map: what a meter measures of what a layer has handed over."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from torch_ebpc._arguments import TRAITS
from torch_ebpc.quantizer import FloatCast, Quantizer, value_range

Order = Literal["nchw", "nhwc"]


class MapWords(NamedTuple):
    """The words of one map, in the order in which they are sent, and what they stand for."""

    words: Tensor
    word_bits: int
    zero: float
    scale: float
    overflows: int  # values that are beyond the words' range


class WordSource:
    """Makes words of maps; the arguments are those of :class:`torch_ebpc.CompressionMeter`.

    Raises:
        ValueError: an argument is out of range.
        TypeError: an argument has the wrong type.
    """

    def __init__(
        self,
        quantizer: Quantizer | FloatCast | None,
        words: Callable[[Any], Tensor] | None,
        word_bits: Callable[[Any], Any] | int | None,
        zero: float | None,
        order: Order,
    ) -> None:
        if quantizer is not None and not isinstance(quantizer, (Quantizer, FloatCast)):
            raise TypeError(
                f"quantizer must be a Quantizer or FloatCast, got {type(quantizer).__name__}"
            )
        if words is None and word_bits is not None:
            raise ValueError("word_bits must be None without words, whose width it is")
        if words is not None and not callable(words):
            raise TypeError(f"words must be callable, got {type(words).__name__}")
        if zero is not None and (isinstance(zero, bool) or not isinstance(zero, (int, float))):
            raise TypeError(f"zero must be a number or None, got {type(zero).__name__}")
        if zero is not None and isinstance(quantizer, Quantizer) and quantizer.affine:
            raise ValueError(
                f"zero must be None with an affine quantizer, which says the zero point, got {zero}"
            )
        if order not in ("nchw", "nhwc"):
            raise ValueError(f"order must be 'nchw' or 'nhwc', got {order!r}")
        self.quantizer = quantizer
        self.order = order
        self._words = words
        self._word_bits = word_bits
        self._zero = zero
        self._lock = threading.Lock()
        self.ranges: dict[str, tuple[float, float]] = {}  # of calls, by calibration

    def provenance(self) -> dict[str, Any]:
        return {
            "quantizer": None if self.quantizer is None else vars(self.quantizer).copy(),
            "words": _name_of(self._words),
            "word_bits": _name_of(self._word_bits),
            "zero": self._zero,
            "order": self.order,
        }

    def tensor_of(self, output: Any) -> Tensor:
        """The tensor to be measured of what a layer has returned."""
        if self._words is None:
            tensor: Tensor = output
            return tensor
        words = _called_with("words", self._words, output)
        if not isinstance(words, Tensor):
            raise TypeError(f"words must return an integer tensor, got {type(words).__name__}")
        if words.is_floating_point() or words.is_complex() or words.is_quantized:
            raise TypeError(f"words must return an integer tensor, got dtype {words.dtype}")
        return words

    def calibrate(self, name: str, x: Tensor) -> None:
        """Notes the range of the values of a call."""
        smallest, largest = value_range(x)
        for bound in (smallest, largest):
            if not math.isfinite(bound):
                raise ValueError(f"values must be finite to calibrate with, got {bound}")
        with self._lock:
            low, high = self.ranges.get(name, (smallest, largest))
            self.ranges[name] = min(low, smallest), max(high, largest)

    def words_of(self, name: str, x: Tensor, output: Any, zero_point: int | None) -> MapWords:
        """The words of ``x``, which is :meth:`tensor_of` the output of that call."""
        quantizer = self.quantizer
        words, scale, overflows = x, 1.0, 0
        zero: float = self._own_zero(x, zero_point)
        if quantizer is None:
            words = x.int_repr() if x.is_quantized else x
        elif isinstance(quantizer, FloatCast):
            words, overflows = quantizer.cast(x), quantizer.overflows(x)
        else:
            smallest, largest = value_range(x)
            if quantizer.scale == "calibrated":
                if name not in self.ranges:
                    raise ValueError(
                        "was not calibrated: run batches under meter.calibrate() first"
                    )
                smallest, largest = self.ranges[name]
            scale, point = quantizer.parameters_for(smallest, largest)
            words, overflows = quantizer.quantize_and_count(x, scale, point)
            zero = point if quantizer.affine else zero
        width = self._width_of(output)
        if width is None:
            width = quantizer.bits if quantizer is not None else TRAITS[words.dtype].word_bits
        return MapWords(in_order(words, self.order), width, zero, scale, overflows)

    def values_of(self, decoded: Tensor, of: MapWords, x: Tensor) -> Tensor:
        """What takes the place of ``x``, whose words have been decoded."""
        if self.order == "nhwc" and x.dim() == 4:
            decoded = torch.empty_like(x, dtype=decoded.dtype).copy_(decoded.permute(0, 3, 1, 2))
        if isinstance(self.quantizer, Quantizer):
            zero_point = int(of.zero) if self.quantizer.affine else 0
            return self.quantizer.dequantize(decoded, of.scale, x.dtype, zero_point)
        return decoded.to(x.dtype)

    def _own_zero(self, x: Tensor, zero_point: int | None) -> float:
        """What is said to stand for 0, or what the map itself brings with it."""
        if self._zero is not None:
            return self._zero
        if x.is_quantized and x.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric):
            return x.q_zero_point()
        return 0 if zero_point is None or x.is_floating_point() else zero_point

    def _width_of(self, output: Any) -> int | None:
        if self._word_bits is None or isinstance(self._word_bits, int):
            return self._word_bits
        bits = _called_with("word_bits", self._word_bits, output)
        try:
            width = int(bits)  # Brevitas has a tensor of one float
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"word_bits must return a whole number, got {bits!r}") from error
        if width != bits:
            raise ValueError(f"word_bits must return a whole number, got {bits!r}")
        return width


def in_order(words: Tensor, order: str) -> Tensor:
    """The words of maps [images, channels, height, width] so that row-major order is the one in
    which they are sent; of any other tensor as they are."""
    if order == "nhwc" and words.dim() == 4:
        return words.permute(0, 2, 3, 1).contiguous()
    return words


def _called_with(name: str, function: Any, output: Any) -> Any:
    try:
        return function(output)
    except Exception as error:
        raise TypeError(
            f"{name} must take the layer's output, a {type(output).__name__}, but raised"
            f" {type(error).__name__}: {error}"
        ) from error


def _name_of(argument: Any) -> Any:
    return getattr(argument, "__name__", repr(argument)) if callable(argument) else argument
