"""Containers of every format version that there has been, read for good."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

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
        found = getattr(info, field)
        if field == "codings":
            found = [list(dataclasses.astuple(each)) for each in found]
        found = str(found).removeprefix("torch.") if field == "dtype" else found
        assert (list(found) if field == "shape" else found) == value, field
    x = torch_ebpc.decompress(packed)
    assert torch.equal(x.contiguous().flatten().view(torch.uint8), read(f"{name}.words"))
    if info.codec == "auto":
        again = torch_ebpc.compress(x, info.word_bits, codec="auto")
    else:
        parameters = info.word_bits, info.block_size, info.max_zero_run, info.base
        again = torch_ebpc.compress(x, *parameters)
    assert torch.equal(again, packed)


@pytest.mark.parametrize("name", ["v1_float32.ebpc", "v2_float32.ebpc", "v3_float32.ebpc"])
def test_a_newer_version_is_refused_by_name(name):
    packed = read(name).clone()
    packed[8] = 4
    message = "format version.: expected from 1 to 3, which this library reads, found 4"
    for reader in (torch_ebpc.decompress, torch_ebpc.inspect, torch_ebpc.recover):
        with pytest.raises(torch_ebpc.EBPCFormatError, match=message):
            reader(packed)
    with pytest.raises(torch_ebpc.EBPCFormatError, match=message):
        torch_ebpc.ContainerDecoder().push(packed)
