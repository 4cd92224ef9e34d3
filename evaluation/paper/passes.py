"""Passes over the images in units of a few, by one process or several under torchrun, whose results
are kept so that a run can resume.

Which rank did a unit, or in which run, makes no difference: units are always the same images.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import joblib
import torch.distributed as dist
from tqdm import tqdm

Unit = tuple[int, ...]
"""Images that go through the network together: indices into the image set."""
UNIT_IMAGES = 10  # so a kill loses ten images of one pass, and memory stays small

T = TypeVar("T")


def units_of(images: Sequence[int], size: int = UNIT_IMAGES) -> list[Unit]:
    return [tuple(images[begin : begin + size]) for begin in range(0, len(images), size)]


@dataclasses.dataclass(frozen=True)
class Ranks:
    """This process among ``count``. Without torchrun: the only one."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in the order of ranks, on every rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks that torchrun has started; one, where it has not."""
    if "WORLD_SIZE" not in os.environ:
        yield Ranks()
        return
    dist.init_process_group("gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


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

    def run(self, name: str, units: Sequence[Unit], compute: Callable[[Unit], T]) -> list[T]:
        """The results of all units, in their order, on every rank. ``name`` tells the pass from
        others of the same key."""
        # Compressed, since zlib's checksum is what notices a flipped bit.
        kept = joblib.Memory(self.folder, verbose=0, compress=1).cache(_result, ignore=["compute"])
        mine: dict[Unit, T] = {}
        share = units[self.ranks.rank :: self.ranks.count]
        total = sum(map(len, share))
        with tqdm(total=total, desc=name, unit="image", disable=not self.ranks.first) as progress:
            for unit in share:
                mine[unit] = kept(self.key, name, unit, compute)
                progress.update(len(unit))
        everyones: dict[Unit, T] = {}
        for each in self.ranks.gather(mine):
            everyones |= each
        return [everyones[unit] for unit in units]


def _result(key: str, name: str, unit: Unit, compute: Callable[[Unit], Any]) -> Any:
    return compute(unit)
