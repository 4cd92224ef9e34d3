"""Hooks and what is no plain Python: torch.compile, TorchScript, torch.export."""

from __future__ import annotations

import contextlib
import sys
import warnings

import pytest
import torch
import torch._dynamo
from helpers import SMALL_CALLS, about, assert_same_bits, images, tapped
from torch import nn

from torch_ebpc import CompressionMeter, Quantizer, Taps, insert_compression

pytestmark = [
    pytest.mark.usefixtures("without_gradients"),
    pytest.mark.filterwarnings("error::UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
]

COMPILED = about("the model is compiled")


def compiled(model, calls=None):
    """By the backend that compiles fastest; it notes in ``calls`` that compiled code has run."""

    def backend(graph, inputs):
        def run(*arguments):
            if calls is not None:
                calls.append(1)
            return graph.forward(*arguments)

        return run

    return torch.compile(model, backend=backend)


# ---- torch.compile -------------------------------------------------------------------------------


def test_a_compiled_model_is_measured_without_its_code_and_with_a_warning(network):
    calls = []
    model = compiled(network, calls)
    expected = model(images())
    assert calls == [1]
    with CompressionMeter(network, quantizer=Quantizer(), mode="insert") as plain:
        output = network(images())
    with pytest.warns(UserWarning, match=COMPILED):
        meter = CompressionMeter(model, quantizer=Quantizer(), mode="insert").__enter__()
    assert_same_bits(model(images()), output)
    meter.__exit__(None, None, None)
    assert [row.name for row in meter.report().rows] == SMALL_CALLS
    for row, other in zip(meter.report().rows, plain.report().rows, strict=True):
        assert row.value_bits == other.value_bits
    assert calls == [1]
    assert_same_bits(model(images()), expected)
    assert calls == [1, 1]


def test_a_model_compiled_in_place_is_measured_with_a_warning(network):
    network.compile(backend="eager")
    network(images())
    with pytest.warns(UserWarning, match=COMPILED):
        assert tapped(network, images()) == SMALL_CALLS


def test_a_model_with_a_compiled_part_keeps_the_names_of_its_layers(network):
    network[2] = compiled(network[2])
    network(images())
    with pytest.warns(UserWarning, match=COMPILED):
        assert tapped(network, images()) == SMALL_CALLS
    with pytest.warns(UserWarning, match=COMPILED):
        assert tapped(network, images(), layers=["2", "2.conv2"]) == ["2.conv2#1", "2#1"]
    with pytest.warns(UserWarning, match=COMPILED):
        assert tapped(network, images(), layers=(), functions=[torch.add]) == ["2.add#1", "3.add#1"]


def test_hooks_run_where_the_compiled_twin_of_the_model_is_called(network):
    twin = compiled(network)
    twin(images())
    assert tapped(network, lambda: twin(images())) == SMALL_CALLS
    # What would happen otherwise, or this test would show nothing.
    seen = []
    with network[1].register_forward_hook(lambda *_: seen.append(1)):
        twin(images())
    assert seen == []


def test_what_is_compiled_afterwards_is_compiled(network):
    tapped(network, images())
    calls = []
    compiled(network, calls)(images())
    assert calls == [1]


def test_what_is_first_compiled_inside_of_the_block_is_tapped_in_it_and_not_after_it(monkeypatch):
    model = nn.Sequential(nn.ReLU())
    shapes = []
    with contextlib.ExitStack() as block:
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, "torch._dynamo")  # as where nothing was compiled before
            block.enter_context(Taps(model, lambda tap, x: shapes.append(x.shape) or -x))
        twin = compiled(model)
        assert_same_bits(twin(images()), -images().relu())
    assert shapes == [images().shape]
    assert_same_bits(twin(images()), images().relu())
    assert shapes == [images().shape]


def test_compression_is_inserted_before_compiling(network):
    for model in (compiled(network), nn.Sequential(compiled(network[2]), nn.ReLU())):
        with pytest.raises(ValueError, match=about("model")):
            insert_compression(model)


# ---- TorchScript ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Taps, CompressionMeter, insert_compression])
def test_torchscript_is_refused(network, make):
    arguments = (print,) if make is Taps else ()
    for model in (torch.jit.script(network), torch.jit.trace(network, images())):
        with pytest.raises(TypeError, match=about("model")):
            make(model, *arguments)


def test_a_scripted_part_is_left_out_with_a_warning(network):
    network[2] = torch.jit.script(network[2])
    with pytest.warns(UserWarning, match=about("layers inside of 2")):
        assert tapped(network, images()) == ["1#1", "3.relu#1", "3.relu#2"]
    with pytest.warns(UserWarning, match=about("layers inside of 2")):
        inserted = insert_compression(network)
    assert_same_bits(inserted(images()), network(images()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tapped(network, images(), layers=["1"])


@pytest.mark.parametrize("layers", ["2", ["1", "2.relu"], lambda name, module: "relu" in name])
def test_scripted_layers_are_refused(network, layers):
    network[2] = torch.jit.script(network[2])
    with pytest.raises(ValueError, match=r"^layers: '2(\.relu)?' is TorchScript"):
        CompressionMeter(network, layers, mode="insert")


# ---- Graphs --------------------------------------------------------------------------------------


def test_a_graph_of_torch_export_is_refused(network):
    graph = torch.export.export(network, (images(),)).module()
    with pytest.raises(TypeError, match=about("model")):
        CompressionMeter(graph, mode="insert")
    whole = nn.Sequential(graph, nn.ReLU())
    with pytest.raises(ValueError, match=about("layers: '0.6'")):
        CompressionMeter(whole, "0.6", mode="insert")


def test_an_exported_program_is_no_module(network):
    program = torch.export.export(network, (images(),))
    with pytest.raises(TypeError, match=about("model")):
        CompressionMeter(program, mode="insert")


def test_modules_of_other_graphs_are_measured(network):
    assert tapped(torch.fx.symbolic_trace(network), images()) == [
        "1#1", "2.relu#1", "2.relu#2", "3.relu#1", "3.relu#2",
    ]  # fmt: skip
    unflattened = torch.export.unflatten(torch.export.export(network, (images(),)))
    assert tapped(unflattened, images(), layers=["1", "6"]) == ["1#1", "6#1"]


def test_functions_of_a_graph_without_modules_are_tapped():
    class Functional(nn.Module):
        def forward(self, x):
            return torch.relu(x)

    graph = torch.fx.symbolic_trace(Functional())
    assert tapped(graph, images(), layers=(), functions=[torch.relu]) == ["relu#1"]
