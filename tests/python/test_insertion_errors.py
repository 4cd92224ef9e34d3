"""What insert_compression and its reports refuse, and with which message."""

from __future__ import annotations

import pytest
import torch
from helpers import Returns, about, images
from torch import nn

import torch_ebpc
from torch_ebpc import Quantizer, compression_report, insert_compression, reset_compression

pytestmark = [
    pytest.mark.usefixtures("without_gradients"),
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
]


@pytest.mark.parametrize(
    ("name", "arguments", "exception"),
    [
        ("layers", {"layers": nn.GELU}, ValueError),
        ("layers", {"layers": "9"}, ValueError),
        ("block_size", {"block_size": 1}, ValueError),
        ("base", {"base": "kept"}, ValueError),
        ("quantizer", {"quantizer": 8}, TypeError),
        ("example_inputs", {"quantizer": Quantizer(scale="calibrated")}, ValueError),
        ("example_inputs", {"example_inputs": 3}, TypeError),
        ("1#1", {"example_inputs": images() / 0, "quantizer": Quantizer()}, ValueError),
    ],
)
def test_wrong_arguments_are_named_and_change_nothing(network, name, arguments, exception):
    before = repr(network)
    with pytest.raises(exception, match=about(name)):
        insert_compression(network, **arguments, inplace=True)
    assert repr(network) == before


def test_compression_of_what_is_compressed_is_refused(network):
    inserted = insert_compression(network, "2.relu")
    with pytest.raises(ValueError, match=about("layers")):
        insert_compression(inserted)
    both = insert_compression(inserted, "1", block_size=16)
    both(images())
    assert len(compression_report(both).rows) == 2


def nested(x):
    return torch.nested.as_nested_tensor([x, x[:1]], layout=torch.jagged)


LEFT_ALONE = [
    (lambda x: (x, x), None),
    (lambda x: {"x": x}, None),
    (nested, None),
    (torch.Tensor.to_sparse, None),
    (torch.Tensor.double, None),
    (torch.Tensor.long, None),
    (torch.Tensor.char, Quantizer()),
]


@pytest.mark.parametrize(("make", "quantizer"), LEFT_ALONE)
def test_a_layer_whose_output_cannot_be_compressed_is_left_alone_and_named(make, quantizer):
    model = nn.Sequential(nn.ReLU(), Returns(make))
    x = torch.ones(2, 3)
    message = about("1 is left without compression")
    with pytest.warns(UserWarning, match=message):
        known = insert_compression(model, [nn.ReLU, Returns], example_inputs=x, quantizer=quantizer)
    inserted = insert_compression(model, [nn.ReLU, Returns], quantizer=quantizer)
    with pytest.warns(UserWarning, match=message):
        inserted(x)
    for each in (known, inserted):
        assert type(each(x)) is type(make(x))
        assert [row.layer for row in compression_report(each).rows] == ["0"]
    with pytest.raises(ValueError, match=about("layers")):
        insert_compression(model, Returns, example_inputs=x, quantizer=quantizer)


def test_a_dtype_of_several_words_comes_back_in_torchscript():
    # What Python leaves alone, with a warning, a program compresses; its bits are counted.
    inserted = torch.jit.script(insert_compression(nn.Sequential(nn.ReLU())))
    x = torch.linspace(-1, 1, 60, dtype=torch.float64).view(2, 30)
    assert torch.equal(inserted(x), x.relu())
    (row,) = compression_report(inserted).rows
    assert row.bits_before == 8 * x.nbytes
    assert row.bits_after("ebpc") == sum(torch_ebpc.count_bits(each) for each in x.relu())


@pytest.mark.parametrize("scripted", [False, True])
def test_what_cannot_be_quantized_is_an_error(scripted):
    errors = (RuntimeError, torch.jit.Error)

    def inserted(quantizer):
        model = insert_compression(nn.Sequential(nn.Identity()), nn.Identity, quantizer=quantizer)
        return torch.jit.script(model) if scripted else model

    for value in (float("nan"), float("inf")):
        for scale in ("batch", 1.0):
            with pytest.raises(errors, match="x must be finite"):
                inserted(Quantizer(scale=scale))(torch.tensor([1.0, value]))
    with pytest.raises(errors, match="x must not be negative"):
        inserted(Quantizer(signed=False))(torch.tensor([1.0, -1.0]))
    assert torch.equal(inserted(Quantizer())(torch.zeros(2, 3)), torch.zeros(2, 3))
    assert inserted(Quantizer())(torch.empty(0, 3)).shape == (0, 3)


@pytest.mark.parametrize(
    "transform",
    [
        lambda model, x: torch.func.grad(lambda x: model(x).sum())(x),
        lambda model, x: torch.func.jvp(model, (x,), (x,)),
        lambda model, x: torch.func.jacrev(model)(x),
        lambda model, x: torch.func.vmap(model)(x),
        lambda model, x: torch.func.vmap(torch.func.grad(lambda x: model(x).sum()))(x),
    ],
    ids=["grad", "jvp", "jacrev", "vmap", "gradients of samples"],
)
def test_function_transforms_are_refused_by_the_layers_name(transform):
    inserted = insert_compression(nn.Sequential(nn.ReLU()))
    with pytest.raises(NotImplementedError, match=about("0")):
        transform(inserted, torch.ones(2, 3))
    assert compression_report(inserted).rows == []


def test_maps_of_two_dtypes_have_no_common_row():
    inserted = insert_compression(nn.Sequential(nn.ReLU()))
    inserted(torch.randn(2, 3))
    inserted(torch.randn(2, 2).bfloat16())
    with pytest.raises(ValueError, match=about("0")):
        compression_report(inserted)


def test_a_report_needs_compression(network):
    for function in (compression_report, reset_compression):
        with pytest.raises(ValueError, match=about("model")):
            function(network)
        with pytest.raises(TypeError, match=about("model")):
            function(3)
