"""Masks that autograd saves, kept in bits."""

from __future__ import annotations

import pytest
import torch

import torch_ebpc
from torch_ebpc._bits import packed_bools, unpacked_bools


@pytest.mark.parametrize("elements", [0, 1, 7, 8, 9, 1000, 4095])
@pytest.mark.parametrize("offset", [0, 1, 4])
def test_bools_in_bits_come_back(elements, offset):
    x = (torch.rand(elements + offset) < 0.3)[offset:]
    packed = packed_bools(x)
    assert packed.nbytes == -(-elements // 8)
    if elements > 0:
        assert torch.equal(unpacked_bools(packed, elements), x)


def test_every_eight_bools_come_back():
    x = (torch.arange(256)[:, None] >> torch.arange(8) & 1).bool().flatten()
    packed = packed_bools(x)
    assert packed.unique().numel() == 256
    assert torch.equal(unpacked_bools(packed, 2048), x)


def test_bools_of_other_bytes_than_0_and_1_keep_them():
    x = torch.tensor([0, 1, 2], dtype=torch.uint8).view(torch.bool)
    assert packed_bools(x) is x


def test_a_saved_mask_takes_a_bit_for_an_element():
    x = torch.randn(300, 301, requires_grad=True)
    mask = (torch.rand(300, 301) < 0.5).t()
    with torch_ebpc.save_compressed() as saved:
        y = x.t().masked_fill(mask, 0)
    (row,) = saved.report().rows
    assert row.packed_tensor_bytes > 7.8 * row.container_bytes
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, (~mask.t()).float())
