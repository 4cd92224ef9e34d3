"""How often each symbol of the plane stream occurs, counted from the words (JETCAS 2019, III-B)."""

from __future__ import annotations

import numpy as np

SYMBOLS = (
    "blocks",
    "uncompressed",
    "zero runs",
    "zero planes in runs",
    "single zero planes",
    "all ones",
    "plane zero before XOR",
    "single one",
    "two adjacent ones",
)


def count_symbols(words: np.ndarray, word_bits: int, block_size: int) -> np.ndarray:
    """int64 [len(SYMBOLS)] of one transmission, with the base sent.

    Args:
        words: int64 [words], zeros included.
    """
    nonzero = words[words != 0]
    blocks = -(-len(nonzero) // block_size)
    padded = np.zeros(blocks * block_size, np.int64)
    padded[: len(nonzero)] = nonzero
    deltas = np.diff(padded.reshape(blocks, block_size), axis=1)

    # planes[b, p]: bit p of all deltas of block b as one number, the first delta leftmost.
    weights = 1 << np.arange(block_size - 1, dtype=np.uint64)[::-1]
    planes = np.stack(
        [((deltas >> p) & 1).astype(np.uint64) @ weights for p in range(word_bits + 1)], axis=1
    )
    coded = planes.copy()
    coded[:, 1:] ^= planes[:, :-1]

    zero = coded == 0
    edges = np.diff(np.pad(zero, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    lengths = np.nonzero(edges == -1)[1] - np.nonzero(edges == 1)[1]  # rows are in order
    runs, singles = lengths[lengths >= 2], int((lengths == 1).sum())

    all_ones = coded == (1 << (block_size - 1)) - 1
    cancelled = ~zero & ~all_ones & (planes == 0)
    rest = ~zero & ~all_ones & ~cancelled
    ones = np.bitwise_count(coded)
    pair = rest & (ones == 2) & ((coded & (coded >> np.uint64(1))) != 0)
    one = rest & (ones == 1)
    return np.array(
        [
            blocks,
            int((rest & ~pair & ~one).sum()),
            len(runs),
            int(runs.sum()),
            singles,
            int(all_ones.sum()),
            int(cancelled.sum()),
            int(one.sum()),
            int(pair.sum()),
        ],
        np.int64,
    )


def symbol_bits(counts: dict[str, int], word_bits: int, block_size: int) -> int:
    """Bits of the plane stream that has these symbols: how their counts are checked."""
    run, index = (word_bits - 1).bit_length(), (block_size - 1).bit_length()
    lengths = {
        "blocks": word_bits,
        "uncompressed": block_size,
        "zero runs": 3 + run,
        "single zero planes": 2,
        "all ones": 5,
        "plane zero before XOR": 5,
        "single one": 5 + index,
        "two adjacent ones": 5 + index,
    }
    return sum(counts[name] * length for name, length in lengths.items())
