"""Passes over the images in units of a few, whose results are stored so that a run can resume.

A unit's result is a dictionary of arrays: ``image/...`` with one entry per image of the unit in the
last axis, ``sum/...`` that are added up, and ``same/...`` that every unit must agree on. A pass
over all units gives the same dictionary with one entry per image of the whole set. Which rank did a
unit, or in which run, makes no difference: units are always the same images.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

import torch_ebpc
from evaluation.paper.ranks import Ranks

Arrays = dict[str, np.ndarray]
UNIT_IMAGES = 10  # so a kill loses ten images of one pass, and memory stays small


@dataclasses.dataclass(frozen=True)
class Unit:
    """Images that go through the network together."""

    number: int
    images: tuple[int, ...]  # indices into the image set


def units_of(images: Sequence[int], size: int = UNIT_IMAGES) -> list[Unit]:
    return [
        Unit(number, tuple(images[begin : begin + size]))
        for number, begin in enumerate(range(0, len(images), size))
    ]


class Store:
    """Results of units in a folder, each file whole or not at all.

    Args:
        folder: made where it is missing. Its name should say what the results depend on.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def _path(self, name: str, unit: Unit) -> Path:
        return self.folder / f"{name}-{unit.number:06d}.npz"

    def load(self, name: str, unit: Unit) -> Arrays | None:
        """A stored result, or None: it is not there, or damaged, which a warning says."""
        path = self._path(name, unit)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except FileNotFoundError:
            return None
        except (zipfile.BadZipFile, zlib.error, ValueError, EOFError) as error:
            print(f"{path} is measured again, since it is damaged: {error}", file=sys.stderr)
            return None

    def save(self, name: str, unit: Unit, arrays: Arrays) -> None:
        with torch_ebpc.files.whole_file(self._path(name, unit)) as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class Runner:
    """Runs passes: this rank's share of the units, stored, then merged over ranks."""

    store: Store
    ranks: Ranks
    image_count: int  # of the whole set

    def run(
        self, name: str, what: str, units: Sequence[Unit], compute: Callable[[Unit], Arrays]
    ) -> Arrays:
        """The merged result of a pass, equal on every rank. Images in no unit have zeros."""
        merged: Arrays = {}
        mine = units[self.ranks.rank :: self.ranks.count]
        images = sum(len(unit.images) for unit in mine)
        with tqdm(total=images, desc=what, unit="image", disable=not self.ranks.first) as progress:
            for unit in mine:
                arrays = self.store.load(name, unit)
                if arrays is None:
                    arrays = compute(unit)
                    self.store.save(name, unit, arrays)
                self._place(merged, unit, arrays)
                progress.update(len(unit.images))
        return self._reduce(merged)

    def _place(self, merged: Arrays, unit: Unit, arrays: Arrays) -> None:
        for name, array in arrays.items():
            if name.startswith("sum/"):
                merged[name] = merged[name] + array if name in merged else array
                continue
            if name.startswith("same/"):
                if not np.array_equal(merged.setdefault(name, array), array):
                    raise RuntimeError(f"{name.removeprefix('same/')} differ between images")
                continue
            if name not in merged:
                merged[name] = np.zeros((*array.shape[:-1], self.image_count), array.dtype)
            merged[name][..., list(unit.images)] = array

    def _reduce(self, merged: Arrays) -> Arrays:
        # A rank without a unit has no arrays yet, but must take part.
        layouts: dict[str, tuple[tuple[int, ...], str]] = {}
        same: Arrays = {}
        for each in self.ranks.gather(
            (
                {name: a for name, a in merged.items() if name.startswith("same/")},
                {
                    name: (a.shape, a.dtype.str)
                    for name, a in merged.items()
                    if not name.startswith("same/")
                },
            )
        ):
            for name, array in each[0].items():
                if not np.array_equal(same.setdefault(name, array), array):
                    raise RuntimeError(f"{name.removeprefix('same/')} differ between ranks")
            layouts |= each[1]
        for name, (shape, dtype) in sorted(layouts.items()):
            mine = merged.get(name)
            same[name] = self.ranks.add(
                np.zeros(shape, np.dtype(dtype)) if mine is None else np.ascontiguousarray(mine)
            )
        return same


def as_json_array(value: object) -> np.ndarray:
    """Anything JSON can say as an array of bytes, for a unit's result."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)
