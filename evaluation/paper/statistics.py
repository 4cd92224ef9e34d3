"""What the designer of a circuit asks about the words: runs, differences, symbols, bursts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import torch_ebpc
from evaluation.paper.passes import Arrays, Unit
from evaluation.paper.sweep import Sweep
from evaluation.paper.symbols import SYMBOLS, count_symbols
from evaluation.paper.variants import Variant

LONGEST_RUN = 64  # longer zero runs are counted together
BURST_WORDS = 64
BIN = 0.125  # bits per word, of the histograms of rows and bursts
BINS = 512  # a row of one word may need more than two words


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Summed over all calls and the images of the pass, of one variant's words.

    Attributes:
        image_count: images of the pass.
        zero_runs: int64 [LONGEST_RUN + 1]: maximal runs of zero words by length.
        deltas: int64 [2^(W+1) - 1]: differences of neighbours in a block of non-zero words; the
            middle one is 0.
        symbols: of the plane stream, by the names of :data:`SYMBOLS`.
        row_bits, burst_bits: int64 [BINS]: rows of a map (bursts of 64 words), each coded alone, by
            bits per word in steps of BIN; the last entry has all that took more.
    """

    variant: Variant
    image_count: int
    zero_runs: np.ndarray
    deltas: np.ndarray
    symbols: dict[str, int]
    row_bits: np.ndarray
    burst_bits: np.ndarray


def measure_statistics(sweep: Sweep, variant: Variant, every: int) -> Statistics:
    """Over the maps of every so manieth image of a sweep.

    Args:
        variant: of EBPC and integer words; gives words, block size and longest run.
    """
    ranges, _ = sweep.ranges()  # stored already
    largest = ranges.largest(variant.words.scale, sweep.batch_size)
    index = {call.name: i for i, call in enumerate(ranges.calls)}

    def compute(unit: Unit, run: Callable[[Any], Any]) -> Arrays:
        total: Arrays = {}

        def consume(name: str, x: torch.Tensor) -> None:
            scales = torch.from_numpy(largest[index[name], list(unit.images)])
            for key, array in _of_words(variant.words.of(x.detach(), scales), variant).items():
                total[f"sum/{key}"] = (
                    total[f"sum/{key}"] + array if f"sum/{key}" in total else array
                )

        run(consume)
        return total

    merged = sweep.each_map("statistics", "statistics", every, compute)
    images = len([i for i in sweep.chosen if i % every == 0])
    arrays = {name.removeprefix("sum/"): array for name, array in merged.items()}
    return Statistics(
        variant,
        images,
        arrays["zero_runs"],
        arrays["deltas"],
        dict(zip(SYMBOLS, arrays["symbols"].tolist(), strict=True)),
        arrays["row_bits"],
        arrays["burst_bits"],
    )


def _of_words(words: torch.Tensor, variant: Variant) -> Arrays:
    """All histograms of one call's words [images, ...]."""
    size, bits = variant.code.block_size, variant.words.bits
    flat = words.reshape(len(words), -1)
    bursts = flat[:, : flat.shape[1] // BURST_WORDS * BURST_WORDS]
    result = {
        "zero_runs": np.zeros(LONGEST_RUN + 1, np.int64),
        "deltas": np.zeros(2 ** (bits + 1) - 1, np.int64),
        "symbols": np.zeros(len(SYMBOLS), np.int64),
        "row_bits": _bits_per_word(words, words.dim() - 1, variant),
        "burst_bits": _bits_per_word(bursts.reshape(-1, BURST_WORDS), 1, variant),
    }
    for image in flat.to(torch.int64).numpy():
        result["zero_runs"] += zero_run_lengths(image)
        deltas = block_deltas(image, size)
        result["deltas"] += np.bincount(
            deltas.reshape(-1) + 2**bits - 1, minlength=len(result["deltas"])
        )
        result["symbols"] += count_symbols(image, bits, size)
    return result


def zero_run_lengths(words: np.ndarray) -> np.ndarray:
    """int64 [LONGEST_RUN + 1]: maximal runs of zeros by length; the last entry has the longer
    ones too."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], words == 0, [0]))))
    lengths = np.minimum(edges[1::2] - edges[::2], LONGEST_RUN)
    return np.bincount(lengths, minlength=LONGEST_RUN + 1)


def block_deltas(words: np.ndarray, block_size: int) -> np.ndarray:
    """int64 [blocks, block_size - 1]: differences of neighbours in each full block of non-zero
    words. The last block, filled up with zeros, is left out unless it is full."""
    nonzero = words[words != 0]
    full = nonzero[: len(nonzero) // block_size * block_size]
    return np.diff(full.reshape(-1, block_size), axis=1)


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
