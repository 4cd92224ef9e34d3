"""Every average of compression ratios that the report uses, by name and definition.

``bits`` is int64 [calls, images]; ``words`` is int64 [calls], of one image. A ratio is
uncompressed / compressed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from evaluation.paper.counts import Counts
from evaluation.paper.variants import Variant

DEFINITIONS = {
    "ratio of sums": "uncompressed bits of all calls and images / compressed bits of all calls and"
    " images. The headline: it is what a memory or a bus sees.",
    "size-weighted mean of layer ratios": "each call's ratio (of sums over images), weighted by its"
    " number of words. Not a ratio of any total: calls that compress well count too much.",
    "plain mean of layer ratios": "the same with equal weights, however small the call's map.",
    "plain mean of layer medians": "each call's median ratio over images, averaged with equal"
    " weights.",
    "best layer": "the largest of the calls' ratios (of sums over images).",
    "worst layer": "the smallest of them.",
    "best image": "the largest ratio of an image, over the sums of all its calls.",
    "worst image": "the smallest of them.",
}
PERCENTILES = (5, 25, 50, 75, 95)


def map_ratios(bits: np.ndarray, words: np.ndarray, word_bits: int) -> np.ndarray:
    """float64 [calls, images]: of each map by itself."""
    return _divide(np.broadcast_to(words[:, None] * word_bits, bits.shape), bits)


def layer_ratios(bits: np.ndarray, words: np.ndarray, word_bits: int) -> np.ndarray:
    """float64 [calls]: of sums over images."""
    return _divide(words * word_bits * bits.shape[1], bits.sum(1))


def image_ratios(bits: np.ndarray, words: np.ndarray, word_bits: int) -> np.ndarray:
    """float64 [images]: of sums over calls."""
    return _divide(np.full(bits.shape[1], words.sum() * word_bits), bits.sum(0))


def ratio_of_sums(bits: np.ndarray, words: np.ndarray, word_bits: int) -> float:
    return float(_divide(words.sum() * word_bits * bits.shape[1], bits.sum()))


def averages(bits: np.ndarray, words: np.ndarray, word_bits: int) -> dict[str, float]:
    """All averages of :data:`DEFINITIONS`, in its order."""
    layers = layer_ratios(bits, words, word_bits)
    images = image_ratios(bits, words, word_bits)
    medians = np.median(map_ratios(bits, words, word_bits), axis=1)
    values = (
        ratio_of_sums(bits, words, word_bits),
        np.average(layers, weights=words),
        layers.mean(),
        medians.mean(),
        layers.max(),
        layers.min(),
        images.max(),
        images.min(),
    )
    return {name: float(value) for name, value in zip(DEFINITIONS, values, strict=True)}


def layer_table(bits: np.ndarray, counts: Counts, word_bits: int) -> pd.DataFrame:
    """One row per call: its ratio of sums, and percentiles of its ratios over images."""
    table = pd.DataFrame(
        {
            "call": [call.name for call in counts.calls],
            "shape": ["x".join(map(str, call.shape)) for call in counts.calls],
            "ratio": layer_ratios(bits, counts.words, word_bits),
        }
    )
    found = np.percentile(map_ratios(bits, counts.words, word_bits), PERCENTILES, axis=1)
    for percentile, values in zip(PERCENTILES, found, strict=True):
        table["median" if percentile == 50 else f"{percentile} %"] = values
    return table


class Readings:
    """Averages of variants in one table of counts, all over the same images.

    Args:
        images: bool [images]; by default those on which all of ``variants`` are measured.
    """

    def __init__(
        self, counts: Counts, variants: Sequence[Variant], images: np.ndarray | None = None
    ) -> None:
        self.counts = counts
        self.images = counts.common(list(variants)) if images is None else images
        if not self.images.any():
            raise ValueError("there is no image on which all of these variants are measured")

    @property
    def image_count(self) -> int:
        return int(self.images.sum())

    def bits(self, variant: Variant) -> np.ndarray:
        return self.counts.bits[variant][:, self.images]

    def ratio(self, variant: Variant, against: int | None = None) -> float:
        """The ratio of sums, against words of ``against`` bits (by default of the type's)."""
        return ratio_of_sums(self.bits(variant), self.counts.words, against or variant.words.bits)

    def averages(self, variant: Variant, against: int | None = None) -> dict[str, float]:
        return averages(self.bits(variant), self.counts.words, against or variant.words.bits)

    def layers(self, variant: Variant) -> pd.DataFrame:
        return layer_table(self.bits(variant), self.counts, variant.words.bits)

    def best(self, average: str, variants: dict[str, Variant]) -> tuple[str, float]:
        """The largest of an average among variants by name, and its name."""
        values = {name: self.averages(each)[average] for name, each in variants.items()}
        name = max(values, key=values.__getitem__)
        return name, values[name]


def _divide(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Nothing coded into nothing is infinitely small, and said to be so."""
    with np.errstate(divide="ignore"):
        return np.asarray(before, np.float64) / np.asarray(after, np.float64)


@dataclasses.dataclass(frozen=True)
class Extremes:
    """Names beside the best and worst figures of a variant."""

    best_layer: str
    worst_layer: str
    best_image: str
    worst_image: str


def extremes(readings: Readings, variant: Variant) -> Extremes:
    bits, words = readings.bits(variant), readings.counts.words
    layers = layer_ratios(bits, words, variant.words.bits)
    images = image_ratios(bits, words, variant.words.bits)
    calls = [call.name for call in readings.counts.calls]
    names = [
        name for name, used in zip(readings.counts.images, readings.images, strict=True) if used
    ]
    return Extremes(
        calls[int(layers.argmax())],
        calls[int(layers.argmin())],
        names[int(images.argmax())],
        names[int(images.argmin())],
    )
