"""Passes over the images in units of a few, whose results are kept so that a run can resume.

Which rank did a unit, or in which run, makes no difference: units are always the same images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import joblib
from tqdm import tqdm

from evaluation.paper.ranks import Ranks

Unit = tuple[int, ...]
"""Images that go through the network together: indices into the image set."""
UNIT_IMAGES = 10  # so a kill loses ten images of one pass, and memory stays small

T = TypeVar("T")


def units_of(images: Sequence[int], size: int = UNIT_IMAGES) -> list[Unit]:
    return [tuple(images[begin : begin + size]) for begin in range(0, len(images), size)]


@dataclasses.dataclass(frozen=True)
class Runner:
    """Runs passes: this rank's share of the units, kept, then gathered over ranks.

    Attributes:
        folder: where results are kept; made where it is missing.
        key: of all that results depend on besides the pass and the images' indices.
    """

    folder: Path
    key: str
    ranks: Ranks

    def run(
        self, name: str, what: str, units: Sequence[Unit], compute: Callable[[Unit], T]
    ) -> list[T]:
        """The results of all units, in their order, on every rank.

        Args:
            name: of the pass, which tells it from others of the same key.
            what: in words, for the progress bar.
        """
        # Compressed, since zlib's checksum is what notices a flipped bit.
        kept = joblib.Memory(self.folder, verbose=0, compress=1).cache(_result, ignore=["compute"])
        mine: dict[Unit, T] = {}
        share = units[self.ranks.rank :: self.ranks.count]
        total = sum(map(len, share))
        with tqdm(total=total, desc=what, unit="image", disable=not self.ranks.first) as progress:
            for unit in share:
                mine[unit] = kept(self.key, name, unit, compute)
                progress.update(len(unit))
        everyones: dict[Unit, T] = {}
        for each in self.ranks.gather(mine):
            everyones |= each
        return [everyones[unit] for unit in units]


def _result(key: str, name: str, unit: Unit, compute: Callable[[Unit], Any]) -> Any:
    return compute(unit)
