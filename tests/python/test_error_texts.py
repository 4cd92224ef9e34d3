"""The exact text of every error and warning, once: error_texts.txt. The other tests look at the
class and at what a message is about alone."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import Passing, Returns, images, metered, small_network, tapped
from torch import nn

import torch_ebpc
from torch_ebpc import files, hardware
from torch_ebpc.partitioner import CompressedPartitioner

OPS = torch.ops.torch_ebpc
ALSO = (CompressedPartitioner, Passing, Returns, images, metered, replace, tapped)
TEXTS = Path(__file__).with_name("error_texts.txt")
LINES = [line for line in TEXTS.read_text().splitlines() if line and line[0] != "#"]
TABLE = list(zip(LINES[::2], LINES[1::2], strict=True))


def changed(packed, byte, value):
    packed = packed.clone()
    packed[byte] = value
    return packed


def streamed(*parts):
    """A tensor out of these parts of a container."""
    decoder = torch_ebpc.ContainerDecoder()
    for part in parts:
        list(decoder.push(part))
    decoder.finish()


def begun(*parts, shape=(10,), dtype=torch.int16, **code):
    """An encoder that has had these parts."""
    encoder = torch_ebpc.ContainerEncoder(shape, dtype, **code)
    for part in parts:
        encoder.push(torch.as_tensor(part, dtype=dtype))
    return encoder


def entered_twice(context):
    with context, context:
        pass


def graph_of(model):
    return torch.export.export(model, (images(),)).module()


def calibrated_outside(meter):
    meter.calibrate().__enter__()


def compressed_layers(*outputs, **options):
    """Of one layer with compression after it, which has returned these."""
    model = torch_ebpc.insert_compression(nn.Sequential(Passing()), Passing, **options)
    for output in outputs:
        model(output)
    return torch_ebpc.compression_report(model)


def finished_early(packed):
    decoder = torch_ebpc.ContainerDecoder()
    decoder.push(packed)
    decoder.finish()


def scripted():
    return torch.jit.script(small_network())


def encoder():
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, batch_first=True), 2).eval()


def brevitas_layer():
    return type("QuantReLU", (nn.Sequential,), {"__module__": "brevitas.nn"})(nn.ReLU())


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.ReLU(), nn.ReLU()

    def forward(self, x):
        return self.used(x)


def quietly(function, *arguments):
    """What warns of being a prototype, or deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)


def names():
    """What the expressions of the table are made of: these, and all that is public."""
    ints = torch.arange(100, dtype=torch.int8)
    floats = torch.arange(4.0)
    net, relu = small_network(), nn.Sequential(nn.ReLU())
    packed = torch_ebpc.compress(ints)
    streams = torch_ebpc.encode(torch.arange(20, dtype=torch.int8))
    modules = {"copy": copy, "files": files}
    functions = {each.__name__: each for each in ALSO}
    return vars(torch_ebpc) | vars(hardware) | modules | functions | globals() | locals()


@pytest.mark.parametrize(("expression", "text"), TABLE, ids=[each for each, _ in TABLE])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_text_of_an_error(expression, text, in_folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        with pytest.raises(Exception) as error:  # noqa: PT011
            eval(expression, names())
    assert f"    {error.type.__name__}: {error.value}" == text


def test_a_text_stands_once():
    texts = [text for _, text in TABLE]
    assert len(set(texts)) == len(texts)
