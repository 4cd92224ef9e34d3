"""With the rest of PyTorch: modes, transforms, other kinds of tensors, saving, quantized models."""

from __future__ import annotations

import copy
import io
import pickle
import warnings

import pytest
import torch
from helpers import (
    DTYPES,
    METHODS,
    SMALL_CALLS,
    about,
    assert_same_bits,
    feature_map,
    images,
    small_network,
)
from safetensors.torch import load, save
from torch import nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.func import grad, hessian, jvp, vjp, vmap

import torch_ebpc

# ---- Modes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_any_grad_mode_gives_the_same_bytes(mode):
    x = feature_map(torch.float32, (2, 3, 50))
    packed = torch_ebpc.compress(x)
    with mode():
        assert torch.equal(torch_ebpc.compress(x), packed)
        inside = torch_ebpc.decompress(packed)
    assert_same_bits(inside, x)
    assert inside.is_inference() == (mode is torch.inference_mode)
    assert torch.equal(torch_ebpc.compress(inside), packed)  # an inference tensor


@pytest.mark.parametrize("mode", ["insert", "observe"])
def test_the_meter_measures_what_autocast_makes(mode):
    model = small_network()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        plain = model(images())
        with torch_ebpc.CompressionMeter(model, mode=mode, verify=True) as meter:
            output = model(images())
    assert output.dtype == plain.dtype
    assert torch.equal(output, plain)
    report = meter.report()
    assert [row.name for row in report.rows] == SMALL_CALLS
    assert {row.word_bits for row in report.rows} == {16}


def test_autocast_leaves_compression_alone():
    x = feature_map(torch.float32, (100, 100))
    with torch.autocast("cpu", torch.bfloat16):
        assert_same_bits(torch_ebpc.decompress(torch_ebpc.compress(x)), x)
        assert torch_ebpc.count_bits(x) == torch_ebpc.encode(x).bits


# ---- torch.func ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_vmap_counts_each_sample(method, dim):
    x = feature_map(torch.int8, (4, 3, 50))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PyTorch's slow way, sample by sample, warns
        found = vmap(lambda y: torch_ebpc.count_transmission_bits(y, method), in_dims=dim)(x)
    each = [torch_ebpc.count_transmission_bits(y, method) for y in x.unbind(dim)]
    assert torch.equal(found, torch.stack(each))


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_vmap_counts_each_sample_by_several_methods(dim):
    x = feature_map(torch.int8, (4, 3, 50))
    count = torch.ops.torch_ebpc.count_methods
    found = vmap(lambda y: count(y, ",".join(METHODS), transmission_dims=1), in_dims=dim)(x)
    for index, y in enumerate(x.unbind(dim)):
        each = [torch_ebpc.count_transmission_bits(y, of, transmission_dims=1) for of in METHODS]
        assert torch.equal(found[index], torch.stack(each))


def test_vmap_codes_each_sample_and_back():
    x = feature_map(torch.int8, (4, 3, 50))
    decoded, bits = vmap(torch_ebpc.ops.round_trip, in_dims=1)(x)
    assert torch.equal(decoded, x.movedim(1, 0))
    assert torch.equal(bits, vmap(torch_ebpc.count_transmission_bits, in_dims=1)(x))


def test_vmap_counts_in_two_levels_and_with_transmissions():
    x = feature_map(torch.float32, (4, 3, 50))
    by_row = torch_ebpc.count_transmission_bits(x, transmission_dims=2)
    assert torch.equal(vmap(vmap(torch_ebpc.count_transmission_bits))(x), by_row)
    rows = vmap(lambda y: torch_ebpc.count_transmission_bits(y, transmission_dims=1))(x)
    assert torch.equal(rows, by_row)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("compress", torch_ebpc.compress),
        ("encode", torch_ebpc.encode),
        ("unpack", lambda x: torch_ebpc.decompress(x.view(torch.uint8))),
        ("open_container", lambda x: torch_ebpc.inspect(x.view(torch.uint8))),
        ("statistics", torch_ebpc.symbol_statistics),
    ],
)
def test_vmap_over_what_has_another_size_for_every_sample_says_so(name, function):
    # Of equal samples too, which PyTorch's way sample by sample would let through.
    x = torch.zeros(3, 50, dtype=torch.int8)
    with pytest.raises(NotImplementedError, match=about(f"torch.ops.torch_ebpc.{name}")):
        vmap(function)(x)


def test_vmap_over_an_int_is_pytorchs_error():
    with pytest.raises(RuntimeError, match=r"vmap: .*\.item\(\)"):
        vmap(torch_ebpc.count_bits)(torch.zeros(3, 50, dtype=torch.int8))


def packed_sum(x):
    return torch_ebpc.compress(x).sum().float()


def of_a_dual_tensor(function, x):
    with torch.autograd.forward_ad.dual_level():
        function(torch.autograd.forward_ad.make_dual(x, x))


@pytest.mark.parametrize(
    ("kind", "derivative"),
    [
        ("require grad", lambda f, x: grad(f)(x)),
        ("require grad", vjp),
        ("require grad", torch.autograd.functional.jacobian),
        ("require grad", lambda f, x: hessian(f)(x)),
        ("carry a forward-mode tangent", lambda f, x: jvp(f, (x,), (x,))),
        ("carry a forward-mode tangent", of_a_dual_tensor),
    ],
    ids=["grad", "vjp", "jacobian", "hessian", "jvp", "dual"],
)
def test_derivatives_are_refused_rather_than_zero(kind, derivative):
    with pytest.raises(ValueError, match=about(f"x must not {kind}")):
        derivative(packed_sum, torch.rand(4))


def test_counting_takes_a_tensor_with_a_tangent():
    x = torch.rand(40)
    count, tangent = jvp(torch_ebpc.count_transmission_bits, (x,), (x,))
    assert torch.equal(count, torch_ebpc.count_transmission_bits(x))
    assert not tangent.any()


# ---- Other kinds of tensors ----------------------------------------------------------------------


class Named(torch.Tensor):
    """A subclass that changes nothing."""


def test_a_plain_subclass_goes_through():
    x = feature_map(torch.float32, (3, 40)).as_subclass(Named)
    packed = torch_ebpc.compress(x)
    assert torch.equal(
        packed.as_subclass(torch.Tensor), torch_ebpc.compress(x.as_subclass(torch.Tensor))
    )
    assert_same_bits(torch_ebpc.decompress(packed), x)
    parameter = nn.Parameter(torch.zeros(30))
    assert_same_bits(torch_ebpc.decompress(torch_ebpc.compress(parameter.detach())), parameter)


def test_a_subclass_without_a_rule_for_it_is_pytorchs_error():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a prototype
        masked = torch.masked.masked_tensor(torch.ones(3), torch.tensor([True, False, True]))
        with pytest.raises(TypeError, match="MaskedTensor"):
            torch_ebpc.compress(masked)


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensors_are_refused(layout):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a prototype
        x = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=layout)
    for function in (torch_ebpc.compress, torch_ebpc.encode, torch_ebpc.count_bits):
        with pytest.raises(TypeError, match=about("x")):
            function(x)


@pytest.mark.parametrize("dtype", [torch.float8_e8m0fnu, torch.float4_e2m1fn_x2, torch.bits16])
def test_other_dtypes_have_no_bound(dtype):
    with pytest.raises(TypeError, match=about("dtype")):
        torch_ebpc.max_compressed_bytes((3,), dtype)


def test_meta_tensors_have_no_bytes():
    x = torch.zeros(3, 4, device="meta")
    for function in (
        torch_ebpc.compress,
        torch_ebpc.encode,
        torch_ebpc.count_bits,
        torch_ebpc.symbol_statistics,
    ):
        with pytest.raises(ValueError, match=about("x")):
            function(x)
    counts = torch_ebpc.count_transmission_bits(x, transmission_dims=1)
    assert (counts.shape, counts.device.type) == ((3, 2), "meta")


def test_another_default_device_changes_no_check_of_parameters():
    model = torch.nn.ReLU()
    with torch.device("meta"):
        torch_ebpc.CompressionMeter(model, mode="insert")
        torch_ebpc.save_compressed(model)
        torch_ebpc.insert_compression(model)


def test_fake_tensors_have_the_operators_shapes():
    with FakeTensorMode() as mode:
        x = torch.zeros(3, 4)
        assert torch_ebpc.count_transmission_bits(x, transmission_dims=1).shape == (3, 2)
        decompressed = torch.ops.torch_ebpc.decompress(
            torch.zeros(9, dtype=torch.uint8), [2, 3], torch.int16
        )
        assert (decompressed.shape, decompressed.dtype) == ((2, 3), torch.int16)
        with pytest.raises(DynamicOutputShapeException):
            torch_ebpc.compress(x)
    symbolic = FakeTensorMode(shape_env=torch.fx.experimental.symbolic_shapes.ShapeEnv())
    with symbolic:
        packed = torch.ops.torch_ebpc.compress(torch.zeros(3, 4))
    assert (packed.dim(), packed.dtype) == (1, torch.uint8)
    assert mode is not symbolic


# ---- Saving --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_packed_tensors_go_through_torch_save_safetensors_and_pickle(dtype):
    x = feature_map(dtype, (2, 3, 500))
    packed = torch_ebpc.compress(x)
    file = io.BytesIO()
    torch.save({"x": packed}, file)
    file.seek(0)
    ways = [
        torch.load(file, weights_only=True)["x"],
        load(save({"x": packed}))["x"],
        pickle.loads(pickle.dumps(packed)),
        copy.deepcopy(packed),
        torch.from_numpy(packed.numpy().copy()),
    ]
    for way in ways:
        assert_same_bits(torch_ebpc.decompress(way), x)


def test_models_and_reports_are_copied_and_pickled_after_a_meter():
    model = small_network()
    expected = model(images())
    before = {name: len(module._forward_hooks) for name, module in model.named_modules()}
    with torch_ebpc.CompressionMeter(model, functions=[torch.add], mode="insert") as meter:
        model(images())
    assert {name: len(module._forward_hooks) for name, module in model.named_modules()} == before
    for same in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(same(images()), expected)
    report = meter.report()
    for same in (copy.deepcopy(report), pickle.loads(pickle.dumps(report))):
        assert same.rows == report.rows
    info = torch_ebpc.inspect(torch_ebpc.compress(images()))
    assert pickle.loads(pickle.dumps(info)) == info


# ---- Quantized models ----------------------------------------------------------------------------


@pytest.fixture
def _deprecations_of_quantization():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*deprecated")
        yield


@pytest.fixture
def quantized(_deprecations_of_quantization) -> nn.Module:
    """A convolution and a fused convolution with ReLU, in quint8."""
    torch.manual_seed(3)
    model = nn.Sequential(
        torch.ao.quantization.QuantStub(),
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 4, 3),
        torch.ao.quantization.DeQuantStub(),
    ).eval()
    model.qconfig = torch.ao.quantization.get_default_qconfig("fbgemm")
    torch.ao.quantization.fuse_modules(model, [["1", "2"]], inplace=True)
    torch.ao.quantization.prepare(model, inplace=True)
    model(images(8))
    return torch.ao.quantization.convert(model)


@pytest.mark.parametrize("mode", ["insert", "observe"])
def test_a_quantized_models_maps_are_measured_by_their_integers(quantized, mode):
    outputs = {}
    with torch_ebpc.Taps(
        quantized,
        lambda tap, y: outputs.update({tap.name: (y.int_repr(), y.q_zero_point())}),
        ["1", "3"],
    ):
        expected = quantized(images())
    with torch_ebpc.CompressionMeter(
        quantized, ["1", "3"], mode=mode, verify=True, transmission="tensor"
    ) as meter:
        assert torch.equal(quantized(images()), expected)
    rows = {row.name: row for row in meter.report().rows}
    assert rows.keys() == outputs.keys() == {"1#1", "3#1"}
    for name, (integers, zero) in outputs.items():
        row = rows[name]
        assert (row.word_bits, row.zero) == (8, zero)
        assert row.bits_after("ebpc") == torch_ebpc.count_bits(integers, zero=zero)
        assert row.zeros == int((integers == zero).sum())
        assert row.verified_values == integers.numel()


@pytest.mark.usefixtures("_deprecations_of_quantization")
@pytest.mark.parametrize("dtype", [torch.qint8, torch.quint8, torch.qint32])
def test_quantized_tensors_are_refused_with_a_hint_and_their_integers_taken(dtype):
    x = torch.quantize_per_tensor(torch.randn(3, 40), 0.05, 0, dtype)
    with pytest.raises(TypeError, match=about("x")):
        torch_ebpc.compress(x)
    integers = x.int_repr()
    assert_same_bits(torch_ebpc.decompress(torch_ebpc.compress(integers)), integers)


@pytest.mark.usefixtures("_deprecations_of_quantization")
def test_maps_that_are_quantized_are_left_out_by_a_quantizer(quantized):
    quantizer = torch_ebpc.Quantizer(bits=8)
    with torch_ebpc.CompressionMeter(quantized, ["1"], quantizer=quantizer, mode="insert") as meter:
        quantized(images())
    why = "of dtype quint8, where a quantizer needs floating point"
    assert meter.report().left_out == {"1#1": why}
