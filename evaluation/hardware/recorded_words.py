"""Writes ResNet-34's recorded maps as words of 8 bits, for the C++ tests of the RTL: of each map
the number of words, in 4 bytes, the lowest first, then the words."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from evaluation.recorded import recording
from torch_ebpc import Quantizer
from torch_ebpc.cli.settings import Settings
from torch_ebpc.files import whole_file


def recorded_words() -> Iterator[tuple[str, Tensor]]:
    """Name and words of every map, int8 [channels, height, width], as `make hardware` has them."""
    quantizer = Settings().words()
    assert isinstance(quantizer, Quantizer)
    for name, x in recording.read()["maps"].items():
        image = x[0].float()
        yield name, quantizer.quantize(image, quantizer.scale_for(image.abs().max().item()))


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        for _, words in recorded_words():
            assert words.dtype == torch.int8
            file.write(words.numel().to_bytes(4, "little"))
            file.write(words.contiguous().numpy().tobytes())


if __name__ == "__main__":
    write(Path(sys.argv[1]))
