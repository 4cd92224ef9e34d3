"""One network's maps: their largest magnitudes, then the bits of all variants at once."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import torch_ebpc
from evaluation.common.inputs import batch_of
from evaluation.paper.counts import Call, Counts
from evaluation.paper.passes import UNIT_IMAGES, Runner, Unit, units_of
from evaluation.paper.tap_selection import TapSelection, tapped
from evaluation.paper.variants import TYPES, Variant
from torch_ebpc.cli.images import UNKNOWN, ImageSet, PreparedImages
from torch_ebpc.cli.measurement import Accuracy
from torch_ebpc.cli.networks import LoadedModel
from torch_ebpc.statistics import SymbolStatistics

# Images that go through a network together where it normalizes by batch statistics: as many as the
# authors' notebook has, and with gradients as many as fit into 8 GiB with all that ResNet-34 saves.
LARGEST_BATCH = 250
LARGEST_GRADIENT_BATCH = 25

T = TypeVar("T")
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
        batch_size = {"calibrated": images, "batch": batch_size, "image": 1}[scale]
        begins = np.arange(0, images, batch_size)
        sizes = np.diff(begins, append=images)
        return np.repeat(np.maximum.reduceat(magnitude, begins, axis=1), sizes, axis=1)


@dataclasses.dataclass
class Sweep:
    """Measures the tapped maps of one network on one set of images.

    Args:
        network, images: what runs, and on what.
        taps: which tensors are measured.
        runner: stores results, and shares the work between ranks.
        batch_size: images that share a scale where it is "batch" (and, of a network that
            normalizes by batch statistics, those).
        every: the pass is over one image in so many.
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
        self.chosen = chosen
        # Batch statistics make a map depend on the others of its batch; else the size of a unit
        # changes nothing, and memory does not depend on the batch size.
        unit = UNIT_IMAGES
        if self.network.batch_statistics:
            largest = LARGEST_GRADIENT_BATCH if self.taps.backward else LARGEST_BATCH
            unit = min(self.batch_size, largest)
        self.units = units_of(chosen, unit)

    # ---- Passes ----------------------------------------------------------------------------------

    def ranges(self) -> tuple[Ranges, Accuracy]:
        """The first pass: each map's range, and the network's accuracy on these images."""
        found = self._run("ranges", self.units, self._unit_ranges)
        calls = found[0][0]
        if any(each != calls for each, _, _ in found):
            raise RuntimeError("calls differ between images")
        low, high = np.zeros((2, len(calls), len(self.images.files)))
        top1 = Accuracy()
        for unit, (_, bounds, accuracy) in zip(self.units, found, strict=True):
            low[:, unit], high[:, unit] = bounds
            top1.right += accuracy.right
            top1.known += accuracy.known
        return Ranges(calls, low, high), top1

    def counts(self, ranges: Ranges, variants: Mapping[Variant, int]) -> Counts:
        """The second pass: bits of all variants, each on one image in so many of the set."""
        applicable = [v for v in variants if TYPES[v.type].signed or not ranges.negative]
        # Words are made once for all variants that have the same.
        by_words: dict[Variant, list[int]] = {}
        for number, each in enumerate(applicable):
            by_words.setdefault(each.word_rule, []).append(number)
        largest = {x: ranges.largest(x, self.batch_size) for x in ("calibrated", "batch", "image")}
        index = {call.name: i for i, call in enumerate(ranges.calls)}

        def of_image(call: int, image: int, x: Tensor) -> np.ndarray:
            """int64 [variants]: the bits of one map of one image; 0 where not measured."""
            bits = np.zeros(len(applicable), np.int64)
            with torch.inference_mode():
                for rule, numbers in by_words.items():
                    due = [i for i in numbers if image % variants[applicable[i]] == 0]
                    if due:
                        words = rule.words(x, float(largest[rule.scale][call, image]))
                        bits[due] = [applicable[i].count_bits(words) for i in due]
            return bits

        def of_unit(unit: Unit) -> np.ndarray:
            """int64 [variants, calls, images]."""
            bits = np.zeros((len(applicable), len(index), len(unit)), np.int64)

            def consume(name: str, x: Tensor) -> None:
                images = pool.map(of_image, [index[name]] * len(unit), unit, torch.split(x, 1))
                bits[:, index[name]] = np.stack(list(images), axis=1)

            self._forward(unit, consume)
            return bits

        # PyTorch's number of threads is each thread's own.
        with ThreadPoolExecutor(torch.get_num_threads(), "", torch.set_num_threads, (1,)) as pool:
            found = self._run("bits", self.units, of_unit)
        images = np.arange(len(self.images.files))
        bits = np.zeros((len(applicable), len(index), len(images)), np.int64)
        for unit, columns in zip(self.units, found, strict=True):
            bits[:, :, unit] = columns
        in_pass = np.isin(images, self.chosen)
        return Counts(
            ranges.calls,
            [file.name for file in self.images.files],
            dict(zip(applicable, bits, strict=True)),
            {each: in_pass & (images % variants[each] == 0) for each in applicable},
        )

    def symbols(self, ranges: Ranges, variant: Variant, every: int) -> SymbolStatistics:
        """What the code of a variant of EBPC is made of, on one image in so many."""
        largest = ranges.largest(variant.scale, self.batch_size)
        index = {call.name: i for i, call in enumerate(ranges.calls)}

        def of_unit(unit: Unit) -> SymbolStatistics:
            found: list[SymbolStatistics] = []

            def consume(name: str, x: Tensor) -> None:
                for image, one in zip(unit, torch.split(x, 1), strict=True):
                    words = variant.words(one, float(largest[index[name], image]))
                    code = (variant.bits, variant.block_size, variant.max_zero_run, variant.base)
                    found.append(torch_ebpc.symbol_statistics(words, *code, transmission_dims=1))

            self._forward(unit, consume)
            return functools.reduce(operator.add, found)

        units = units_of([i for i in self.chosen if i % every == 0])
        return functools.reduce(operator.add, self._run("symbols", units, of_unit))

    def _run(self, what: str, units: list[Unit], compute: Callable[[Unit], T]) -> list[T]:
        return self.runner.run(f"{self.name}: {what}", units, compute)

    # ---- The network -----------------------------------------------------------------------------

    def _forward(self, unit: Unit, consumer: Consumer) -> tuple[Tensor, Tensor]:
        """Sends every tapped map to ``consumer``; returns the outputs and labels."""
        images, targets = batch_of(self._prepared, unit)
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

    def _unit_ranges(self, unit: Unit) -> tuple[list[Call], np.ndarray, Accuracy]:
        """The calls, float64 [low or high, calls, images], and top-1."""
        calls: list[Call] = []
        bounds: list[Tensor] = []

        def consume(name: str, x: Tensor) -> None:
            calls.append(Call(name, tuple(x.shape[1:])))
            bounds.append(torch.stack(torch.aminmax(x.detach().flatten(1), dim=1)))

        top1 = Accuracy()
        top1.add(*self._forward(unit, consume))
        stacked = torch.stack(bounds, dim=1) if bounds else torch.zeros(2, 0, len(unit))
        return calls, stacked.to(torch.float64).numpy(), top1
