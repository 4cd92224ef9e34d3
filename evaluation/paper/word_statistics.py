"""What the designer of a circuit asks about the words: symbols, runs, differences, bursts, rows."""

from __future__ import annotations

import dataclasses
import functools
import operator

import numpy as np
import torch

import torch_ebpc
from evaluation.paper.passes import Unit
from evaluation.paper.sweep import Run, Sweep
from evaluation.paper.variants import Variant
from torch_ebpc.statistics import SymbolStatistics

LONGEST_RUN = 256  # longer zero runs are cut, as a code of that longest run does
TILE_WORDS = 64
BIN = 0.125  # bits per word, of the histograms of rows and tiles
BINS = 512  # a row of one word may need more than two words


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Summed over all calls and the images of the pass, of one variant's words.

    Attributes:
        image_count: images of the pass.
        coded: what the encoder puts out.
        zero_runs: int64 [LONGEST_RUN]: runs of 1, 2, ... zero words.
        row_bits, tile_bits: int64 [BINS]: rows of a map (tiles of TILE_WORDS words), each coded
            alone, by bits per word in steps of BIN; the last entry has all that took more.
    """

    variant: Variant
    image_count: int
    coded: SymbolStatistics
    zero_runs: np.ndarray
    row_bits: np.ndarray
    tile_bits: np.ndarray

    def __add__(self, other: Statistics) -> Statistics:
        """Of the words of both."""
        return Statistics(
            self.variant,
            self.image_count,
            self.coded + other.coded,
            self.zero_runs + other.zero_runs,
            self.row_bits + other.row_bits,
            self.tile_bits + other.tile_bits,
        )


def measure_statistics(sweep: Sweep, variant: Variant, every: int) -> Statistics:
    """Over the maps of one image in so many of a sweep.

    Args:
        variant: of EBPC and integer words.
    """
    ranges, _ = sweep.ranges()  # kept already
    largest = ranges.largest(variant.words.scale, sweep.batch_size)
    index = {call.name: i for i, call in enumerate(ranges.calls)}

    def compute(unit: Unit, run: Run) -> Statistics:
        found: list[Statistics] = []

        def consume(name: str, x: torch.Tensor) -> None:
            for i, image in enumerate(unit):
                words = variant.words.of(x[i : i + 1], float(largest[index[name], image]))
                found.append(_of_words(words, variant))

        run(consume)
        return functools.reduce(operator.add, found)

    per_unit = sweep.each_map("statistics", "statistics", every, compute)
    images = len([i for i in sweep.chosen if i % every == 0])
    return dataclasses.replace(functools.reduce(operator.add, per_unit), image_count=images)


def _of_words(words: torch.Tensor, variant: Variant) -> Statistics:
    """Of one call's words [images, ...]."""
    bits, size, base = variant.words.bits, variant.code.block_size, variant.code.base
    coded = torch_ebpc.symbol_statistics(
        words, bits, size, variant.code.max_zero_run, base, transmission_dims=1
    )
    runs = torch_ebpc.symbol_statistics(words, bits, size, LONGEST_RUN, base, transmission_dims=1)
    flat = words.reshape(len(words), -1)
    tiles = flat[:, : flat.shape[1] // TILE_WORDS * TILE_WORDS].reshape(-1, TILE_WORDS)
    return Statistics(
        variant,
        0,
        coded,
        np.array(runs.zero_runs, np.int64),
        _bits_per_word(words, words.dim() - 1, variant),
        _bits_per_word(tiles, 1, variant),
    )


def _bits_per_word(words: torch.Tensor, transmission_dims: int, variant: Variant) -> np.ndarray:
    """A histogram of the bits per word of transmissions, in steps of BIN bits."""
    code = variant.code
    bits = torch_ebpc.count_transmission_bits(
        words,
        "ebpc",
        variant.words.bits,
        code.block_size,
        code.max_zero_run,
        code.base,
        transmission_dims=transmission_dims,
    ).sum(-1)
    each = words.numel() // max(bits.numel(), 1)
    bins = (bits.reshape(-1).numpy() / (each * BIN)).astype(np.int64)
    return np.bincount(np.minimum(bins, BINS - 1), minlength=BINS)
