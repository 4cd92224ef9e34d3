"""The bits of elements, for comparing and counting them."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_ebpc._arguments import TRAITS

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def integers_of(x: Tensor) -> Tensor:
    """Signed integers of the same bits; of complex numbers those of their two parts."""
    if x.dtype.is_complex:
        x = torch.view_as_real(x.resolve_conj())
    return x.view(_INTEGERS[x.dtype.itemsize])


def negative_zeros(x: Tensor) -> int:
    """How many floating-point numbers are -0.0; of complex ones, parts."""
    if not TRAITS[x.dtype].has_negative_zero or x.numel() == 0:
        return 0
    # As an integer, -0.0 is the smallest there is: most maps need this one fast pass alone.
    integers = integers_of(x)
    smallest = torch.iinfo(integers.dtype).min
    if integers.min() > smallest:
        return 0
    return int((integers == smallest).count_nonzero())


def compare_bits(what: str, expected: Tensor, found: Tensor, transmissions: int = 0) -> None:
    """Raises an AssertionError that names the first element that differs, and where there are
    ``transmissions``, which one, and the element in it."""
    if (expected.dtype, expected.shape) != (found.dtype, found.shape):
        raise AssertionError(
            f"{what}the decoded map differs: {expected.dtype} {tuple(expected.shape)} became"
            f" {found.dtype} {tuple(found.shape)}"
        )
    different = (integers_of(expected) != integers_of(found)).flatten()
    if different.any():
        each = different.numel() // expected.numel()  # of complex numbers, two
        index = first_true(different) // each
        place = index
        if transmissions:
            number, place = divmod(index, expected.numel() // transmissions)
            what = f"transmission {number}, {what}"
        raise AssertionError(
            f"{what}the decoded map differs at index {place}:"
            f" {expected.flatten()[index].item()} became {found.flatten()[index].item()}"
        )


def first_true(mask: Tensor) -> int:
    """The index of the first that is true."""
    return int(mask.to(torch.uint8).argmax())
