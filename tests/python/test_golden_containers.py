"""Containers of every format version that there has been, read for good."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from helpers import assert_same_bits, at_byte

import torch_ebpc

FOLDER = Path(__file__).parents[1] / "golden" / "containers"
INDEX = json.loads((FOLDER / "index.json").read_text())


def read(name):
    return torch_ebpc.map_file(FOLDER / name)


@pytest.mark.parametrize("name", INDEX)
def test_a_golden_container_is_read(name):
    fields = INDEX[name]
    packed = read(f"{name}.ebpc")
    info = torch_ebpc.inspect(packed)
    for field, value in fields.items():
        if field == "no_longer_written":
            continue
        found = getattr(info, field)
        if field == "codings":
            found = [list(dataclasses.astuple(each)) for each in found]
        found = str(found).removeprefix("torch.") if field == "dtype" else found
        assert (list(found) if field == "shape" else found) == value, field
    x = torch_ebpc.decompress(packed)
    assert torch.equal(x.contiguous().flatten().view(torch.uint8), read(f"{name}.words"))
    assert_same_bits(read_in_pieces(packed), x.flatten())
    if x.dim() > 0 and len(x) > 0:
        assert_same_bits(torch_ebpc.Container(packed)[-1], x[-1])
    if "no_longer_written" in fields:
        return
    zero = "auto" if info.both_zeros else value_of(info.zero, x.dtype)
    if info.codec == "auto":
        again = torch_ebpc.compress(x, info.word_bits, codec="auto", zero=zero)
    else:
        parameters = info.word_bits, info.block_size, info.max_zero_run, info.base
        again = torch_ebpc.compress(x, *parameters, zero=zero)
    assert torch.equal(again, packed)


def value_of(zero, dtype):
    """The value that a word stands for."""
    if zero == 0 or not dtype.is_floating_point:
        return zero
    word = {1: torch.int8, 2: torch.int16, 4: torch.int32}[dtype.itemsize]
    return torch.tensor(zero, dtype=word).view(dtype).item()


def read_in_pieces(packed):
    decoder = torch_ebpc.ContainerDecoder()
    parts = [part for piece in packed.split(100) for part in decoder.push(piece)]
    decoder.finish()
    return torch.cat([torch.empty(0, dtype=decoder.info.dtype), *parts])


@pytest.mark.parametrize("name", ["v1_float32.ebpc", "v2_float32.ebpc", "v3_float32.ebpc"])
def test_a_newer_version_is_refused_by_name(name):
    packed = read(name).clone()
    packed[8] = 4
    message = at_byte(8, "format version")
    for reader in (torch_ebpc.decompress, torch_ebpc.inspect, torch_ebpc.recover):
        with pytest.raises(torch_ebpc.EBPCFormatError, match=message):
            reader(packed)
    with pytest.raises(torch_ebpc.EBPCFormatError, match=message):
        torch_ebpc.ContainerDecoder().push(packed)
