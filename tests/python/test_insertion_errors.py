"""What insert_compression and its reports refuse, and with which message."""

from __future__ import annotations

import pytest
import torch
from small_models import images, small_network
from torch import nn

from torch_ebpc import Quantizer, compression_report, insert_compression, reset_compression

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@pytest.fixture
def network():
    return small_network()


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ({"layers": nn.GELU}, ValueError, r"layers: no module of the model is a GELU"),
        ({"layers": "9"}, ValueError, r"layers: the model has no module named '9'"),
        ({"block_size": 1}, ValueError, r"block_size must be from 2 to 64, got 1"),
        ({"base": "kept"}, ValueError, r"base must be 'sent' or 'reused', got 'kept'"),
        ({"quantizer": 8}, TypeError, r"quantizer must be a Quantizer or None, got int"),
        (
            {"quantizer": Quantizer(scale="calibrated")},
            ValueError,
            r"example_inputs must be given to calibrate",
        ),
        ({"example_inputs": 3}, TypeError, r"example_inputs must be a tensor or a sequence.*int"),
        (
            {"example_inputs": torch.randn(1, 3, 12, 12) / 0, "quantizer": Quantizer()},
            ValueError,
            r"^1#1: the output must be finite, got (inf|nan)",
        ),
    ],
)
def test_wrong_arguments_are_named(network, arguments, exception, message):
    before = repr(network)
    with pytest.raises(exception, match=message):
        insert_compression(network, **arguments, inplace=True)
    assert repr(network) == before


def test_compression_behind_compression_is_refused(network):
    inserted = insert_compression(network, "2.relu")
    with pytest.raises(ValueError, match=r"layers: '2\.relu\.layer' has compression behind it"):
        insert_compression(inserted)
    both = insert_compression(inserted, "1", block_size=16)
    both(images())
    assert len(compression_report(both).rows) == 2


class TwoOutputs(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize("example_inputs", [None, torch.zeros(1)])
def test_an_output_that_is_no_tensor_is_an_error_that_names_the_layer(example_inputs):
    model = nn.Sequential(TwoOutputs())
    with pytest.raises(TypeError, match=r"^0(#1)?: the output must be a tensor, got tuple$"):
        insert_compression(model, TwoOutputs, example_inputs=example_inputs)(torch.zeros(1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.bool])
def test_an_unsupported_dtype_is_an_error_that_names_the_layer(dtype):
    model = nn.Sequential(nn.Identity())
    x = torch.zeros(2, 3, dtype=dtype)
    message = rf"the output's dtype must be one of int8, .*, got {dtype}$"
    with pytest.raises(TypeError, match=rf"^0: {message}"):
        insert_compression(model, nn.Identity)(x)
    with pytest.raises(TypeError, match=rf"^0#1: {message}"):
        insert_compression(model, nn.Identity, example_inputs=x)
    with pytest.raises(RuntimeError, match=r"TypeError: input's dtype must be one of int8, "):
        torch.jit.script(insert_compression(model, nn.Identity))(x)


@pytest.mark.parametrize("scripted", [False, True])
def test_what_cannot_be_quantized_is_an_error(scripted):
    errors = (RuntimeError, torch.jit.Error)

    def inserted(quantizer):
        model = insert_compression(nn.Sequential(nn.Identity()), nn.Identity, quantizer=quantizer)
        return torch.jit.script(model) if scripted else model

    for value in (float("nan"), float("inf")):
        for scale in ("batch", 1.0):
            with pytest.raises(errors, match="x must be finite to be quantized"):
                inserted(Quantizer(scale=scale))(torch.tensor([1.0, value]))
    with pytest.raises(errors, match="x must not be negative for unsigned words"):
        inserted(Quantizer(signed=False))(torch.tensor([1.0, -1.0]))
    assert torch.equal(inserted(Quantizer())(torch.zeros(2, 3)), torch.zeros(2, 3))
    assert inserted(Quantizer())(torch.empty(0, 3)).shape == (0, 3)


def test_integers_are_not_quantized_again():
    model = insert_compression(nn.Sequential(nn.Identity()), nn.Identity, quantizer=Quantizer())
    with pytest.raises(TypeError, match=r"^0: a quantizer needs a floating-point map, got torch"):
        model(torch.zeros(2, dtype=torch.int8))


def test_maps_of_two_dtypes_have_no_common_row():
    inserted = insert_compression(nn.Sequential(nn.ReLU()))
    inserted(torch.randn(2, 3))
    inserted(torch.randn(2, 2).bfloat16())
    with pytest.raises(ValueError, match="0: maps of different dtypes were counted together"):
        compression_report(inserted)


def test_a_report_needs_compression(network):
    for function in (compression_report, reset_compression):
        with pytest.raises(ValueError, match="model has no compression in it"):
            function(network)
        with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got int"):
            function(3)
