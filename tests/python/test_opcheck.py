"""torch.library.opcheck on every operator: schema, fake kernel, autograd, AOT dispatch."""

from __future__ import annotations

import pytest
import torch
from helpers import METHODS, NEW_DTYPES, assert_same_bits, feature_map, sample_tensors
from torch._subclasses.fake_tensor import FakeTensorMode

import torch_ebpc
import torch_ebpc.hardware  # with which its fake kernels come
import torch_ebpc.partitioner  # with which its operators come

OPS = torch.ops.torch_ebpc

SAMPLES = list(sample_tensors())
OPEN_SAMPLES = [feature_map(dtype, (2, 3, 4)) for dtype in (torch.int8, *NEW_DTYPES[::4])]
OPEN_SAMPLES += [torch.empty(0, 3), torch.tensor(-0.0)]


def str_of(x):
    return f"{x.dtype}{tuple(x.shape)}"


sampled = pytest.mark.parametrize("x", SAMPLES, ids=str_of)


def check(op, *arguments, **keywords):
    torch.library.opcheck(op, arguments, keywords)


def check_untraced(op, *arguments, **keywords):
    """Of an operator in UNTRACED."""
    assert op._schema.name.removeprefix("torch_ebpc::") in UNTRACED
    torch.library.opcheck(op, arguments, keywords, test_utils=CHECKS_WITHOUT_TRACE)
    return op(*arguments, **keywords)


CHECKS_WITHOUT_TRACE = ("test_schema", "test_autograd_registration")
_NUMBER = "returns a number or a text, which no tensor stands for in a graph"
_HANDLE = "takes a handle, a number that is open only while the process runs"
UNTRACED = {
    "unpack": "the shape and dtype that it returns are in the data",
    "open_container": _NUMBER,
    "container_info": _NUMBER,
    "container_read": _HANDLE,
    "container_range": _HANDLE,
    "container_recover": _HANDLE,
    "max_compressed_bytes": _NUMBER,
    "open_encoder": _NUMBER,
    "encoder_header_bytes": _NUMBER,
    "encoder_push": _HANDLE,
    "encoder_finish": _HANDLE,
    "open_decoder": _NUMBER,
    "decoder_push": _HANDLE,
    "decoder_info": _NUMBER,
    "decoder_next": _HANDLE,
    "decoder_finish": _HANDLE,
    "close": _HANDLE,
}
"""Why an operator has no fake kernel and cannot be part of a traced graph: `compress` and
`decompress` are for that. Its schema and its autograd are checked all the same."""
OF_NUMBERS = {  # neither tensors nor handles
    *("constants", "dtypes", "version", "kernel", "kernels", "use_kernel"),
    *("hardware_inventory", "hardware_growth_law", "hardware_register_bits"),
}


@sampled
def test_compress(x):
    check(OPS.compress.default, x)
    check(OPS.compress.default, x, block_size=16, max_zero_run=4, base="reused")
    check(OPS.compress.default, x, codec="auto", zero=None)


@sampled
def test_decompress(x):
    packed = torch_ebpc.compress(x)
    memory_format = torch_ebpc.inspect(packed).memory_format
    check(OPS.decompress.default, packed, x.shape, x.dtype, memory_format)
    check(OPS.decompress.default, packed, x.shape, x.dtype)


def test_fingerprint():
    check(OPS.fingerprint.default, torch.arange(200, dtype=torch.uint8))


@pytest.mark.parametrize("shape", [(3, 5), (0,), ()])
def test_quantize(shape):
    x = torch.rand(shape) - 0.25
    check(OPS.quantize.default, x, torch.empty_like(x, dtype=torch.int16), 0.01, 12, 3, False)


@sampled
def test_encode(x):
    check(OPS.encode.default, x)
    check(OPS.encode.default, x, block_size=5, max_zero_run=64, base="reused")


def check_decode(x, **code):
    streams = torch_ebpc.encode(x, **code)
    bits = (streams.zero_bits, streams.plane_bits)
    arguments = (streams.zero_stream, streams.plane_stream, *bits, x.shape, x.dtype)
    check(OPS.decode.default, *arguments, **code)


@sampled
def test_decode(x):
    check_decode(x, base="reused")


@sampled
def test_count_bits(x):
    for dims in range(min(3, x.dim() + 1)):
        check(OPS.count_bits.default, x, transmission_dims=dims)


@sampled
def test_count_methods(x):
    for dims in range(min(3, x.dim() + 1)):
        check(OPS.count_methods.default, x, "zvc,ebpc", transmission_dims=dims)


@sampled
def test_round_trip(x):
    for dims in range(min(3, x.dim() + 1)):
        check(OPS.round_trip.default, x, transmission_dims=dims)


@sampled
def test_statistics(x):
    for dims in range(min(3, x.dim() + 1)):
        check(OPS.statistics.default, x, max_zero_run=4, transmission_dims=dims)


@pytest.mark.parametrize("method", METHODS)
def test_encode_and_decode_by_every_method(method):
    x = feature_map(torch.int16, (4, 5))
    check(OPS.encode.default, x, method=method)
    check_decode(x, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_count_bits_by_every_method(method):
    check(OPS.count_bits.default, feature_map(torch.int16, (4, 5)), method, word_bits=16)


@pytest.mark.parametrize("x", OPEN_SAMPLES, ids=str_of)
def test_a_container_and_its_reader(x):
    packed = torch_ebpc.compress(x)
    assert_same_bits(check_untraced(OPS.unpack.default, packed), x)
    handle = check_untraced(OPS.open_container.default, packed)
    check_untraced(OPS.container_info.default, handle)
    assert_same_bits(check_untraced(OPS.container_read.default, handle), x)
    first, count = x.numel() // 3, x.numel() // 2
    part = check_untraced(OPS.container_range.default, handle, first, count)
    assert_same_bits(part, x.flatten()[first : first + count])
    recovered, lost = check_untraced(OPS.container_recover.default, handle)
    assert_same_bits(recovered, x)
    assert lost.shape == (0, 2)
    size = check_untraced(OPS.max_compressed_bytes.default, x.shape, x.dtype)
    assert size >= packed.numel()
    check_untraced(OPS.close.default, handle)


@pytest.mark.parametrize("x", OPEN_SAMPLES, ids=str_of)
@pytest.mark.parametrize("codec", ["ebpc", "auto"])
def test_an_encoder_and_a_decoder(x, codec):
    check_untraced(OPS.open_encoder.default, x.shape, x.dtype, codec=codec)
    header_bytes = check_untraced(
        OPS.encoder_header_bytes.default, OPS.open_encoder(x.shape, x.dtype, codec=codec)
    )
    # These change what they take a handle of, which opcheck would do more than once.
    for op in (OPS.encoder_push, OPS.encoder_finish, OPS.decoder_push, OPS.decoder_next):
        assert op.default._schema.name.removeprefix("torch_ebpc::") in UNTRACED
    encoder = OPS.open_encoder(x.shape, x.dtype, codec=codec)
    payload = OPS.encoder_push(encoder, x)
    header = OPS.encoder_finish(encoder)
    assert header.numel() == header_bytes
    decoder = check_untraced(OPS.open_decoder.default)
    assert check_untraced(OPS.decoder_info.default, decoder) == ""
    OPS.decoder_push(decoder, torch.cat([header, payload]))
    parts = []
    while (part := OPS.decoder_next(decoder)).numel() > 0:
        parts.append(part)
    check_untraced(OPS.decoder_finish.default, decoder)
    assert_same_bits(torch.cat([x.new_empty(0), *parts]), x.flatten())


def test_hardware_encode():
    x = feature_map(torch.int8, (10, 20))
    check(OPS.hardware_encode.default, x)
    check(OPS.hardware_encode.default, x, block_size=16, bits_per_cycle=4, fifo_words=128)


def test_hardware_decode():
    x = feature_map(torch.int16, (10, 20))
    zero, plane, *_ = OPS.hardware_encode.default(x)
    check(OPS.hardware_decode.default, zero, plane, x.shape, x.dtype)
    check(OPS.hardware_decode.default, zero, plane, x.shape, x.dtype, bits_per_cycle=4)


@pytest.mark.parametrize("stored_as", ["container", "bytes"])
def test_store(stored_as):
    x = torch.zeros(5000) if stored_as == "container" else torch.empty(50).random_()
    check(OPS.store, x, [1])


def test_restore():
    x = torch.zeros(40, 50).t()
    stored = OPS.store(x, [1, 50])
    # The other checks copy the tensor, and not what else is in its storage.
    arguments = [50, 40], [1, 50], torch.float32, []
    torch.library.opcheck(
        OPS.restore, (stored, *arguments), test_utils="test_autograd_registration"
    )
    assert_same_bits(OPS.restore(stored, *arguments), x)
    with FakeTensorMode() as mode:
        fake = OPS.restore(mode.from_tensor(stored), *arguments)
    assert (fake.dtype, fake.shape, fake.stride()) == (x.dtype, x.shape, x.stride())


def test_every_operator_has_its_opcheck():
    checked = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    names = {
        schema.name.removeprefix("torch_ebpc::")
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith("torch_ebpc::")
    }
    assert len(names) >= 25
    assert names - set(UNTRACED) - OF_NUMBERS <= checked
    assert set(UNTRACED) <= names
    for name in UNTRACED:
        assert not torch._C._dispatch_has_kernel_for_dispatch_key(f"torch_ebpc::{name}", "Meta")


@pytest.mark.parametrize("name", ["unpack", "open_container", "open_decoder"])
def test_an_operator_that_cannot_be_traced_says_so(name):
    packed = torch_ebpc.compress(torch.eye(3))
    arguments = [] if name == "open_decoder" else [packed]

    @torch.compile(fullgraph=True, backend="aot_eager")
    def traced(packed):
        return getattr(OPS, name)(*arguments) if not arguments else getattr(OPS, name)(packed)

    with pytest.raises(Exception, match=name):
        traced(packed)


def test_a_compiled_function_round_trips():
    @torch.compile(fullgraph=True, backend="aot_eager")
    def there_and_back(x):
        packed = OPS.compress.default(x)
        return OPS.decompress.default(packed, x.shape, x.dtype), packed.numel()

    x = feature_map(torch.float32, (6, 7))
    y, size = there_and_back(x)
    assert torch.equal(y.view(torch.int32), x.view(torch.int32))
    assert size == torch_ebpc.compress(x).numel()
