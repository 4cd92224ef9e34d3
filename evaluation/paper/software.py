"""General-purpose compressors on the same words, and the order-0 entropy bound.

They are not what a few hundred gates could do: the dictionary coders look back over kilobytes, and
all take whole bytes (a 4- or 12-bit word is given to them in 8 or 16 bits).
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping

import blosc2
import lz4.block
import numpy as np
import torch
import zstandard

Compressor = Callable[[np.ndarray], int]  # contiguous words to bytes


def _zstd(level: int) -> Compressor:
    return lambda words: len(zstandard.ZstdCompressor(level=level).compress(words.data))


def _lz4(words: np.ndarray) -> int:
    return len(lz4.block.compress(words.data, store_size=False))


def _blosc2(codec: blosc2.Codec, level: int) -> Compressor:
    def compress(words: np.ndarray) -> int:
        packed = blosc2.compress2(
            words,
            typesize=words.itemsize,
            codec=codec,
            clevel=level,
            filters=[blosc2.Filter.BITSHUFFLE],
            nthreads=1,
        )
        return len(packed)

    return compress


COMPRESSORS: Mapping[str, Compressor] = {
    "zstd-1": _zstd(1),
    "zstd-3": _zstd(3),
    "lz4": _lz4,
    "blosc2-bitshuffle-lz4": _blosc2(blosc2.Codec.LZ4, 5),
    "blosc2-bitshuffle-zstd": _blosc2(blosc2.Codec.ZSTD, 1),
}


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("zstandard", "lz4", "blosc2")}


def count_software_bits(words: torch.Tensor, method: str) -> list[int]:
    """Bits that a compressor of :data:`COMPRESSORS`, or "entropy", needs for each image of words
    [images, ...] by itself."""
    count = entropy_bits if method == "entropy" else None
    bits = []
    for image in _patterns(words):
        if count is not None:
            bits.append(count(image))
        else:
            bits.append(8 * COMPRESSORS[method](image))
    return bits


def entropy_bits(words: np.ndarray) -> int:
    """Bits of an ideal code for independent words that knows how often each occurs in this very
    transmission: n * H, rounded up, without the cost of telling the decoder."""
    if words.itemsize <= 2:
        counts = np.bincount(words.reshape(-1), minlength=1)
    else:
        counts = np.unique(words, return_counts=True)[1]
    counts = counts[counts > 0].astype(np.float64)
    if len(counts) < 2:
        return 0
    return int(np.ceil(-(counts * np.log2(counts / counts.sum())).sum()))


def _patterns(words: torch.Tensor) -> np.ndarray:
    """The words as unsigned integers, contiguous in the order in which they are sent."""
    signed = {1: torch.int8, 2: torch.int16, 4: torch.int32}[words.dtype.itemsize]
    unsigned = {1: np.uint8, 2: np.uint16, 4: np.uint32}[words.dtype.itemsize]
    return np.ascontiguousarray(words.contiguous().view(signed).numpy().view(unsigned))
