"""What one call of one layer cost."""

from __future__ import annotations

import array
import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


@dataclasses.dataclass
class LayerRow:
    """What one call of one layer cost, summed over all batches.

    Bits and counts are of words (``word_bits`` wide), before padding and without container, as the
    papers count; the container's bytes stand beside them.

    ``transmission_bits`` and ``transmission_words`` keep the single transmissions, in the order in
    which they were measured, for medians and percentiles over images: arrays of 64-bit integers,
    which work like lists. Where every channel is a transmission of its own, they have one entry for
    all channels of an image.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.ReLU())
        >>> with torch_ebpc.CompressionMeter(model, mode="observe") as meter:
        ...     y = model(torch.tensor([[-1.0, 2.0], [-3.0, 4.0]]))
        >>> row = meter.report().rows[0]
        >>> row.name, row.images, row.values, row.zero_share
        ('0#1', 2, 4, 0.5)
    """

    name: str  #: layer#call
    layer: str
    call: int
    shape: tuple[int, ...]  #: of one image, as first seen; see shape_varies
    word_bits: int
    methods: tuple[str, ...]
    images: int = 0  #: indexes of the maps' first dimension, whatever a model has there
    values: int = 0
    zeros: int = 0  #: words that are the zero word, which is 0 or what ``zero`` says
    position_bits: dict[str, int] = dataclasses.field(default_factory=dict)
    value_bits: dict[str, int] = dataclasses.field(default_factory=dict)
    transmission_bits: dict[str, array.array[int]] = dataclasses.field(default_factory=dict)
    transmission_words: array.array[int] = dataclasses.field(default_factory=lambda: _int64s(()))
    container_bytes: int = 0  #: of the container_values values that were really compressed
    container_values: int = 0
    verified_values: int = 0
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0
    dtype: str = ""  #: of the words, such as "float32"; empty in reports of before it was kept
    shape_varies: bool = False  #: whether other shapes than the first were measured, too
    negative_zeros: int = 0  #: floats that are -0.0
    overflows: int = 0  #: values that are beyond the range of the words that they were made
    #: into: finite ones that a FloatCast made infinite, and those that a Quantizer saturated
    zero: float | None = 0  #: the value of the words that counts as zero; None where it varied

    def __post_init__(self) -> None:
        self.shape = tuple(self.shape)
        self.methods = tuple(self.methods)
        for method in self.methods:
            self.position_bits.setdefault(method, 0)
            self.value_bits.setdefault(method, 0)
            self.transmission_bits[method] = _int64s(self.transmission_bits.get(method, ()))
        self.transmission_words = _int64s(self.transmission_words)

    def copy(self) -> LayerRow:
        """An independent copy."""
        return copy.deepcopy(self)

    @property
    def shape_text(self) -> str:
        """Such as ``"64x56x56"``, or ``"varies"``."""
        return "varies" if self.shape_varies else "x".join(map(str, self.shape))

    @property
    def zero_share(self) -> float:
        """The share of the words that stand for 0, of floats -0.0 among them; 0 where there are no
        words."""
        zeros = self.zeros + (self.negative_zeros if self.zero == 0 else 0)
        return zeros / self.values if self.values else 0.0

    @property
    def bits_before(self) -> int:
        """Bits of all words, uncompressed."""
        return self.values * self.word_bits

    def bits_after(self, method: str) -> int:
        """Bits of all words by a method, before padding and without container.

        Raises:
            ValueError: the method was not measured; the meter's ``methods`` say which are.
        """
        if method not in self.position_bits:
            measured = ", ".join(self.methods)
            raise ValueError(f"method must be one that was measured ({measured}), got {method!r}")
        return self.position_bits[method] + self.value_bits[method]

    def ratio(self, method: str) -> float:
        """Uncompressed / compressed bits, against words of ``word_bits``; 1 where there are no
        words."""
        return _divide(self.bits_before, self.bits_after(method))

    def bits_per_value(self, method: str) -> float:
        """Compressed bits / values; 0 where there are none."""
        return self.bits_after(method) / self.values if self.values else 0.0

    @property
    def container_ratio(self) -> float | None:
        """Uncompressed bits / bits of the containers; None where nothing was compressed."""
        if self.container_bytes == 0:
            return None
        return self.container_values * self.word_bits / (8 * self.container_bytes)

    def transmission_ratios(self, method: str) -> list[float]:
        """Uncompressed / compressed bits of every single transmission."""
        return [
            _divide(words * self.word_bits, bits)
            for words, bits in zip(
                self.transmission_words, self.transmission_bits[method], strict=True
            )
        ]

    def add(self, other: LayerRow) -> None:
        """Adds the counts of another row, for a total over calls: without its images, which are the
        same ones, and its single transmissions."""
        if self.values == 0:
            self.zero = other.zero
        elif other.values > 0 and self.zero != other.zero:
            self.zero = None
        for field in (
            "values",
            "zeros",
            "container_bytes",
            "container_values",
            "verified_values",
            "encode_seconds",
            "decode_seconds",
            "negative_zeros",
            "overflows",
        ):
            setattr(self, field, getattr(self, field) + getattr(other, field))
        for method in self.methods:
            self.position_bits[method] += other.position_bits[method]
            self.value_bits[method] += other.value_bits[method]

    def extend(self, other: LayerRow) -> None:
        """Adds a row of the same call that was measured on other images.

        Raises:
            ValueError: it is of another call, of other methods, or of words of another width or
                dtype.
        """
        if self.dtype and other.dtype and self.dtype != other.dtype:
            raise ValueError(
                f"{self.name}: was measured in {self.dtype} and then in {other.dtype}, which make"
                " no common row: measure them with separate meters"
            )
        for field in ("name", "methods", "word_bits"):
            mine, others = getattr(self, field), getattr(other, field)
            if mine != others:
                raise ValueError(
                    f"{self.name}: {field} must be {mine!r} to be added, got {others!r}"
                )
        self.add(other)
        self.images += other.images
        self.shape_varies |= other.shape_varies or self.shape != other.shape
        self.transmission_words.extend(other.transmission_words)
        for method in self.methods:
            self.transmission_bits[method].extend(other.transmission_bits[method])

    def as_dict(self) -> dict[str, Any]:
        """A flat record, as in CSV and pandas, without single transmissions."""
        record: dict[str, Any] = {
            "name": self.name,
            "layer": self.layer,
            "call": self.call,
            "shape": self.shape_text,
            "word_bits": self.word_bits,
            "images": self.images,
            "values": self.values,
            "zero": self.zero,
            "zeros": self.zeros,
            "zero_share": self.zero_share,
            "negative_zeros": self.negative_zeros,
            "overflows": self.overflows,
            "bits_before": self.bits_before,
        }
        for method in self.methods:
            record |= {
                f"{method}_position_bits": self.position_bits[method],
                f"{method}_value_bits": self.value_bits[method],
                f"{method}_bits": self.bits_after(method),
                f"{method}_ratio": self.ratio(method),
                f"{method}_bits_per_value": self.bits_per_value(method),
            }
        return record | {
            "container_bytes": self.container_bytes,
            "container_values": self.container_values,
            "container_ratio": self.container_ratio,
            "verified_values": self.verified_values,
            "encode_seconds": self.encode_seconds,
            "decode_seconds": self.decode_seconds,
        }

    def as_record(self) -> dict[str, Any]:
        """All fields, of types that JSON has; ``LayerRow(**record)`` makes the same row again."""
        record = dataclasses.asdict(self)
        record["transmission_words"] = self.transmission_words.tolist()
        record["transmission_bits"] = {
            method: bits.tolist() for method, bits in self.transmission_bits.items()
        }
        return record


def _int64s(values: Sequence[int]) -> array.array[int]:
    return array.array("q", values)


def int64s_of(tensor: Tensor) -> array.array[int]:
    """The elements of a plain int64 tensor, copied as memory: there may be millions."""
    values = array.array("q", bytes(tensor.nbytes))
    if values:  # memory of no bytes is refused
        torch.frombuffer(values, dtype=torch.int64).copy_(tensor.flatten())
    return values


def _divide(numerator: float, denominator: float) -> float:
    """0 / 0 is a ratio of 1 (nothing became nothing); x / 0 is infinite."""
    if denominator == 0:
        return 1.0 if numerator == 0 else float("inf")
    return numerator / denominator
