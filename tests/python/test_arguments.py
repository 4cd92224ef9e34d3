"""Wrong arguments: ValueError or TypeError, naming the argument and what it may be."""

from __future__ import annotations

import dataclasses
import inspect
import re

import numpy as np
import pytest
import torch
from helpers import assert_same_bits

import torch_ebpc

DTYPE_NAMES = (
    "int8, uint8, int16, uint16, int32, float16, bfloat16, float32, bool, uint32, int64, uint64,"
    " float64, float8_e4m3fn, float8_e5m2, float8_e4m3fnuz, float8_e5m2fnuz, complex32, complex64,"
    " complex128"
)
TAKES_TENSOR = [torch_ebpc.compress, torch_ebpc.encode, torch_ebpc.count_bits]
TAKES_PACKED = [torch_ebpc.decompress, torch_ebpc.inspect]

on_tensors = pytest.mark.parametrize("function", TAKES_TENSOR, ids=lambda f: f.__name__)
on_packed = pytest.mark.parametrize("function", TAKES_PACKED, ids=lambda f: f.__name__)


def exactly(message: str) -> str:
    return f"^{re.escape(message)}$"


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
def test_what_is_no_tensor_is_refused(function):
    with pytest.raises(TypeError, match=exactly("x must be a tensor, got list")):
        function([1, 2])


@on_tensors
@pytest.mark.parametrize("dtype", ["float8_e8m0fnu", "float4_e2m1fn_x2", "bits8"])
def test_other_dtypes_are_refused_and_listed(function, dtype):
    x = torch.zeros(3, dtype=torch.uint8).view(getattr(torch, dtype))
    message = f"x's dtype must be one of {DTYPE_NAMES}, got torch.{dtype}"
    with pytest.raises(TypeError, match=exactly(message)):
        function(x)


@on_tensors
def test_sparse_tensors_are_refused(function):
    message = "x must be a strided tensor, got layout torch.sparse_coo"
    with pytest.raises(TypeError, match=exactly(message)):
        function(torch.eye(3).to_sparse())


@pytest.mark.parametrize("function", [torch_ebpc.compress, torch_ebpc.encode])
def test_a_tensor_that_requires_grad_is_refused_rather_than_detached(function):
    x = torch.rand(3, requires_grad=True)
    with pytest.raises(
        ValueError, match=r"^x must not require grad while grad mode is on: .*"
    ) as e:
        function(x)
    assert "x.detach()" in str(e.value)
    assert "torch.no_grad()" in str(e.value)
    with pytest.raises(ValueError, match="must not require grad"):
        function(2 * x)


def test_a_tensor_that_requires_grad_is_taken_where_no_graph_is_cut():
    x = torch.rand(3, requires_grad=True)
    with torch.no_grad():
        assert_same_bits(torch_ebpc.decompress(torch_ebpc.compress(x)), x.detach())
        assert_same_bits(torch_ebpc.decode(torch_ebpc.encode(x)), x.detach())
    with torch.inference_mode():
        assert_same_bits(torch_ebpc.decompress(torch_ebpc.compress(x)), x.detach())
    assert_same_bits(torch_ebpc.decompress(torch_ebpc.compress(x.detach())), x.detach())


@on_tensors
def test_more_than_24_dimensions_are_refused_by_what_writes_a_shape(function):
    x = torch.zeros([1] * 25)
    if function is torch_ebpc.compress:
        with pytest.raises(
            ValueError, match=exactly("shape must have at most 24 dimensions, got 25")
        ):
            function(x)
    else:
        function(x)


# ---- The parameters ----------------------------------------------------------------------------


@on_tensors
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"word_bits": 0}, "word_bits must be from 2 to 32, got 0"),
        ({"word_bits": 1}, "word_bits must be from 2 to 32, got 1"),
        ({"word_bits": 33}, "word_bits must be from 2 to 32, got 33"),
        ({"word_bits": 9}, "word_bits must be at most 8 for int8, got 9"),
        ({"block_size": 1}, "block_size must be from 2 to 64, got 1"),
        ({"block_size": 65}, "block_size must be from 2 to 64, got 65"),
        ({"block_size": 1 << 40}, "block_size is out of range: 1099511627776"),
        ({"block_size": 1 << 70}, "block_size is out of range: 1180591620717411303424"),
        ({"max_zero_run": 1}, "max_zero_run must be from 2 to 65536, got 1"),
        ({"max_zero_run": 1 << 17}, "max_zero_run must be from 2 to 65536, got 131072"),
        ({"max_zero_run": 24}, "max_zero_run must be a power of two, got 24"),
        ({"base": "kept"}, "base must be 'sent' or 'reused', got 'kept'"),
    ],
)
def test_parameters_out_of_range_are_value_errors(function, parameters, message):
    with pytest.raises(ValueError, match=exactly(message)):
        function(torch.zeros(3, dtype=torch.int8), **parameters)


@on_tensors
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"word_bits": 8.0}, "word_bits must be an int, got float"),
        ({"word_bits": "8"}, "word_bits must be an int, got str"),
        ({"block_size": None}, "block_size must be an int, got NoneType"),
        ({"max_zero_run": 16.0}, "max_zero_run must be an int, got float"),
        ({"base": None}, "base must be a str, got NoneType"),
    ],
)
def test_parameters_of_other_types_are_type_errors(function, parameters, message):
    with pytest.raises(TypeError, match=exactly(message)):
        function(torch.zeros(3, dtype=torch.int8), **parameters)


@on_tensors
def test_floating_dtypes_have_no_narrower_words(function):
    with pytest.raises(ValueError, match=exactly("word_bits must be 16 for float16, got 12")):
        function(torch.zeros(3, dtype=torch.float16), word_bits=12)


@on_tensors
def test_a_value_that_does_not_fit_is_refused_with_its_place(function):
    x = torch.tensor([[0, 2047], [-2049, 5]], dtype=torch.int16)
    with pytest.raises(
        ValueError,
        match=r"^every value must fit into word_bits = 12.*, got -2049 at index 2$",
    ):
        function(x, word_bits=12)


def test_an_unknown_method_is_refused_and_all_are_listed():
    with pytest.raises(ValueError, match=r"^method must be one of .*, got 'lz4'$") as error:
        torch_ebpc.count_bits(torch.zeros(3), "lz4")
    for method in ("ebpc", "bpc", "zvc", "zero_rle", "csc", "none"):
        assert f"'{method}'" in str(error.value)
    with pytest.raises(TypeError, match=exactly("method must be a str, got int")):
        torch_ebpc.count_bits(torch.zeros(3), 5)


def test_an_unknown_codec_is_refused():
    x = torch.zeros(3)
    for function in (
        torch_ebpc.compress,
        lambda x, codec: torch_ebpc.ContainerEncoder(x.shape, x.dtype, codec=codec),
    ):
        with pytest.raises(ValueError, match=exactly("codec must be 'ebpc' or 'auto', got 'zstd'")):
            function(x, codec="zstd")
        with pytest.raises(TypeError, match=exactly("codec must be a str, got NoneType")):
            function(x, codec=None)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"block_size": 16}, "block_size must be left at 8"),
        ({"max_zero_run": 32}, "max_zero_run must be left at 16"),
        ({"base": "reused"}, "base must be left at 'sent'"),
    ],
)
def test_what_the_codec_chooses_is_refused_beside_it(parameters, message):
    x = torch.zeros(3)
    (value,) = parameters.values()
    message += f" with codec 'auto', which chooses it by segment, got {value!r}"
    with pytest.raises(ValueError, match=exactly(message)):
        torch_ebpc.compress(x, codec="auto", **parameters)
    with pytest.raises(ValueError, match=exactly(message)):
        torch_ebpc.ContainerEncoder(x.shape, x.dtype, codec="auto", **parameters)
    with pytest.raises(RuntimeError, match=exactly("ValueError: " + message)):
        torch.ops.torch_ebpc.open_encoder(x.shape, x.dtype, codec="auto", **parameters)


def test_transmission_dims_are_dimensions_of_the_input():
    x = torch.zeros(2, 3)
    for dims in (-1, 3):
        message = f"transmission_dims must be from 0 to 2, input's dimensions, got {dims}"
        with pytest.raises(ValueError, match=exactly(message)):
            torch_ebpc.count_transmission_bits(x, transmission_dims=dims)
    with pytest.raises(TypeError, match=exactly("transmission_dims must be an int, got str")):
        torch_ebpc.count_transmission_bits(x, transmission_dims="1")


# ---- Packed bytes and streams --------------------------------------------------------------------


@on_packed
def test_packed_bytes_are_a_uint8_tensor_of_one_dimension(function):
    with pytest.raises(TypeError, match=exactly("packed must be a tensor, got bytes")):
        function(b"packed")
    with pytest.raises(TypeError, match=exactly("packed's dtype must be uint8, got torch.int8")):
        function(torch.zeros(100, dtype=torch.int8))
    with pytest.raises(ValueError, match=exactly("packed must have one dimension, got 2")):
        function(torch.zeros(2, 50, dtype=torch.uint8))


STREAMS = torch_ebpc.encode(torch.arange(5, dtype=torch.int8))


@pytest.mark.parametrize(
    ("fields", "exception", "message"),
    [
        ({"zero_stream": b""}, TypeError, "streams.zero_stream must be a tensor, got bytes"),
        (
            {"plane_stream": torch.zeros(3)},
            TypeError,
            "streams.plane_stream's dtype must be uint8, got torch.float32",
        ),
        (
            {"zero_stream": STREAMS.zero_stream[None]},
            ValueError,
            "streams.zero_stream must have one dimension, got 2",
        ),
        ({"zero_bits": -1}, ValueError, "zero_bits must not be negative, got -1"),
        ({"plane_bits": -1}, ValueError, "plane_bits must not be negative, got -1"),
        ({"zero_bits": 9.0}, TypeError, "streams.zero_bits must be an int, got float"),
        ({"plane_bits": None}, TypeError, "streams.plane_bits must be an int, got NoneType"),
        ({"shape": 5}, TypeError, "streams.shape must be a tuple of ints, got int"),
        ({"shape": ("5",)}, TypeError, "a size of streams.shape must be an int, got str"),
        ({"shape": (-5,)}, ValueError, "shape must have no negative size, got -5"),
        ({"dtype": "int8"}, TypeError, "streams.dtype must be a torch.dtype, got str"),
        (
            {"dtype": torch.quint8},
            TypeError,
            f"streams.dtype must be one of {DTYPE_NAMES}, got torch.quint8",
        ),
        ({"word_bits": 9}, ValueError, "word_bits must be at most 8 for int8, got 9"),
        ({"block_size": 1}, ValueError, "block_size must be from 2 to 64, got 1"),
        ({"base": "kept"}, ValueError, "base must be 'sent' or 'reused', got 'kept'"),
    ],
)
def test_fields_of_streams_are_checked(fields, exception, message):
    with pytest.raises(exception, match=exactly(message)):
        torch_ebpc.decode(dataclasses.replace(STREAMS, **fields))


def test_what_are_no_streams_is_refused():
    with pytest.raises(TypeError, match=exactly("streams must be EncodedStreams, got NoneType")):
        torch_ebpc.decode(None)


@on_packed
def test_packed_bytes_are_strided_and_have_data(function):
    message = "packed must be a strided tensor, got layout torch.sparse_coo"
    with pytest.raises(TypeError, match=exactly(message)):
        function(torch.ones(3, dtype=torch.uint8).to_sparse())
    message = "packed must be on the CPU, got meta: which has no data"
    with pytest.raises(ValueError, match=exactly(message)):
        function(torch.ones(3, dtype=torch.uint8, device="meta"))


# ---- Shapes and limits ---------------------------------------------------------------------------


@pytest.mark.parametrize("function", [torch_ebpc.max_compressed_bytes, torch_ebpc.ContainerEncoder])
@pytest.mark.parametrize(
    ("shape", "exception", "message"),
    [
        ((2.5,), TypeError, "a size of shape must be an int, got float"),
        ((True,), TypeError, "a size of shape must be an int, got bool"),
        ((2**63,), ValueError, "a size of shape is out of range: 9223372036854775808"),
        ("ab", TypeError, "shape must be a tuple of ints, got str"),
        (5, TypeError, "shape must be a tuple of ints, got int"),
        (None, TypeError, "shape must be a tuple of ints, got NoneType"),
    ],
)
def test_shapes_are_sizes(function, shape, exception, message):
    with pytest.raises(exception, match=exactly(message)):
        function(shape, torch.int8)


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
    for value in (2**63, -1):
        message = f"max_bytes must be from 0 to 2^63 - 1, got {value}"
        with pytest.raises(ValueError, match=exactly(message)):
            function(packed, max_bytes=value)
    with pytest.raises(TypeError, match=exactly("max_bytes must be an int or None, got bool")):
        function(packed, max_bytes=True)


def test_the_operator_decompress_checks_shape_dtype_and_memory_format():
    packed = torch_ebpc.compress(torch.eye(3))
    decompress = torch.ops.torch_ebpc.decompress
    for arguments, message in [
        (([9], torch.float32), "ValueError: shape must be the container's, [3, 3], got [9]"),
        (([3, 3], torch.int32), "ValueError: dtype must be the container's, float32, got Int"),
        (
            ([3, 3], torch.float32, "rows"),
            "ValueError: memory_format must be 'contiguous', 'channels_last' or"
            " 'channels_last_3d', got 'rows'",
        ),
    ]:
        with pytest.raises(RuntimeError, match=exactly(message)):
            decompress(packed, *arguments)
