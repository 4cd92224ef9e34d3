"""torch.compile, torch.export and AOTInductor: the same bits and counts as without them.

Compiling takes most of the time here, so there is one small network, compiled once for each test.
"""

from __future__ import annotations

import pytest
import torch
from helpers import (
    FLOATING,
    INTEGERS,
    METHODS,
    SMALL_CALLS,
    assert_same_bits,
    bits_of,
    feature_map,
    images,
    small_network,
    special_values,
    with_exact_sums,
)
from torch import nn
from torch.export import Dim

import torch_ebpc
from torch_ebpc import Quantizer, compression_report, insert_compression, reset_compression

pytestmark = [
    pytest.mark.usefixtures("without_gradients"),
    pytest.mark.compiles,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
]

OPS = torch.ops.torch_ebpc
NOTEBOOK = Quantizer(bits=8, rounding="truncate", scale="calibrated", headroom=0.75)


@pytest.fixture(autouse=True, scope="module")
def _compiled_by_no_other_run(tmp_path_factory):
    """The cache of an earlier run would hide that something does not compile any more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield


def assert_same_as_eager(model, inserted, inputs):
    """Bits and counts of ``model``, made of ``inserted``, on all ``inputs``."""
    reset_compression(inserted)
    expected = [inserted(x) for x in inputs]
    counts = [row.as_record() for row in compression_report(inserted).rows]
    reset_compression(model)
    for x, output in zip(inputs, expected, strict=True):
        assert_same_bits(model(x), output)
    assert [row.as_record() for row in compression_report(model).rows] == counts
    assert [row["name"] for row in counts] == SMALL_CALLS


def network():
    """Layers that Inductor computes with the bits of eager mode."""
    return with_exact_sums(small_network()[:4])


# ---- Models --------------------------------------------------------------------------------------


def test_inductor_with_static_shapes():
    inserted = insert_compression(network(), example_inputs=images())
    compiled = torch.compile(inserted, fullgraph=True, dynamic=False)
    assert_same_as_eager(compiled, inserted, [images(), images() - 1])


def test_inductor_with_dynamic_shapes_and_fixed_point():
    inserted = insert_compression(network(), example_inputs=images(), quantizer=NOTEBOOK)
    compiled = torch.compile(inserted, fullgraph=True, dynamic=True)
    compiled(images(3))
    with torch.compiler.set_stance("fail_on_recompile"):
        inputs = [images(2), images(7), torch.randn(3, 3, 20, 20)]
        assert_same_as_eager(compiled, inserted, inputs)


@pytest.mark.parametrize("quantizer", [None, Quantizer(bits=5, signed=False)], ids=repr)
@pytest.mark.parametrize("strict", [False, True])
def test_export_with_a_dynamic_batch(strict, quantizer):
    inserted = insert_compression(network(), example_inputs=images(), quantizer=quantizer)
    program = torch.export.export(
        inserted, (images(),), dynamic_shapes=({0: Dim("batch")},), strict=strict
    )
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert {"torch_ebpc.compress.default", "torch_ebpc.decompress.default"} <= called
    assert_same_as_eager(program.module(), inserted, [images(1), images(2), images(9)])


def test_an_exported_program_is_saved_and_loaded(tmp_path):
    inserted = insert_compression(network(), example_inputs=images())
    program = torch.export.export(inserted, (images(),), dynamic_shapes=({0: Dim("batch")},))
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    assert_same_as_eager(loaded, inserted, [images(4)])


def test_an_aotinductor_package_with_a_dynamic_batch(aotinductor_package):
    path, inserted = aotinductor_package
    model = torch._inductor.aoti_load_package(str(path))
    for count in (2, 3, 9):  # eager mode has another convolution for 1
        assert_same_bits(model(images(count)), inserted(images(count)))


def test_gradients_of_a_compiled_model_are_those_of_the_plain_model():
    plain = network()
    x = images().requires_grad_()
    compiled = torch.compile(insert_compression(plain), fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(compiled(x).square().sum(), [x, *compiled.parameters()])
    expected = torch.autograd.grad(plain(x).square().sum(), [x, *plain.parameters()])
    assert len(found) == 11
    for gradient, other in zip(found, expected, strict=True):
        assert gradient.abs().sum() > 0
        assert_same_bits(gradient, other)


# ---- Functions -----------------------------------------------------------------------------------


def test_every_bit_pattern_passes_through_inductor():
    @torch.compile(fullgraph=True)
    def there_and_back(maps):
        return [OPS.decompress(OPS.compress(x), x.shape, x.dtype) for x in maps]

    maps = [feature_map(dtype, (3, 5, 7)) for dtype in INTEGERS]
    maps += [special_values(dtype) for dtype in FLOATING]
    for x, found in zip(maps, there_and_back(maps), strict=True):
        assert_same_bits(found, x)


def in_eager(function):
    return torch.compile(function, fullgraph=True, backend="aot_eager")


def test_compressing_compiles():
    x = feature_map(torch.int16, (4, 500))
    compress = in_eager(lambda x: torch_ebpc.compress(x, block_size=16, base="reused"))
    assert torch.equal(compress(x), torch_ebpc.compress(x, block_size=16, base="reused"))


@pytest.mark.parametrize("method", METHODS)
def test_counting_compiles(method):
    x = feature_map(torch.int16, (4, 500))
    assert in_eager(lambda x: torch_ebpc.count_bits(x, method))(x) == torch_ebpc.count_bits(
        x, method
    )
    by_row = in_eager(lambda x: torch_ebpc.count_transmission_bits(x, method, transmission_dims=1))
    assert torch.equal(
        by_row(x), torch_ebpc.count_transmission_bits(x, method, transmission_dims=1)
    )


def test_encoding_compiles():
    def encode(x):
        streams = torch_ebpc.encode(x)
        return streams.zero_stream, streams.plane_stream, streams.bits

    x = feature_map(torch.int16, (4, 500))
    zero_stream, plane_stream, bits = encode(x)
    found = in_eager(encode)(x)
    assert torch.equal(found[0], zero_stream)
    assert torch.equal(found[1], plane_stream)
    assert found[2] == bits


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch_ebpc.decompress(torch_ebpc.compress(x)) + 1,
        lambda x: x * torch_ebpc.inspect(torch_ebpc.compress(x)).segments,
        lambda x: torch_ebpc.decode(torch_ebpc.encode(x)) + 1,
    ],
    ids=["decompress", "inspect", "decode"],
)
def test_what_reads_dtype_or_shape_out_of_bytes_breaks_the_graph_and_goes_on(function):
    x = feature_map(torch.int16, (4, 500))
    found = torch.compile(function, backend="aot_eager")(x)
    assert torch.equal(bits_of(found), bits_of(function(x)))
    torch.compiler.reset()
    with pytest.raises(
        Exception, match=r"data-dependent|does not support running with fake tensors"
    ):
        in_eager(function)(x)


def test_the_errors_of_compiled_operators_name_the_argument():
    compress = in_eager(lambda x: torch_ebpc.compress(x, block_size=65))
    with pytest.raises(RuntimeError, match="block_size"):
        compress(torch.zeros(3))


def test_what_cannot_be_compressed_is_left_alone_in_compiled_code():
    inserted = insert_compression(nn.Sequential(nn.ReLU()))
    x = torch.randn(3, dtype=torch.float64)
    assert_same_bits(in_eager(inserted)(x).view(torch.int32), x.relu().view(torch.int32))
    assert compression_report(inserted).never_called == ["0"]
