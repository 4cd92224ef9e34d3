"""What a meter cannot measure is left out by name; derivatives go through what it inserts."""

from __future__ import annotations

import threading
import warnings

import pytest
import torch
from helpers import about, assert_same_bits
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functionalize, grad, hessian, jvp, vjp, vmap

from torch_ebpc import CompressionMeter, FloatCast, Quantizer


def nested(layout):
    return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=layout)


TENSORS = {
    "a nested tensor": lambda: nested(torch.strided),
    "a NestedTensor, which": lambda: nested(torch.jagged),
    "a MaskedTensor, which": lambda: torch.masked.masked_tensor(torch.ones(1), torch.ones(1) > 0),
    "of layout sparse_coo": lambda: torch.eye(3).to_sparse(),
    "of layout sparse_csr": lambda: torch.eye(3).to_sparse_csr(),
    "of layout _mkldnn": lambda: torch.ones(3).to_mkldnn(),
    "on meta, not on the CPU": lambda: torch.ones(3, device="meta"),
    "of more than 24 dimensions": lambda: torch.ones([1] * 25),
    "of dtype bits8": lambda: torch.ones(3, dtype=torch.uint8).view(torch.bits8),
    "of dtype float8_e8m0fnu": lambda: torch.ones(3).to(torch.float8_e8m0fnu),
}


def tensor_of(why):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # prototypes
        return TENSORS[why]()


@pytest.mark.parametrize("mode", ["insert", "observe"])
@pytest.mark.parametrize("why", TENSORS)
def test_what_cannot_be_measured_is_passed_on_and_named(why, mode):
    model = nn.Sequential(nn.Identity(), nn.Identity())
    x = tensor_of(why)
    with CompressionMeter(model, nn.Identity, mode=mode) as meter:
        with meter.calibrate():
            assert model(x) is x
        assert model(x) is x
    report = meter.report()
    assert (report.rows, report.never_called) == ([], [])
    assert list(report.left_out) == ["0#1", "1#1"]
    expected = "a nested tensor" if "Nested" in why else why
    assert report.left_out["0#1"].startswith(expected)
    line = next(line for line in repr(report).splitlines() if "left out" in line)
    assert line.endswith(": 0#1, 1#1")


def test_inputs_that_are_indices_are_measured_as_words_of_32_bits():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2))
    with CompressionMeter(model, [nn.Embedding, nn.Linear], of="inputs", mode="insert") as meter:
        model(torch.tensor([[1, 2]]))
    report = meter.report()
    assert [row.name for row in report.rows] == ["0#1", "1#1"]
    assert (report.rows[0].dtype, report.rows[0].values, report.rows[0].word_bits) == (
        "int64",
        4,
        32,
    )
    assert report.rows[0].zeros == 2  # the upper halves
    assert report.left_out == {}


@pytest.mark.parametrize("quantizer", [Quantizer(), FloatCast(torch.float16)])
def test_a_quantizer_leaves_integers_out(quantizer):
    model = nn.Sequential(nn.Identity())
    with CompressionMeter(model, nn.Identity, quantizer=quantizer, mode="insert") as meter:
        for dtype in (torch.int8, torch.int64, torch.complex64):
            x = torch.ones(2, 3, dtype=dtype)
            assert model(x) is x
        for dtype in (torch.float64, torch.float8_e4m3fn, torch.bfloat16):
            assert model(torch.ones(2, 3).to(dtype)).dtype == dtype
    report = meter.report()
    assert report.left_out == {"0#1": "of dtype int8, where a quantizer needs floating point"}
    assert report.rows[0].images == 6


@pytest.mark.parametrize("mode", ["insert", "observe"])
def test_an_encoder_with_a_padding_mask_runs_as_without_a_meter(mode):
    """In evaluation its layers work on nested tensors, which have no sizes."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encoder = nn.TransformerEncoder(layer, 2).eval()
        x, padding = torch.rand(2, 5, 16), torch.arange(10).reshape(2, 5) > 7
        with torch.no_grad():
            plain = encoder(x, src_key_padding_mask=padding)
            with CompressionMeter(encoder, nn.Linear, mode=mode) as meter:
                found = encoder(x, src_key_padding_mask=padding)
    assert torch.equal(found, plain)
    assert set(meter.report().left_out.values()) == {"a nested tensor"}


@pytest.mark.parametrize("make", ["expanded", "negated", "parameter", "subclass"])
def test_views_and_plain_subclasses_are_measured(make):
    class Named(torch.Tensor):
        pass

    x = {
        "expanded": torch.rand(2, 1).expand(2, 40),
        "negated": torch.rand(2, 3, dtype=torch.complex64).conj().imag,
        "parameter": nn.Parameter(torch.rand(2, 3)),
        "subclass": torch.rand(2, 3).as_subclass(Named),
    }[make]
    model = nn.Sequential(nn.Identity())
    with CompressionMeter(model, nn.Identity, verify=True, mode="insert") as meter:
        found = model(x)
    assert_same_bits(found.detach().resolve_neg(), x.detach().resolve_neg())
    assert meter.report().rows[0].verified_values == x.numel()


def test_what_is_traced_without_data_is_left_out():
    model = nn.Sequential(nn.ReLU())
    with CompressionMeter(model, mode="insert") as meter:
        with FakeTensorMode():
            model(torch.rand(3))
        torch.export.export(model, (torch.rand(3, 3),))
    reasons = meter.report().left_out  # of as many calls as PyTorch makes to trace them
    assert reasons["0#1"] == "a FakeTensor, which has no plain memory"
    assert set(reasons.values()) == {reasons["0#1"]}
    with CompressionMeter(model, mode="insert") as meter:
        functionalize(model)(torch.rand(3))
    assert meter.report().left_out == {"0#1": "a tensor of torch.func.functionalize"}


# ---- torch.func ----------------------------------------------------------------------------------


def model_and_point():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU()), torch.rand(4)


@pytest.mark.parametrize("mode", ["insert", "observe"])
@pytest.mark.parametrize(
    "transform",
    [
        lambda f, x: grad(lambda y: f(y).square().sum())(x),
        lambda f, x: torch.stack(jvp(f, (x,), (x,))),
        lambda f, x: vjp(f, x)[1](x)[0],
        lambda f, x: hessian(lambda y: f(y).square().sum())(x),
        lambda f, x: torch.autograd.functional.jacobian(f, x),
    ],
    ids=["grad", "jvp", "vjp", "hessian", "jacobian"],
)
def test_derivatives_of_a_measured_model_are_those_of_the_model(transform, mode):
    model, x = model_and_point()
    expected = transform(model, x)
    with CompressionMeter(model, mode=mode, verify=True) as meter:
        assert torch.equal(transform(model, x), expected)
    assert meter.report().rows[0].verified_values > 0


@pytest.mark.parametrize("mode", ["insert", "observe"])
def test_a_batch_of_vmap_is_left_out_also_inside_of_a_derivative(mode):
    model, x = model_and_point()
    batch = torch.stack([x, 2 * x])

    def gradient(y):
        return grad(lambda z: model(z).sum())(y)

    for function in (model, gradient):
        expected = vmap(function)(batch)
        with CompressionMeter(model, mode=mode) as meter:
            assert torch.equal(vmap(function)(batch), expected)
        assert meter.report().left_out == {"1#1": "a batch of torch.func.vmap"}


# ---- One row, one dtype --------------------------------------------------------------------------


@pytest.mark.parametrize("first", [torch.float32, torch.float16])
def test_words_of_two_dtypes_make_no_common_row(first):
    model = nn.Sequential(nn.ReLU())
    with CompressionMeter(model, mode="observe") as meter:
        model(torch.rand(2, 4).to(first))
        with pytest.raises(ValueError, match=about("0#1")):
            model(torch.rand(2, 4).bfloat16())
    (row,) = meter.report().rows
    assert (row.images, row.dtype) == (2, str(first)[6:])


def test_a_cast_that_overflows_is_counted_and_named():
    model = nn.Sequential(nn.ReLU())
    with CompressionMeter(model, quantizer=FloatCast(torch.float16), mode="insert") as meter:
        y = model(torch.tensor([[1e5, 1.0, float("inf")]]))
    assert y.tolist() == [[float("inf"), 1.0, float("inf")]]
    report = meter.report()
    assert report.rows[0].overflows == 1
    assert report.footing().endswith(": 0#1 1")


def test_calls_in_several_threads_lose_no_count():
    model = nn.Sequential(nn.ReLU())
    x = torch.rand(1, 4)
    with CompressionMeter(model, mode="observe", methods=["none"]) as meter:
        calls = [threading.Thread(target=lambda: [model(x) for _ in range(50)]) for _ in range(4)]
        for call in calls:
            call.start()
        for call in calls:
            call.join()
    assert sum(row.images for row in meter.report().rows) == 200
