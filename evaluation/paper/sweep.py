"""One network's maps: their largest magnitudes, then the bits of all variants at once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import torch_ebpc
from evaluation.images import UNKNOWN, ImageSet, PreparedImages
from evaluation.measurement import Accuracy
from evaluation.models import LoadedModel
from evaluation.paper.counts import Call, Counts
from evaluation.paper.passes import Arrays, Runner, Unit, as_json_array, units_of
from evaluation.paper.software import COMPRESSORS, count_software_bits
from evaluation.paper.taps import TapSelection, tapped
from evaluation.paper.variants import TYPES, Variant, Words

Consumer = Callable[[str, Tensor], None]  # takes a call's name and its map


@dataclasses.dataclass(frozen=True)
class Ranges:
    """The smallest and largest value of every call's map of every image.

    Attributes:
        calls: in the order of the pass.
        low, high: float64 [calls, images]; zeros for images that were not in the pass.
    """

    calls: list[Call]
    low: np.ndarray
    high: np.ndarray

    @property
    def negative(self) -> bool:
        return bool((self.low < 0).any())

    def largest(self, scale: str, batch_size: int) -> np.ndarray:
        """float64 [calls, images]: the magnitude that each map's scale follows."""
        magnitude = np.maximum(np.abs(self.low), np.abs(self.high))
        images = magnitude.shape[1]
        if scale == "calibrated":
            batch_size = max(images, 1)
        out = np.empty_like(magnitude)
        for begin in range(0, images, batch_size):
            batch = slice(begin, begin + batch_size)
            out[:, batch] = magnitude[:, batch].max(axis=1, keepdims=True)
        return out


@dataclasses.dataclass
class Sweep:
    """Measures the tapped maps of one network on one set of images.

    Args:
        network, images: what runs, and on what.
        taps: which tensors are measured.
        runner: stores results, and shares the work between ranks.
        batch_size: images that share a scale where it is "batch" (and, of a network that
            normalizes by batch statistics, those).
        every: the pass is over every so manieth image.
        name: of this sweep, in the store and the progress bar.
    """

    network: LoadedModel
    images: ImageSet
    taps: TapSelection
    runner: Runner
    batch_size: int = 250
    every: int = 1
    name: str = "maps"

    def __post_init__(self) -> None:
        self._prepared = PreparedImages(self.images, self.network.transform)
        chosen = list(range(0, len(self.images.files), self.every))
        if self.taps.backward:
            chosen = [i for i in chosen if self.images.files[i].label != UNKNOWN]
        self.chosen: Sequence[int] = chosen
        # Batch statistics make a map depend on the others of its batch; else the size of a unit
        # changes nothing.
        self.units = (
            units_of(chosen, self.batch_size) if self.network.batch_statistics else units_of(chosen)
        )

    # ---- Passes ----------------------------------------------------------------------------------

    def ranges(self) -> tuple[Ranges, Accuracy]:
        """The first pass: each map's range, and the network's accuracy on these images."""
        merged = self.runner.run(
            f"{self.name}-ranges", f"{self.name}: ranges", self.units, self._unit_ranges
        )
        calls = [
            Call(name, tuple(shape)) for name, shape in json.loads(bytes(merged["same/calls"]))
        ]
        low, high = merged["image/low"], merged["image/high"]
        right, known = merged["sum/top1"].tolist()
        return Ranges(calls, low, high), Accuracy(right, known)

    def counts(self, ranges: Ranges, variants: Mapping[Variant, int]) -> Counts:
        """The second pass: bits of all variants, each on every so manieth image of the set."""
        counts = Counts(ranges.calls, [file.name for file in self.images.files])
        applicable = {
            each: every
            for each, every in variants.items()
            if TYPES[each.words.type].signed or not ranges.negative
        }
        largest = {
            scale: ranges.largest(scale, self.batch_size) for scale in ("calibrated", "batch")
        }
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            measure = _Measure(ranges.calls, applicable, largest, pool)
            merged = self.runner.run(
                f"{self.name}-bits",
                f"{self.name}: bits",
                self.units,
                lambda unit: measure(unit, lambda consumer: self._forward(unit, consumer)),
            )
        bits = merged["image/bits"]
        in_pass = np.isin(np.arange(len(counts.images)), self.chosen)
        for i, (each, every) in enumerate(applicable.items()):
            counts.bits[each] = bits[i]
            counts.measured[each] = in_pass & (np.arange(len(counts.images)) % every == 0)
        return counts

    def each_map(self, name: str, what: str, every: int, compute: Callable[..., Arrays]) -> Arrays:
        """A pass of one's own over every so manieth image: ``compute(unit, run)``, where
        ``run(consumer)`` sends the unit's maps to a consumer."""
        chosen = [i for i in self.chosen if i % every == 0]
        return self.runner.run(
            f"{self.name}-{name}",
            f"{self.name}: {what}",
            units_of(chosen),
            lambda unit: compute(unit, lambda consumer: self._forward(unit, consumer)),
        )

    # ---- The network -----------------------------------------------------------------------------

    def _forward(self, unit: Unit, consumer: Consumer) -> tuple[Tensor, Tensor]:
        """Sends every tapped map to ``consumer``; returns the outputs and labels."""
        batch, labels = zip(*(self._prepared[i] for i in unit.images), strict=True)
        images, targets = torch.stack(batch), torch.tensor(labels)
        gradients = self.taps.backward
        with tapped(self.network.model, self.taps, consumer), torch.inference_mode(not gradients):
            output = self.network.model(images)
            if gradients:
                # The mean over a batch of batch_size, so that an image's gradient has the size that
                # it has there, however many go through at once.
                loss = functional.cross_entropy(output, targets, reduction="sum") / self.batch_size
                parameters = [p for p in self.network.model.parameters() if p.requires_grad]
                torch.autograd.grad(loss, parameters)
        return output, targets

    def _unit_ranges(self, unit: Unit) -> Arrays:
        calls: list[tuple[str, list[int]]] = []
        bounds: list[Tensor] = []

        def consume(name: str, x: Tensor) -> None:
            calls.append((name, list(x.shape[1:])))
            bounds.append(torch.stack(torch.aminmax(x.detach().flatten(1), dim=1)))

        top1 = Accuracy()
        top1.add(*self._forward(unit, consume))
        stacked = torch.stack(bounds, dim=1) if bounds else torch.zeros(2, 0, len(unit.images))
        low, high = stacked.to(torch.float64).numpy()
        return {
            "same/calls": as_json_array(calls),
            "image/low": low,
            "image/high": high,
            "sum/top1": np.array([top1.right, top1.known], np.int64),
        }


class _Measure:
    """Counts all variants of the maps of one unit."""

    def __init__(
        self,
        calls: Sequence[Call],
        variants: Mapping[Variant, int],
        largest: Mapping[str, np.ndarray],
        pool: ThreadPoolExecutor,
    ) -> None:
        self._index = {call.name: i for i, call in enumerate(calls)}
        self._largest = largest
        self._pool = pool
        self._variant_count = len(variants)
        self._by_words: dict[Words, list[tuple[int, Variant, int]]] = {}
        for number, (each, every) in enumerate(variants.items()):
            self._by_words.setdefault(each.words, []).append((number, each, every))

    def __call__(self, unit: Unit, run: Callable[[Consumer], Any]) -> Arrays:
        bits = np.zeros((self._variant_count, len(self._index), len(unit.images)), np.int64)
        images = np.array(unit.images)

        def consume(name: str, x: Tensor) -> None:
            call = self._index[name]
            for words_rule, group in self._by_words.items():
                # One conversion for all variants of these words, of the images that any needs.
                needed = np.zeros(len(images), bool)
                for _, _, every in group:
                    needed |= images % every == 0
                if not needed.any():
                    continue
                largest = self._largest[words_rule.scale][call, images[needed]]
                words = words_rule.of(_rows(x.detach(), needed), torch.from_numpy(largest))
                for number, variant, every in group:
                    chosen = images % every == 0
                    if chosen.any():
                        part = _rows(words, chosen[needed])
                        bits[number, call, chosen] = count_bits(part, variant, self._pool)

        run(consume)
        return {"image/bits": bits}


def count_bits(words: Tensor, variant: Variant, pool: ThreadPoolExecutor) -> np.ndarray:
    """int64 [images]: the bits of each image's words [images, ...]."""
    code = variant.code
    if code.method in COMPRESSORS or code.method == "entropy":
        each = pool.map(lambda image: count_software_bits(image[None], code.method)[0], words)
        return np.array(list(each), np.int64)
    dims = min(2 if code.transmission == "channel" else 1, words.dim())
    bits = torch_ebpc.count_transmission_bits(
        words,
        code.method,
        variant.words.bits,
        code.block_size,
        code.max_zero_run,
        code.base,
        transmission_dims=dims,
    )
    total: np.ndarray = bits.reshape(len(words), -1).sum(1).numpy()
    return total


def _rows(x: Tensor, chosen: np.ndarray) -> Tensor:
    return x if chosen.all() else x[torch.from_numpy(np.flatnonzero(chosen))]
