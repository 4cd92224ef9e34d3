"""The table that all figures of the report are computed from, bits by variant, call and image, and
the averages of compression ratios over it. A ratio is uncompressed / compressed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from evaluation.paper.variants import Variant

DEFINITIONS = {
    "ratio of sums": "uncompressed bits of all calls and images / compressed bits of all calls and"
    " images. The headline: it is what a memory or a bus sees.",
    "size-weighted mean of layer ratios": "each call's ratio (of sums over images), weighted by its"
    " number of words. Not a ratio of any total: calls that compress well count too much.",
    "plain mean of layer ratios": "the same with equal weights, however small the call's map.",
    "best layer": "the largest of the calls' ratios (of sums over images): no average, but shown.",
}
PERCENTILES = (5, 25, 50, 75, 95)


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of one layer."""

    name: str  # layer#call
    shape: tuple[int, ...]  # of one image

    @property
    def words(self) -> int:
        """Words of one image."""
        return math.prod(self.shape)


@dataclasses.dataclass
class Counts:
    """Bits of every variant.

    Attributes:
        calls: in the order of the forward pass.
        images: names, in the order of the image set.
        bits: int64 [calls, images] by variant, before padding; only where :attr:`measured`.
        measured: bool [images] by variant; some are measured on some images only.
    """

    calls: list[Call]
    images: list[str]
    bits: dict[Variant, np.ndarray] = dataclasses.field(default_factory=dict)
    measured: dict[Variant, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def words(self) -> np.ndarray:
        """int64 [calls]: words of one image."""
        return np.array([call.words for call in self.calls], np.int64)


class Readings:
    """Ratios of variants in one table of counts, against words of their own type; all over the
    images on which all of the variants are measured."""

    def __init__(self, counts: Counts, variants: Sequence[Variant]) -> None:
        self.counts = counts
        self._images = np.logical_and.reduce([counts.measured[each] for each in variants])
        if not self._images.any():
            raise ValueError("there is no image on which all of these variants are measured")

    @property
    def image_count(self) -> int:
        return int(self._images.sum())

    def bits(self, variant: Variant) -> np.ndarray:
        """int64 [calls, images]"""
        return self.counts.bits[variant][:, self._images]

    def ratio(self, variant: Variant) -> float:
        """Of sums."""
        before = self.counts.words.sum() * variant.bits * self.image_count
        return float(_divide(before, self.bits(variant).sum()))

    def averages(self, variant: Variant) -> dict[str, float]:
        """All averages of :data:`DEFINITIONS`, in its order."""
        words = self.counts.words
        layers = _divide(words * variant.bits * self.image_count, self.bits(variant).sum(1))
        sizes = np.average(layers, weights=words)
        values = (self.ratio(variant), sizes, layers.mean(), layers.max())
        return {name: float(value) for name, value in zip(DEFINITIONS, values, strict=True)}

    def layers(self, variant: Variant) -> pd.DataFrame:
        """One row per call: its ratio of sums, and percentiles of its ratios over images."""
        before, bits = self.counts.words * variant.bits, self.bits(variant)
        table = pd.DataFrame(
            {
                "call": [call.name for call in self.counts.calls],
                "shape": ["x".join(map(str, call.shape)) for call in self.counts.calls],
                "ratio": _divide(before * self.image_count, bits.sum(1)),
            }
        )
        found = np.percentile(_divide(before[:, None], bits), PERCENTILES, axis=1)
        for percentile, values in zip(PERCENTILES, found, strict=True):
            table["median" if percentile == 50 else f"{percentile} %"] = values
        return table


def _divide(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Nothing coded into nothing is infinitely small, and said to be so."""
    with np.errstate(divide="ignore"):
        return np.asarray(before, np.float64) / np.asarray(after, np.float64)
