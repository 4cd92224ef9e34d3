"""What an index into a tensor's first dimension means in words."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import operator
from typing import SupportsIndex

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Part:
    """Whole samples in a row, as a range of words, and what to take of them then."""

    first_word: int
    words: int
    shape: tuple[int, ...]  # of those samples, the first dimension among them
    take: int | slice  # of the first dimension


def part_of(shape: tuple[int, ...], index: SupportsIndex | slice) -> Part:
    """The samples that ``x[index]`` needs of a tensor of that shape.

    Raises:
        TypeError: ``index`` is neither an int nor a slice.
        IndexError: it is an int outside of the first dimension, or there is no dimension.
        ValueError: it is a slice whose step is not positive.
    """
    if not shape:
        raise IndexError("index must be None for a tensor without dimensions")
    samples = shape[0]
    take: int | slice
    if isinstance(index, slice):
        first, stop, step = index.indices(samples)
        if step <= 0:
            raise ValueError(f"index must be a slice with a positive step, got step {step}")
        stop = max(first, stop)
        take = slice(None, None, step)
    else:
        number = _number_of(index)
        first = number + samples if number < 0 else number
        if not 0 <= first < samples:
            if samples == 0:
                raise IndexError(f"index must be a slice where there are no samples, got {number}")
            raise IndexError(f"index must be from {-samples} to {samples - 1}, got {number}")
        stop = first + 1
        take = 0
    sample_words = math.prod(shape[1:])
    return Part(
        first * sample_words, (stop - first) * sample_words, (stop - first, *shape[1:]), take
    )


def _number_of(index: SupportsIndex) -> int:
    # A boolean, as a tensor too, would be a mask to PyTorch.
    if not (isinstance(index, bool) or getattr(index, "dtype", None) == torch.bool):
        with contextlib.suppress(TypeError):
            return operator.index(index)
    what = f"{index.dtype} tensor" if isinstance(index, Tensor) else type(index).__name__
    raise TypeError(f"index must be an int or a slice, got {what}")
