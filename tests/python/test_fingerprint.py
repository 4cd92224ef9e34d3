"""The fingerprint that stands for stored bytes: the same for the same, another for any others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from torch_ebpc._saved_memory import fingerprint_of


def test_the_same_bytes_have_the_same_fingerprint_wherever_they_are():
    x = torch.randn(1000)
    moved = torch.cat([torch.zeros(3), x])[3:]
    assert fingerprint_of(x) == fingerprint_of(moved) == fingerprint_of(x.view(torch.int32))


def all_small_changes(x: Tensor) -> list[Tensor]:
    """Every bit flipped, lengths, swaps of words, blocks and lanes, and runs of zeros and ones."""
    changed = [x]
    for byte in range(x.numel()):
        for bit in range(8):
            changed.append(x.clone())
            changed[-1][byte] ^= 1 << bit
    changed += [x[:length] for length in range(x.numel())]
    changed += [torch.roll(x, shift) for shift in range(1, x.numel())]
    return changed


@pytest.mark.parametrize("content", ["random", "zeros", "counting"])
def test_other_bytes_have_another(content):
    x = {
        "random": torch.randint(0, 256, (200,), generator=torch.Generator().manual_seed(0)),
        "zeros": torch.zeros(200),
        "counting": torch.arange(200),
    }[content].to(torch.uint8)
    different = {bytes(each.tolist()): each for each in all_small_changes(x)}.values()
    found = [fingerprint_of(each) for each in different]
    assert len(found) >= 1800
    for half in (0, 1):
        assert len({each[half] for each in found}) == len(found)


def test_swapped_pages_have_another():
    """Far apart, and in the same lanes."""
    x = torch.randint(0, 256, (64, 4096), dtype=torch.uint8)
    found = {fingerprint_of(x.roll(shift, 0).flatten()) for shift in range(64)}
    for page in range(1, 64):
        order = list(range(64))
        order[0], order[page] = page, 0
        found.add(fingerprint_of(x[order].flatten()))
    assert len(found) == 64 + 63
