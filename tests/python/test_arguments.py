"""Wrong arguments: ValueError or TypeError that names the argument, whichever function takes it."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest
import torch
from helpers import about, assert_same_bits

import torch_ebpc

TAKES_TENSOR = [torch_ebpc.compress, torch_ebpc.encode, torch_ebpc.count_bits]
TAKES_PACKED = [torch_ebpc.decompress, torch_ebpc.inspect]

on_tensors = pytest.mark.parametrize("function", TAKES_TENSOR, ids=lambda f: f.__name__)
on_packed = pytest.mark.parametrize("function", TAKES_PACKED, ids=lambda f: f.__name__)


# ---- Schemas -----------------------------------------------------------------------------------

DEFAULTS = {
    "word_bits": None,
    "block_size": 8,
    "max_zero_run": 16,
    "base": "sent",
    "method": "ebpc",
    "codec": "ebpc",
    "memory_format": "contiguous",
    "transmission_dims": 0,
    "max_bytes": None,
    "may_be_cut": False,
    "zero": 0,
}
REQUIRED = {
    "compress": ["input"],
    "decompress": ["packed", "shape", "dtype"],
    "unpack": ["packed"],
    "open_container": ["packed"],
    "open_encoder": ["shape", "dtype"],
    "encode": ["input"],
    "decode": ["zero_stream", "plane_stream", "zero_bits", "plane_bits", "shape", "dtype"],
    "count_bits": ["input"],
    "statistics": ["input"],
}


@pytest.mark.parametrize("name", REQUIRED)
def test_operators_have_the_documented_defaults(name):
    arguments = getattr(torch.ops.torch_ebpc, name).default._schema.arguments
    required = [each.name for each in arguments if not each.has_default_value()]
    assert required == REQUIRED[name]
    optional = {each.name: each.default_value for each in arguments if each.has_default_value()}
    assert optional == {argument: DEFAULTS[argument] for argument in optional}
    if name in ("compress", "encode", "decode", "count_bits"):
        assert {"word_bits", "block_size", "max_zero_run", "base"} <= set(optional)


@pytest.mark.parametrize("name", ["compress", "encode", "count_bits", "count_transmission_bits"])
def test_functions_have_the_documented_defaults(name):
    _, *optional = inspect.signature(getattr(torch_ebpc, name)).parameters.values()
    defaults = {**DEFAULTS, "code": None}
    if name == "compress":
        defaults["zero"] = None
    assert {p.name: p.default for p in optional} == {p.name: defaults[p.name] for p in optional}


# ---- The tensor --------------------------------------------------------------------------------


@on_tensors
@pytest.mark.parametrize(
    "x",
    [
        [1, 2],
        torch.zeros(3, dtype=torch.uint8).view(torch.float8_e8m0fnu),
        torch.zeros(3, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
        torch.zeros(3, dtype=torch.uint8).view(torch.bits8),
        torch.eye(3).to_sparse(),
    ],
    ids=lambda x: str(getattr(x, "dtype", "list")),
)
def test_other_types_dtypes_and_layouts_are_refused(function, x):
    with pytest.raises(TypeError, match=about("x")):
        function(x)


@pytest.mark.parametrize("function", [torch_ebpc.compress, torch_ebpc.encode])
def test_a_tensor_that_requires_grad_is_refused_rather_than_detached(function):
    x = torch.rand(3, requires_grad=True)
    for each in (x, 2 * x):
        with pytest.raises(ValueError, match=about("x must not require grad")):
            function(each)


def test_a_tensor_that_requires_grad_is_taken_where_no_graph_is_cut():
    x = torch.rand(3, requires_grad=True)
    with torch.no_grad():
        assert_same_bits(torch_ebpc.decompress(torch_ebpc.compress(x)), x.detach())
        assert_same_bits(torch_ebpc.decode(torch_ebpc.encode(x)), x.detach())
    with torch.inference_mode():
        assert_same_bits(torch_ebpc.decompress(torch_ebpc.compress(x)), x.detach())
    assert_same_bits(torch_ebpc.decompress(torch_ebpc.compress(x.detach())), x.detach())


def test_more_than_24_dimensions_are_refused_by_what_writes_a_shape():
    x = torch.zeros([1] * 25)
    torch_ebpc.encode(x)
    torch_ebpc.count_bits(x)
    with pytest.raises(ValueError, match=about("shape")):
        torch_ebpc.compress(x)


# ---- The parameters ----------------------------------------------------------------------------


@on_tensors
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("word_bits", (0, 1, 9, 33)),
        ("block_size", (1, 65, 1 << 40, 1 << 70)),
        ("max_zero_run", (1, 24, 1 << 17)),
        ("base", ("kept",)),
    ],
)
def test_parameters_out_of_range_are_value_errors(function, name, values):
    for value in values:
        with pytest.raises(ValueError, match=about(name)):
            function(torch.zeros(3, dtype=torch.int8), **{name: value})


@on_tensors
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("word_bits", (8.0, "8")),
        ("block_size", (None, True)),
        ("max_zero_run", (16.0,)),
        ("base", (None,)),
    ],
)
def test_parameters_of_other_types_are_type_errors(function, name, values):
    for value in values:
        with pytest.raises(TypeError, match=about(name)):
            function(torch.zeros(3, dtype=torch.int8), **{name: value})


@on_tensors
def test_floating_dtypes_have_no_narrower_words(function):
    with pytest.raises(ValueError, match=about("word_bits")):
        function(torch.zeros(3, dtype=torch.float16), word_bits=12)


@on_tensors
def test_a_value_that_does_not_fit_is_refused_with_its_place(function):
    x = torch.tensor([[0, 2047], [-2049, 5]], dtype=torch.int16)
    with pytest.raises(ValueError, match=r"word_bits = 12\b.*, got -2049 at index 2$"):
        function(x, word_bits=12)


def test_an_unknown_codec_is_refused():
    x = torch.zeros(3)
    for function in (
        torch_ebpc.compress,
        lambda x, codec: torch_ebpc.ContainerEncoder(x.shape, x.dtype, codec=codec),
    ):
        for value, error in (("zstd", ValueError), (None, TypeError)):
            with pytest.raises(error, match=about("codec")):
                function(x, codec=value)


@pytest.mark.parametrize(
    ("name", "value"), [("block_size", 16), ("max_zero_run", 32), ("base", "reused")]
)
def test_what_the_codec_chooses_is_refused_beside_it(name, value):
    x = torch.zeros(3)
    with pytest.raises(ValueError, match=about(name)):
        torch_ebpc.compress(x, codec="auto", **{name: value})
    with pytest.raises(ValueError, match=about(name)):
        torch_ebpc.ContainerEncoder(x.shape, x.dtype, codec="auto", **{name: value})
    with pytest.raises(RuntimeError, match=about(f"ValueError: {name}")):
        torch.ops.torch_ebpc.open_encoder(x.shape, x.dtype, codec="auto", **{name: value})


def test_transmission_dims_are_dimensions_of_the_input():
    for value, error in ((-1, ValueError), (3, ValueError), ("1", TypeError)):
        with pytest.raises(error, match=about("transmission_dims")):
            torch_ebpc.count_transmission_bits(torch.zeros(2, 3), transmission_dims=value)


# ---- Packed bytes --------------------------------------------------------------------------------


@on_packed
def test_packed_bytes_are_a_uint8_tensor_of_one_dimension_with_data(function):
    bytes_ = torch.ones(100, dtype=torch.uint8)
    for packed in (b"packed", bytes_.to(torch.int8), bytes_.to_sparse()):
        with pytest.raises(TypeError, match=about("packed")):
            function(packed)
    for packed in (bytes_.view(2, 50), bytes_.to("meta")):
        with pytest.raises(ValueError, match=about("packed")):
            function(packed)


def test_the_code_of_streams_is_checked():
    streams = torch_ebpc.encode(torch.arange(5, dtype=torch.int8))
    for name, value in (("word_bits", 9), ("block_size", 1), ("base", "kept")):
        with pytest.raises(ValueError, match=about(name)):
            torch_ebpc.decode(dataclasses.replace(streams, **{name: value}))


# ---- Shapes and limits ---------------------------------------------------------------------------


@pytest.mark.parametrize("function", [torch_ebpc.max_compressed_bytes, torch_ebpc.ContainerEncoder])
def test_shapes_are_sizes(function):
    for shape in ((2.5,), (True,), "ab", 5, None):
        with pytest.raises(TypeError, match=r"^(a size of )?shape must be"):
            function(shape, torch.int8)
    with pytest.raises(ValueError, match=about("a size of shape")):
        function((2**63,), torch.int8)


def test_sizes_may_be_numpys():
    size = torch_ebpc.max_compressed_bytes((3, 5), torch.int8)
    assert torch_ebpc.max_compressed_bytes([np.int64(3), np.uint8(5)], torch.int8) == size


@pytest.mark.parametrize(
    "function",
    [torch_ebpc.decompress, torch_ebpc.recover, torch_ebpc.unpack],
    ids=lambda f: f.__name__,
)
def test_max_bytes_is_an_int_of_64_bits(function):
    packed = torch_ebpc.compress(torch.zeros(3))
    function(packed, max_bytes=2**63 - 1)
    for value, error in ((2**63, ValueError), (-1, ValueError), (True, TypeError)):
        with pytest.raises(error, match=about("max_bytes")):
            function(packed, max_bytes=value)
