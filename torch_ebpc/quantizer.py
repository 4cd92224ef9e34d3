"""Floating-point feature maps to fixed point, explicitly: compression itself never quantizes."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import torch
from torch import Tensor

from torch_ebpc.errors import translated

_FLOAT32 = torch.finfo(torch.float32)  # what scales have to be within, to divide by them


@dataclasses.dataclass(frozen=True)
class Quantizer:
    """Uniform quantization of a feature map to fixed-point words.

    A value x becomes ``rounding(x / scale) + zero_point``, saturated to the words' range. Scale and
    zero point are one number each per call of a layer.

    *Symmetric*: the zero point is 0, and the largest magnitude seen comes to ``headroom`` of the
    largest word: ``scale = max|x| / (headroom * largest_word)``, with a largest word of
    ``2^(bits-1) - 1`` if words are signed, else ``2^bits - 1``.

    *Affine*, as LiteRT, ONNX and PT2E have it: the smallest and the largest value seen, extended to
    have 0 between them, come to the ends of the words' range. ``scale = (max - min) / (headroom *
    (largest_word - smallest_word))``, and ``zero_point = smallest_word - round(min / scale)``, ties
    to even. The word of 0 is the zero point then: after a ReLU, the smallest word. Words are those
    of ONNX Runtime's QuantizeLinear. PT2E multiplies by ``1 / scale``, LiteRT's built-in kernels
    round ties away from zero (XNNPACK's, its default ones, to even), and
    ``torch.quantize_per_tensor`` rounds after it has added the zero point: quotients that are ties,
    or within float32's rounding of one, may differ by 1 there.

    Attributes:
        bits: bits of a word, 2 to 16.
        signed: two's complement words, as the papers use. A map that is never negative then has
            only ``bits - 1`` of them to itself; ``signed=False`` gives it all.
        rounding: ``"nearest"`` (ties to even) or ``"truncate"`` (towards zero).
        scale: where the values' range comes from. ``"batch"``: from each batch.
            ``"calibrated"``: from all batches of a calibration pass before the measurement
            (:meth:`CompressionMeter.calibrate`), so that results do not depend on the batch size.
            Or a number: the scale itself, for all layers; of symmetric quantization alone.
        headroom: the share of the words' range that the values take, above 0 to 1. JETCAS 2019
            says 0.8, the authors' released notebook uses 0.75.
        affine: with a zero point, for maps that are negative too.

    Raises:
        TypeError, ValueError: an argument is not what it may be.

    Example:
        >>> quantizer = torch_ebpc.Quantizer(bits=8)
        >>> x = torch.tensor([0.0, 0.5, 2.0])
        >>> quantizer.quantize(x, quantizer.scale_for(x.max().item()))
        tensor([  0,  32, 127], dtype=torch.int8)
    """

    bits: int = 8
    signed: bool = True
    rounding: Literal["nearest", "truncate"] = "nearest"
    scale: Literal["batch", "calibrated"] | float = "batch"
    headroom: float = 1.0
    affine: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.bits, int) or isinstance(self.bits, bool):
            raise TypeError(f"bits must be an int, got {type(self.bits).__name__}")
        if not 2 <= self.bits <= 16:
            raise ValueError(f"bits must be from 2 to 16, got {self.bits}")
        for name in ("signed", "affine"):
            if not isinstance(getattr(self, name), bool):
                found = type(getattr(self, name)).__name__
                raise TypeError(f"{name} must be a bool, got {found}")
        if self.rounding not in ("nearest", "truncate"):
            raise ValueError(f"rounding must be 'nearest' or 'truncate', got {self.rounding!r}")
        if isinstance(self.scale, str):
            if self.scale not in ("batch", "calibrated"):
                raise ValueError(
                    f"scale must be 'batch', 'calibrated' or a number, got {self.scale!r}"
                )
        elif not _is_number(self.scale):
            raise TypeError(
                "scale must be 'batch', 'calibrated' or a number, got a"
                f" {type(self.scale).__name__}"
            )
        elif not _FLOAT32.tiny <= self.scale <= _FLOAT32.max:
            raise ValueError(f"scale must be positive and finite in float32, got {self.scale}")
        elif self.affine:
            raise ValueError(
                "scale must be 'batch' or 'calibrated' for affine quantization, whose zero point"
                f" comes from the same values, got {self.scale}"
            )
        if not _is_number(self.headroom):
            raise TypeError(f"headroom must be a number, got a {type(self.headroom).__name__}")
        if not 0 < self.headroom <= 1:
            raise ValueError(f"headroom must be above 0 and at most 1, got {self.headroom}")

    @property
    def dtype(self) -> torch.dtype:
        """The smallest integer dtype that holds the words."""
        if self.bits <= 8:
            return torch.int8 if self.signed else torch.uint8
        return torch.int16 if self.signed else torch.uint16

    @property
    def largest_word(self) -> int:
        """Full scale, the largest word."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def smallest_word(self) -> int:
        """The smallest word; 0 where words are unsigned."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    def scale_for(self, largest_magnitude: float) -> float:
        """The scale of symmetric words under which a value of that magnitude comes to ``headroom``
        of the largest."""
        if not isinstance(self.scale, str):
            return self.scale
        return self._scale_of(largest_magnitude, self.largest_word)

    def parameters_for(self, smallest: float, largest: float) -> tuple[float, int]:
        """Scale and zero point for values of that range.

        Example:
            >>> torch_ebpc.Quantizer(affine=True).parameters_for(-2.0, 253.0)
            (1.0, -126)

        Raises:
            ValueError: the values are not finite.
        """
        if not (math.isfinite(smallest) and math.isfinite(largest)):
            raise ValueError("x must be finite to be quantized, got inf or NaN")
        if not self.affine:
            return self.scale_for(max(-smallest, largest)), 0
        smallest, largest = min(smallest, 0.0), max(largest, 0.0)
        scale = self._scale_of(largest - smallest, self.largest_word - self.smallest_word)
        return scale, self.smallest_word - round(smallest / scale)

    def _scale_of(self, values: float, words: int) -> float:
        """Under which a range of values comes to ``headroom`` of a range of words."""
        if values == 0:
            return 1.0
        return min(max(values / (self.headroom * words), _FLOAT32.tiny), _FLOAT32.max)

    def quantize(self, x: Tensor, scale: float, zero_point: int = 0) -> Tensor:
        """Fixed-point words of ``x`` (any floating dtype), of dtype :attr:`dtype`, same shape.

        Args:
            x: the values, on the CPU; taken as float32.
            scale: what a word of 1, or a step of it, stands for.
            zero_point: the word of 0, of affine quantization.

        Raises:
            TypeError: ``x`` is not a floating-point tensor.
            ValueError: a value is not finite, or is negative where words are unsigned.
        """
        return self.quantize_and_count(x, scale, zero_point)[0]

    def quantize_and_count(
        self, x: Tensor, scale: float, zero_point: int = 0
    ) -> tuple[Tensor, int]:
        """The words, as :meth:`quantize`, and how many values of ``x`` are beyond their range and
        became its ends."""
        if not isinstance(x, Tensor) or not x.is_floating_point():
            found = f"dtype {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"x must be a floating-point tensor, got {found}")
        values = x.detach().to(torch.float32)
        words = torch.empty_like(values, dtype=self.dtype)
        if words.stride() != values.stride():  # there are gaps
            values = torch.empty_like(words, dtype=torch.float32).copy_(values)
        with translated():
            beyond = torch.ops.torch_ebpc.quantize.default(
                values, words, scale, self.bits, zero_point, self.rounding == "nearest"
            )
        below, above = beyond.tolist()
        if below > 0 and not (self.signed or self.affine):
            raise ValueError(
                f"x must not be negative for unsigned words, got {values.min().item():g};"
                " signed=True takes it"
            )
        return words, below + above

    def dequantize(
        self, words: Tensor, scale: float, dtype: torch.dtype, zero_point: int = 0
    ) -> Tensor:
        """The values that words stand for, in a floating dtype."""
        values = words.to(torch.float32, copy=True)
        return (values if zero_point == 0 else values.sub_(zero_point)).mul_(scale).to(dtype)


_CASTS = (
    *(torch.float16, torch.bfloat16, torch.float32),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
)


@dataclasses.dataclass(frozen=True)
class FloatCast:
    """Feature maps in another floating-point type, measured by bit pattern: as a network would hold
    them in that type. Stands where a :class:`Quantizer` does; there is no scale.

    Attributes:
        dtype: torch.float16, torch.bfloat16, torch.float32, or one of the four kinds of float8
            that have a sign (``float8_e4m3fn``, ``float8_e5m2`` and their ``fnuz``).
        negative_zero: ``"keep"``, or ``"zero"``: -0.0 becomes 0.0, as for hardware that takes both
            for zero. To the code a negative zero is a word like any other.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU())
        >>> cast = torch_ebpc.FloatCast(torch.bfloat16)
        >>> with torch_ebpc.CompressionMeter(model, quantizer=cast, mode="observe") as meter:
        ...     y = model(torch.randn(3, 4))
        >>> meter.report().rows[0].word_bits
        16
    """

    dtype: torch.dtype
    negative_zero: Literal["keep", "zero"] = "keep"

    def __post_init__(self) -> None:
        if self.negative_zero not in ("keep", "zero"):
            raise ValueError(f"negative_zero must be 'keep' or 'zero', got {self.negative_zero!r}")
        if self.dtype not in _CASTS:
            names = ", ".join(str(dtype).removeprefix("torch.") for dtype in _CASTS)
            raise ValueError(f"dtype must be one of {names}, got {self.dtype}")

    @property
    def bits(self) -> int:
        """Bits of a word."""
        return 8 * self.dtype.itemsize

    def cast(self, x: Tensor) -> Tensor:
        """``x`` (any floating dtype) in ``dtype``, same shape."""
        words = x.detach().to(self.dtype)
        if self.negative_zero == "keep":
            return words
        return torch.where(words == 0, words.new_zeros(()), words)

    def overflows(self, x: Tensor) -> int:
        """How many finite values of ``x`` are beyond the range of ``dtype``: they become infinite,
        NaN or the largest value, as PyTorch's cast to ``dtype`` has it."""
        x = x.detach()
        limits = torch.finfo(self.dtype)
        if torch.finfo(x.dtype).max <= limits.max:
            return 0
        # What is not rounded to the largest value, from half a step above it.
        first = limits.max + limits.eps * 2 ** (math.frexp(limits.max)[1] - 2)
        if max(map(abs, value_range(x))) < first:
            return 0
        magnitudes = (x.float() if x.dtype.itemsize == 1 else x).abs()
        return int(((magnitudes >= first) & magnitudes.isfinite()).sum())


def value_range(x: Tensor) -> tuple[float, float]:
    """The smallest and the largest value of a tensor; zeros where it is empty."""
    if x.numel() == 0:
        return 0.0, 0.0
    x = x.detach()
    smallest, largest = torch.aminmax(x.float() if x.dtype.itemsize == 1 else x)
    return smallest.item(), largest.item()


def _is_number(x: object) -> bool:
    return isinstance(x, (int, float)) and not isinstance(x, bool)
