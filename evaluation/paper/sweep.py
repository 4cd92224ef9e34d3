"""One network's maps: their largest magnitudes, then the bits of all variants at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import torch_ebpc
from evaluation.paper.counts import Call, Counts
from evaluation.paper.passes import UNIT_IMAGES, Runner, Unit, units_of
from evaluation.paper.software import COMPRESSORS, count_software_bits
from evaluation.paper.tap_selection import TapSelection, tapped
from evaluation.paper.variants import TYPES, Variant, Words
from torch_ebpc.cli.images import UNKNOWN, ImageSet, PreparedImages
from torch_ebpc.cli.measurement import Accuracy
from torch_ebpc.cli.networks import LoadedModel

# Images that go through a network together where it normalizes by batch statistics: as many as the
# authors' notebook has, and with gradients as many as fit into 8 GiB with all that ResNet-34 saves.
LARGEST_BATCH = 250
LARGEST_GRADIENT_BATCH = 25

T = TypeVar("T")
Consumer = Callable[[str, Tensor], None]  # takes a call's name and its map
Run = Callable[[Consumer], object]  # sends all maps of a unit to a consumer


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
        magnitude: np.ndarray = np.maximum(np.abs(self.low), np.abs(self.high))
        images = magnitude.shape[1]
        batch_size = {"calibrated": max(images, 1), "batch": batch_size, "image": 1}[scale]
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
        self.chosen: Sequence[int] = chosen
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
        found = self.runner.run(
            f"{self.name}-ranges", f"{self.name}: ranges", self.units, self._unit_ranges
        )
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
        counts = Counts(ranges.calls, [file.name for file in self.images.files])
        applicable = {
            each: every
            for each, every in variants.items()
            if TYPES[each.words.type].signed or not ranges.negative
        }
        largest = {
            scale: ranges.largest(scale, self.batch_size)
            for scale in ("calibrated", "batch", "image")
        }
        with ThreadPoolExecutor(torch.get_num_threads(), initializer=_one_thread_each) as pool:
            measure = _Measure(ranges.calls, applicable, largest, pool)
            found = self.runner.run(
                f"{self.name}-bits",
                f"{self.name}: bits",
                self.units,
                lambda unit: measure(unit, lambda consumer: self._forward(unit, consumer)),
            )
        bits = np.zeros((len(applicable), len(ranges.calls), len(counts.images)), np.int64)
        for unit, columns in zip(self.units, found, strict=True):
            bits[:, :, unit] = columns
        in_pass = np.isin(np.arange(len(counts.images)), self.chosen)
        for i, (each, every) in enumerate(applicable.items()):
            counts.bits[each] = bits[i]
            counts.measured[each] = in_pass & (np.arange(len(counts.images)) % every == 0)
        return counts

    def each_map(
        self, name: str, what: str, every: int, compute: Callable[[Unit, Run], T]
    ) -> list[T]:
        """What ``compute(unit, run)`` gives for each unit, in a pass over one image in so many."""
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
        batch, labels = zip(*(self._prepared[i] for i in unit), strict=True)
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


class _Measure:
    """Counts all variants of the maps of one unit, the images of a map side by side."""

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

    def __call__(self, unit: Unit, run: Run) -> np.ndarray:
        """int64 [variants, calls, images]."""
        bits = np.zeros((self._variant_count, len(self._index), len(unit)), np.int64)

        def consume(name: str, x: Tensor) -> None:
            call = self._index[name]
            columns = self._pool.map(
                lambda place: self._of_image(call, unit[place], x[place : place + 1]),
                range(len(unit)),
            )
            for place, column in enumerate(columns):
                bits[:, call, place] = column

        run(consume)
        return bits

    def _of_image(self, call: int, image: int, x: Tensor) -> np.ndarray:
        """int64 [variants]: the bits of one map of one image [1, ...]; 0 where not measured."""
        bits = np.zeros(self._variant_count, np.int64)
        with torch.inference_mode():
            for words_rule, group in self._by_words.items():
                due = [(number, each) for number, each, every in group if image % every == 0]
                if due:
                    largest = float(self._largest[words_rule.scale][call, image])
                    words = words_rule.of(x, largest)  # once for all variants of these words
                    for number, each in due:
                        bits[number] = count_bits(words, each)
        return bits


def count_bits(words: Tensor, variant: Variant) -> int:
    """The bits of one image's words [1, ...]."""
    code = variant.code
    if code.method in COMPRESSORS or code.method == "entropy":
        return count_software_bits(words, code.method)
    bits = torch_ebpc.count_transmission_bits(
        words,
        code.method,
        variant.words.bits,
        code.block_size,
        code.max_zero_run,
        code.base,
        transmission_dims=min(2 if code.transmission == "channel" else 1, words.dim()),
    )
    return int(bits.sum().item())


def _one_thread_each() -> None:
    """For the threads of a pool: PyTorch's number of threads is each thread's own."""
    torch.set_num_threads(1)
