"""General-purpose compressors on the same words, and the order-0 entropy bound.

They are not what small hardware could do: the dictionary coders look back over kilobytes, and
all take whole bytes (a 4- or 12-bit word is given to them in 8 or 16 bits).
"""

from __future__ import annotations

import importlib.metadata

import numpy as np
import torch

from evaluation.common import compressors

# Of the compressors, and of what makes tensors of images.
_PACKAGES = ("zstandard", "lz4", "blosc2", "torchvision", "pillow", "numpy")


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def count_software_bits(words: torch.Tensor, method: str) -> int:
    """Bits that one of :data:`compressors.SOFTWARE`, or "entropy", needs for all words at once."""
    if method == "entropy":
        return entropy_bits(words)
    compressor = compressors.SOFTWARE[method]()
    return 8 * compressor.size(compressor.compress(words))


def entropy_bits(words: torch.Tensor) -> int:
    """Bits of an ideal code for independent words that knows how often each occurs in this very
    transmission: n * H, rounded up, without the cost of telling the decoder."""
    counts = np.unique(compressors.words_of(words), return_counts=True)[1].astype(np.float64)
    return int(np.ceil(-(counts * np.log2(counts / counts.sum())).sum()))
