"""What can be measured of a map: how it becomes words, and how words become bits."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import torch

import torch_ebpc
from evaluation.paper.presets import Preset
from evaluation.paper.software import COMPRESSORS
from torch_ebpc._words import in_order


@dataclasses.dataclass(frozen=True)
class WordType:
    """Fixed point of so many bits, or a floating-point type by its bit pattern."""

    bits: int
    signed: bool = True
    floating: torch.dtype | None = None

    @property
    def stored_bits(self) -> int:
        """Bits of the tensor element that holds a word."""
        return next(width for width in (8, 16, 32) if width >= self.bits)


FIXED_BITS = (4, 8, 12, 16)
TYPES: dict[str, WordType] = {
    **{f"fixed{bits}": WordType(bits) for bits in FIXED_BITS},
    **{f"ufixed{bits}": WordType(bits, signed=False) for bits in FIXED_BITS},
    "float16": WordType(16, floating=torch.float16),
    "bfloat16": WordType(16, floating=torch.bfloat16),
    "float32": WordType(32, floating=torch.float32),
}

METHODS = ("ebpc", "bpc", "zvc", "zero_rle", "csc", "none")
METHOD_TITLES = {
    "ebpc": "EBPC",
    "bpc": "BPC",
    "zvc": "ZVC",
    "zero_rle": "zero-RLE",
    "csc": "CSC",
    "none": "none",
    **{name: f"{name} (software)" for name in COMPRESSORS},
    "entropy": "order-0 entropy bound",
}
BASELINES = ("zvc", "zero_rle", "bpc")  # what the papers call existing methods


@dataclasses.dataclass(frozen=True)
class Words:
    """How a float map becomes words.

    Attributes:
        type: a name of :data:`TYPES`.
        rounding, headroom: as for :class:`torch_ebpc.Quantizer`.
        scale: what a call's maximum is taken over: "calibrated", all images; "batch"; or "image",
            each by itself.
        order: in which a map's words are sent, "nchw" or "nhwc".
    """

    type: str = "fixed8"
    rounding: Literal["nearest", "truncate"] = "truncate"
    scale: str = "calibrated"
    headroom: float = 0.75
    order: str = "nchw"

    def canonical(self) -> Words:
        """Without what the type has no use for, so that equal measurements compare equal."""
        if TYPES[self.type].floating is None:
            return self
        return Words(self.type, order=self.order)

    @property
    def bits(self) -> int:
        return TYPES[self.type].bits

    def of(self, x: torch.Tensor, largest: float) -> torch.Tensor:
        """The words of float maps [images, ...], in the order in which they are sent.

        Args:
            largest: the magnitude that the scale follows.
        """
        kind = TYPES[self.type]
        if kind.floating is not None:
            words = x.to(kind.floating)
        else:
            quantizer = torch_ebpc.Quantizer(
                kind.bits,
                kind.signed,
                self.rounding,
                "batch",
                self.headroom,
            )
            words = quantizer.quantize(x, quantizer.scale_for(largest))
        return in_order(words, self.order)


@dataclasses.dataclass(frozen=True)
class Code:
    """How words become bits.

    Attributes:
        method: one of :data:`METHODS`, of the software compressors, or "entropy".
        block_size, max_zero_run, base: as for :func:`torch_ebpc.count_bits`.
        transmission: what is coded by itself: "image" or "channel".
    """

    method: str = "ebpc"
    block_size: int = 8
    max_zero_run: int = 16
    base: str = "sent"
    transmission: str = "image"

    def canonical(self) -> Code:
        """Without what the method has no use for."""
        used = {
            "ebpc": ("block_size", "max_zero_run", "base", "transmission"),
            "bpc": ("block_size", "transmission"),
            "zero_rle": ("max_zero_run", "transmission"),
            "csc": ("transmission",),
        }.get(self.method, ())
        return Code(self.method, **{name: getattr(self, name) for name in used})


@dataclasses.dataclass(frozen=True)
class Variant:
    """One thing to measure. Make it with :func:`variant`, so that equal ones compare equal."""

    words: Words
    code: Code

    @property
    def key(self) -> str:
        """A name that is the same in every run, for files."""
        words, code = self.words, self.code
        parts = [words.type]
        if TYPES[words.type].floating is None:
            parts += [words.rounding, words.scale, f"{words.headroom:g}"]
        parts += [words.order, code.method]
        if code.method in ("ebpc", "bpc"):
            parts.append(f"N{code.block_size}")
        if code.method in ("ebpc", "zero_rle"):
            parts.append(f"R{code.max_zero_run}")
        if code.method == "ebpc":
            parts.append(code.base)
        return "/".join([*parts, code.transmission])


def variant(rule: Preset, type: str = "fixed8", method: str = "ebpc", **changes: object) -> Variant:
    """What a preset measures of a type by a method, with changes to any field of :class:`Words`
    and :class:`Code`."""
    rule = rule.complete()
    settings = {
        "type": type,
        "rounding": rule.rounding,
        "scale": rule.scale,
        "headroom": rule.headroom,
        "order": rule.order,
        "method": method,
        "block_size": rule.block_size,
        "max_zero_run": rule.max_zero_run,
        "base": rule.base,
        "transmission": "image",
    } | changes

    def part(record: Any) -> dict[str, Any]:
        names = {field.name for field in dataclasses.fields(record)}
        return {name: value for name, value in settings.items() if name in names}

    unknown = set(settings) - set(part(Words)) - set(part(Code))
    if unknown:
        raise TypeError(f"variant() got unknown settings: {', '.join(sorted(unknown))}")
    return Variant(Words(**part(Words)).canonical(), Code(**part(Code)).canonical())
