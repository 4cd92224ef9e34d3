"""torch.library.opcheck on every operator: schema, fake kernel, autograd, AOT dispatch."""

from __future__ import annotations

import pytest
import torch
from sample_inputs import METHODS, feature_map, sample_tensors

import torch_ebpc
import torch_ebpc.hardware  # with which its fake kernels come

OPS = torch.ops.torch_ebpc

SAMPLES = list(sample_tensors())
sampled = pytest.mark.parametrize("x", SAMPLES, ids=lambda x: f"{x.dtype}{tuple(x.shape)}")


def check(op, *arguments, **keywords):
    torch.library.opcheck(op, arguments, keywords)


@sampled
def test_compress(x):
    check(OPS.compress.default, x)
    check(OPS.compress.default, x, block_size=16, max_zero_run=4, base="reused")
    check(OPS.compress.default, x, codec="auto")


@sampled
def test_decompress(x):
    packed = torch_ebpc.compress(x)
    memory_format = torch_ebpc.inspect(packed).memory_format
    check(OPS.decompress.default, packed, x.shape, x.dtype, memory_format)
    check(OPS.decompress.default, packed, x.shape, x.dtype)


@sampled
def test_inspect(x):
    check(OPS.inspect.default, torch_ebpc.compress(x))
    check(OPS.inspect.default, torch_ebpc.compress(x, codec="auto"))


def test_fingerprint():
    check(OPS.fingerprint.default, torch.arange(200, dtype=torch.uint8))


@sampled
def test_encode(x):
    check(OPS.encode.default, x)
    check(OPS.encode.default, x, block_size=5, max_zero_run=64, base="reused")


@sampled
def test_decode(x):
    streams = torch_ebpc.encode(x, base="reused")
    check(
        OPS.decode.default,
        streams.zero_stream,
        streams.plane_stream,
        streams.zero_bits,
        streams.plane_bits,
        x.shape,
        x.dtype,
        base="reused",
    )


@sampled
def test_count_bits(x):
    for dims in range(min(3, x.dim() + 1)):
        check(OPS.count_bits.default, x, transmission_dims=dims)


@sampled
def test_statistics(x):
    for dims in range(min(3, x.dim() + 1)):
        check(OPS.statistics.default, x, max_zero_run=4, transmission_dims=dims)


@pytest.mark.parametrize("method", METHODS)
def test_encode_and_decode_by_every_method(method):
    x = feature_map(torch.int16, (4, 5))
    check(OPS.encode.default, x, method=method)
    streams = torch_ebpc.encode(x, method=method)
    check(
        OPS.decode.default,
        streams.zero_stream,
        streams.plane_stream,
        streams.zero_bits,
        streams.plane_bits,
        x.shape,
        x.dtype,
        method=method,
    )


@pytest.mark.parametrize("method", METHODS)
def test_count_bits_by_every_method(method):
    check(OPS.count_bits.default, feature_map(torch.int16, (4, 5)), method, word_bits=16)


@sampled
def test_decompress_range(x):
    packed = torch_ebpc.compress(x)
    check(OPS.decompress_range.default, packed, x.numel() // 3, x.numel() // 2, x.dtype)


@sampled
def test_recover(x):
    packed = torch_ebpc.compress(x)
    memory_format = torch_ebpc.inspect(packed).memory_format
    check(OPS.recover.default, packed, x.shape, x.dtype, memory_format)


@sampled
def test_encode_segments(x):
    check(OPS.encode_segments.default, x.flatten())
    check(OPS.encode_segments.default, x.flatten(), codec="auto")


@sampled
def test_make_header(x):
    for codec in ("ebpc", "auto"):
        table, payload, bits = OPS.encode_segments(x.flatten(), codec=codec)
        counts = (payload.numel(), *bits.tolist())
        check(OPS.make_header.default, table, x.shape, x.dtype, *counts, codec=codec)


@sampled
def test_header_bytes(x):
    check(OPS.header_bytes.default, torch_ebpc.compress(x))


@sampled
def test_segment_ends(x):
    check(OPS.segment_ends.default, torch_ebpc.compress(x))


@sampled
def test_decode_segments(x):
    packed = torch_ebpc.compress(x)
    info = torch_ebpc.inspect(packed)
    header, payload = packed[: info.header_bytes], packed[info.header_bytes :]
    check(
        OPS.decode_segments.default,
        header,
        payload,
        0,
        info.segments,
        info.header_bytes,
        x.dtype,
    )


def test_hardware_encode():
    x = feature_map(torch.int8, (10, 20))
    check(OPS.hardware_encode.default, x)
    check(OPS.hardware_encode.default, x, block_size=16, bits_per_cycle=4, fifo_words=128)


def test_hardware_decode():
    x = feature_map(torch.int16, (10, 20))
    zero, plane, *_ = OPS.hardware_encode.default(x)
    check(OPS.hardware_decode.default, zero, plane, x.shape, x.dtype)
    check(OPS.hardware_decode.default, zero, plane, x.shape, x.dtype, bits_per_cycle=4)


def test_every_operator_on_tensors_has_its_opcheck():
    checked = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    schemas = [
        schema
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith("torch_ebpc::")
        and any(str(argument.type) == "Tensor" for argument in schema.arguments)
    ]
    assert len(schemas) >= 6
    assert {schema.name.removeprefix("torch_ebpc::") for schema in schemas} <= checked


def test_a_compiled_function_round_trips():
    @torch.compile(fullgraph=True, backend="aot_eager")
    def there_and_back(x):
        packed = OPS.compress.default(x)
        return OPS.decompress.default(packed, x.shape, x.dtype), packed.numel()

    x = feature_map(torch.float32, (6, 7))
    y, size = there_and_back(x)
    assert torch.equal(y.view(torch.int32), x.view(torch.int32))
    assert size == torch_ebpc.compress(x).numel()
