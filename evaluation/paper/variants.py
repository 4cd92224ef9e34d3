"""What can be measured of a map: how it becomes words, and how words become bits."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import torch
from torch import Tensor

import torch_ebpc
from evaluation.common import compressors
from evaluation.paper.presets import Preset
from torch_ebpc._words import in_order


@dataclasses.dataclass(frozen=True)
class WordType:
    """Fixed point of so many bits, or a floating-point type by its bit pattern."""

    bits: int
    signed: bool = True
    floating: torch.dtype | None = None


FIXED_BITS = (4, 8, 12, 16)
TYPES: dict[str, WordType] = {
    **{f"fixed{bits}": WordType(bits) for bits in FIXED_BITS},
    **{f"ufixed{bits}": WordType(bits, signed=False) for bits in FIXED_BITS},
    "float16": WordType(16, floating=torch.float16),
    "bfloat16": WordType(16, floating=torch.bfloat16),
    "float32": WordType(32, floating=torch.float32),
}

METHODS = ("ebpc", "bpc", "zvc", "zero_rle", "csc", "none")
BASELINES = ("zvc", "zero_rle", "bpc")  # what the papers call existing methods
SOFTWARE = (*compressors.SOFTWARE, "entropy")

# What a preset says, and the settings that each method has a use for.
_RULE = ("rounding", "scale", "headroom", "order", "block_size", "max_zero_run", "base")
_CODE = {
    "ebpc": ("block_size", "max_zero_run", "base", "transmission"),
    "bpc": ("block_size", "transmission"),
    "zero_rle": ("max_zero_run", "transmission"),
    "csc": ("transmission",),
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """One thing to measure. Make it with :func:`variant`, so that equal ones compare equal.

    Attributes:
        type: a name of :data:`TYPES`.
        method: of :data:`METHODS` or :data:`SOFTWARE`.
        rounding, headroom: as for :class:`torch_ebpc.Quantizer`.
        scale: what a call's maximum is taken over: "calibrated", all images; "batch"; or "image",
            each by itself.
        order: in which a map's words are sent, "nchw" or "nhwc".
        block_size, max_zero_run, base: as for :func:`torch_ebpc.count_bits`.
        transmission: what is coded by itself: "image" or "channel".
    """

    type: str = "fixed8"
    method: str = "ebpc"
    rounding: Literal["nearest", "truncate"] = "truncate"
    scale: str = "calibrated"
    headroom: float = 0.75
    order: str = "nchw"
    block_size: int = 8
    max_zero_run: int = 16
    base: str = "sent"
    transmission: str = "image"

    @property
    def key(self) -> str:
        """A name that is the same in every run, for files."""
        return "/".join(map(str, dataclasses.astuple(self)))

    @property
    def word_rule(self) -> Variant:
        """The same for all variants whose words are the same."""
        return Variant(self.type, "none", self.rounding, self.scale, self.headroom, self.order)

    def by_method(self, method: str) -> Variant:
        """Another method on the same words, with as much of the same code as it has a use for."""
        used = {name: getattr(self, name) for name in _CODE.get(method, ())}
        return dataclasses.replace(self.word_rule, method=method, **used)

    @property
    def bits(self) -> int:
        """Of a word."""
        return TYPES[self.type].bits

    def words(self, x: Tensor, largest: float) -> Tensor:
        """The words of float maps [images, ...], in the order in which they are sent.

        Args:
            largest: the magnitude that the scale follows.
        """
        kind = TYPES[self.type]
        if kind.floating is not None:
            return in_order(x.to(kind.floating), self.order)
        quantizer = torch_ebpc.Quantizer(
            kind.bits, kind.signed, self.rounding, "batch", self.headroom
        )
        return in_order(quantizer.quantize(x, quantizer.scale_for(largest)), self.order)

    def count_bits(self, words: Tensor) -> int:
        """The bits of one image's words [1, ...]."""
        if self.method in SOFTWARE:
            return count_software_bits(words, self.method)
        bits = torch_ebpc.count_transmission_bits(
            words,
            self.method,
            self.bits,
            self.block_size,
            self.max_zero_run,
            self.base,
            transmission_dims=min(2 if self.transmission == "channel" else 1, words.dim()),
        )
        return int(bits.sum().item())


def variant(rule: Preset, type: str = "fixed8", method: str = "ebpc", **changes: object) -> Variant:
    """What a preset measures of a type by a method, with changes to any field of
    :class:`Variant`."""
    rule = rule.complete()
    asked = Variant(type, method, **({name: getattr(rule, name) for name in _RULE} | changes))
    if TYPES[type].floating is not None:
        asked = dataclasses.replace(asked, rounding="truncate", scale="calibrated", headroom=0.75)
    return asked.by_method(method)


def count_software_bits(words: Tensor, method: str) -> int:
    """Bits that one of :data:`SOFTWARE` needs for all words at once.

    They are not what small hardware could do: the dictionary coders look back over kilobytes, and
    all take whole bytes (a 4- or 12-bit word is given to them in 8 or 16 bits).
    """
    if method == "entropy":
        return entropy_bits(words)
    return 8 * compressors.SOFTWARE[method]().packed_bytes(words)


def entropy_bits(words: Tensor) -> int:
    """Bits of an ideal code for independent words that knows how often each occurs in this very
    transmission: n * H, rounded up, without the cost of telling the decoder."""
    counts = np.unique(compressors.words_of(words), return_counts=True)[1].astype(np.float64)
    return int(np.ceil(-(counts * np.log2(counts / counts.sum())).sum()))
