"""What the designer of a circuit asks about the words: symbols, runs, differences, bursts, rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import torch_ebpc
from evaluation.paper.passes import Arrays, Unit
from evaluation.paper.sweep import Sweep
from evaluation.paper.variants import Variant
from torch_ebpc.statistics import SYMBOLS, SymbolStatistics

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


def measure_statistics(sweep: Sweep, variant: Variant, every: int) -> Statistics:
    """Over the maps of one image in so many of a sweep.

    Args:
        variant: of EBPC and integer words.
    """
    ranges, _ = sweep.ranges()  # stored already
    largest = ranges.largest(variant.words.scale, sweep.batch_size)
    index = {call.name: i for i, call in enumerate(ranges.calls)}

    def compute(unit: Unit, run: Callable[[Any], Any]) -> Arrays:
        total: Arrays = {}

        def consume(name: str, x: torch.Tensor) -> None:
            for i, image in enumerate(unit.images):
                words = variant.words.of(x[i : i + 1], float(largest[index[name], image]))
                for key, array in _of_words(words, variant).items():
                    total[f"sum/{key}"] = total.get(f"sum/{key}", 0) + array

        run(consume)
        return total

    merged = sweep.each_map("statistics", "statistics", every, compute)
    arrays = {name.removeprefix("sum/"): array for name, array in merged.items()}
    images = len([i for i in sweep.chosen if i % every == 0])
    return Statistics(
        variant,
        images,
        _from_arrays(arrays, variant),
        arrays["zero_runs"],
        arrays["row_bits"],
        arrays["tile_bits"],
    )


def _of_words(words: torch.Tensor, variant: Variant) -> Arrays:
    """All histograms of one call's words [images, ...]."""
    bits, size, base = variant.words.bits, variant.code.block_size, variant.code.base
    coded = torch_ebpc.symbol_statistics(
        words, bits, size, variant.code.max_zero_run, base, transmission_dims=1
    )
    runs = torch_ebpc.symbol_statistics(words, bits, size, LONGEST_RUN, base, transmission_dims=1)
    flat = words.reshape(len(words), -1)
    tiles = flat[:, : flat.shape[1] // TILE_WORDS * TILE_WORDS].reshape(-1, TILE_WORDS)
    return {
        **_to_arrays(coded),
        "zero_runs": np.array(runs.zero_runs, np.int64),
        "row_bits": _bits_per_word(words, words.dim() - 1, variant),
        "tile_bits": _bits_per_word(tiles, 1, variant),
    }


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


def _to_arrays(coded: SymbolStatistics) -> Arrays:
    """Its counts, for a pass to add up."""
    return {
        "coded_words": np.array([coded.words, coded.nonzero_words, coded.blocks], np.int64),
        "coded_symbols": np.array([coded.symbols[name] for name in SYMBOLS], np.int64),
        "coded_planes": np.array([coded.planes[name] for name in SYMBOLS], np.int64),
        "coded_bursts": np.array(coded.bursts, np.int64),
        "coded_deltas": np.array(coded.delta_bits, np.int64),
        "coded_zero_runs": np.array(coded.zero_runs, np.int64),
    }


def _from_arrays(arrays: Arrays, variant: Variant) -> SymbolStatistics:
    code = variant.code
    words, nonzero_words, blocks = arrays["coded_words"].tolist()
    return SymbolStatistics(
        variant.words.bits,
        code.block_size,
        code.max_zero_run,
        code.base,
        words,
        nonzero_words,
        blocks,
        dict(zip(SYMBOLS, arrays["coded_symbols"].tolist(), strict=True)),
        dict(zip(SYMBOLS, arrays["coded_planes"].tolist(), strict=True)),
        tuple(arrays["coded_bursts"].tolist()),
        tuple(arrays["coded_deltas"].tolist()),
        tuple(arrays["coded_zero_runs"].tolist()),
    )
