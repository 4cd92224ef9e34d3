"""The table that all figures of the report are computed from: bits by variant, call and image."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from evaluation.paper.variants import Variant


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

    def common(self, variants: list[Variant]) -> np.ndarray:
        """bool [images]: where all of these are measured, so that they can be compared."""
        mask = np.ones(len(self.images), bool)
        for each in variants:
            mask &= self.measured[each]
        return mask

    @property
    def words(self) -> np.ndarray:
        """int64 [calls]: words of one image."""
        return np.array([call.words for call in self.calls], np.int64)
