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


# Times eight bytes of 0 or 1, it has each of them in another bit of its highest byte.
_GATHER = 0x0102040810204080


def packed_bools(x: Tensor) -> Tensor:
    """A bool tensor [elements] in bits, uint8 [(elements + 7) // 8], in an order that only
    :func:`unpacked_bools` knows; whatever has other bytes than 0 and 1 (or is no bool) as it is."""
    if x.dtype != torch.bool or x.numel() == 0 or x.view(torch.uint8).max() > 1:
        return x
    padded = torch.nn.functional.pad(x.view(torch.uint8), (0, -x.numel() % 8))
    if padded.data_ptr() % 8 != 0 or padded.storage_offset() % 8 != 0:
        padded = padded.clone()
    return (padded.view(torch.int64) * _GATHER >> 56).to(torch.uint8)


def _eights() -> Tensor:
    """Of each byte of :func:`packed_bools`, the eight that it is of, int64 [256]."""
    numbers = torch.arange(256, device="cpu")
    eights = (numbers[:, None] >> torch.arange(8, device="cpu") & 1).bool()
    table = torch.empty(256, dtype=torch.int64, device="cpu")
    table[packed_bools(eights.flatten()).to(torch.int64)] = eights.view(torch.int64).flatten()
    return table


_EIGHTS = _eights()


def unpacked_bools(packed: Tensor, elements: int) -> Tensor:
    """The bool tensor [elements] that :func:`packed_bools` was given."""
    eights = _EIGHTS.index_select(0, packed.to(torch.int32))
    return eights.view(torch.bool)[:elements]
