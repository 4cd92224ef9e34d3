"""The worked examples of csrc/ebpc/FORMAT.md are what the library writes."""

from __future__ import annotations

import re

import torch
from helpers import ROOT, assert_same_bits

import torch_ebpc

FORMAT = (ROOT / "csrc/ebpc/FORMAT.md").read_text()


def bits_of(stream: torch.Tensor, count: int) -> str:
    return "".join(f"{byte:08b}" for byte in stream.tolist())[:count]


def spans_after(text: str) -> list[str]:
    """The bits that the document has in code spans after a text, up to the next empty line."""
    paragraph = FORMAT.split(text)[1].split("\n\n")[0]
    return [span.replace(" ", "") for span in re.findall(r"`([01 ]+)`", paragraph)]


def test_the_example_of_the_streams():
    streams = torch_ebpc.encode(torch.arange(1, 9, dtype=torch.int8))
    zero, *plane = spans_after("words 1 2 3 4 5 6 7 8.")
    assert bits_of(streams.zero_stream, streams.zero_bits) == zero
    assert bits_of(streams.plane_stream, streams.plane_bits) == "".join(plane)


def test_the_example_of_version_3():
    x = torch.tensor([1.0, -0.0, 0.0, 0.0, -0.0] + 20 * [0.0]).bfloat16()
    packed = torch_ebpc.compress(x, zero="auto")
    rows = re.findall(r"^ ?(\d+)  ((?:[0-9A-F]{2} )+) ", FORMAT, re.M)
    written = b""
    for offset, row in rows:
        assert int(offset) == len(written)
        written += bytes.fromhex(row)
    assert bytes(packed.tolist()) == written
    assert_same_bits(torch_ebpc.decompress(packed), x)
    bits = "".join(f"{byte:08b}" for byte in written)
    zero, plane, signs = bits[8 * 76 :][:11], bits[8 * 78 :][:58], bits[8 * 86 :]
    assert "".join(spans_after("**Example of version 3.**")) == zero + plane + signs
