"""Taps and meters on models that run as graphs: TorchScript and exported programs."""

from __future__ import annotations

import importlib
import threading
import warnings

import pytest
import torch
from helpers import SMALL_CALLS, about, images, small_network
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import torch_ebpc


@pytest.fixture(autouse=True)
def _torchscript_is_deprecated():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*deprecated")
        yield


def as_graph(kind: str, model: nn.Module, folder, inputs: Tensor | None = None) -> nn.Module:
    """The model, through a file."""
    inputs = images() if inputs is None else inputs
    if kind == "exported":
        torch.export.save(torch.export.export(model, (inputs,)), folder / "model.pt2")
        return torch.export.load(folder / "model.pt2").module()
    script = torch.jit.trace(model, inputs) if kind == "traced" else torch.jit.script(model)
    if kind == "frozen":
        script = torch.jit.freeze(script)
    torch.jit.save(script, folder / "model.pt")
    return torch.jit.load(folder / "model.pt")


KINDS = ("scripted", "traced", "exported")


def measured(model, **options):
    with (
        torch.inference_mode(),
        torch_ebpc.CompressionMeter(model, **{"mode": "insert"} | options) as meter,
    ):
        outputs = [model(images()) for _ in range(3)]  # TorchScript optimizes at the second
    return meter.report(), outputs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quantizer", [None, torch_ebpc.Quantizer(bits=4)])
def test_a_graph_is_measured_as_the_model_that_it_was_made_of(tmp_path, kind, quantizer):
    model = small_network()
    expected, expected_outputs = measured(model, quantizer=quantizer)
    graph = as_graph(kind, model, tmp_path)
    with torch.inference_mode():
        plain = graph(images())
    report, outputs = measured(
        graph, layers=(), functions=[torch.relu], quantizer=quantizer, verify=True
    )
    assert [row.name for row in report.rows] == SMALL_CALLS
    assert report.never_called == []
    for row, expected_row in zip(report.rows, expected.rows, strict=True):
        assert row.transmission_bits == expected_row.transmission_bits
        assert (row.images, row.shape, row.zeros) == (6, expected_row.shape, expected_row.zeros)
    # The decoded maps are what the next layers ran on, in place too.
    for output, expected_output in zip(outputs, expected_outputs, strict=True):
        assert torch.equal(output, expected_output)
    assert torch.equal(outputs[0], plain) == (quantizer is None)
    with torch.inference_mode():
        assert torch.equal(graph(images()), plain)  # nothing is left behind


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_and_several_functions_are_tapped(tmp_path, kind):
    def tapped_shapes(model, **options):
        shapes = []
        with (
            torch.inference_mode(),
            torch_ebpc.Taps(
                model, lambda tap, x: shapes.append((tap.name, x.shape)), of="inputs", **options
            ),
        ):
            model(images())
        return shapes

    model = small_network()
    expected = tapped_shapes(model, layers=nn.ReLU, functions=[torch.add])
    assert ("2.add#1", (2, 4, 10, 10)) in expected
    graph = as_graph(kind, model, tmp_path)
    assert tapped_shapes(graph, functions=[torch.relu, torch.add]) == expected


class Functional(nn.Module):
    """Functional ReLUs."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.linear(F.relu(self.linear(x))))


class Looping(Functional):
    """One of them in a loop."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.linear(x))
        for _ in range(x.shape[0]):
            x = torch.relu(self.linear(x))
        return torch.relu(x)


@pytest.mark.parametrize("kind", KINDS)
def test_functional_calls_have_the_name_of_their_module_and_operation(tmp_path, kind):
    graph = as_graph(kind, nn.Sequential(Functional()), tmp_path, torch.ones(2, 4))
    assert names_of_calls(graph, torch.ones(2, 4)) == ["0.relu#1", "0.relu#2"] * 3


def names_of_calls(model: nn.Module, inputs: Tensor) -> list[str]:
    names: list[str] = []
    with torch_ebpc.Taps(model, lambda tap, x: names.append(tap.name), functions=[torch.relu]):
        for _ in range(3):
            model(inputs)
    return names


def test_calls_in_loops_are_numbered_in_the_order_of_execution(tmp_path):
    graph = as_graph("scripted", Looping(), tmp_path)
    assert names_of_calls(graph, torch.ones(3, 4)) == [f"relu#{i}" for i in range(1, 6)] * 3


def test_calls_of_a_frozen_graph_are_numbered(tmp_path):
    graph = as_graph("frozen", small_network(), tmp_path)
    with torch.inference_mode():
        assert names_of_calls(graph, images()) == [f"relu#{i}" for i in range(1, 6)] * 3


class Wasteful(nn.Module):
    """A call without a use, and one that is done twice."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        torch.relu(x + 1)
        return self.relu(x) + torch.relu(x)


def test_names_are_not_guessed_where_calls_may_be_optimized_away(tmp_path):
    names = names_of_calls(as_graph("scripted", Wasteful(), tmp_path), torch.ones(3))
    assert set(names) <= {"relu#1", "relu#2", "relu#3"}


def test_gradients_pass_through_a_measured_script(tmp_path):
    model = small_network()
    graph = as_graph("scripted", model, tmp_path)
    gradients = []
    for measured_model, options in (
        (model, {"layers": nn.ReLU}),
        (graph, {"layers": (), "functions": [torch.relu]}),
    ):
        x = images().requires_grad_()
        with torch_ebpc.CompressionMeter(measured_model, **{"mode": "insert"} | options):
            measured_model(x).sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)


def test_a_model_within_another_is_tapped_alone(tmp_path):
    graph = as_graph("scripted", small_network(), tmp_path)
    outer = nn.Sequential(nn.ReLU(), graph)
    names: list[str] = []
    with torch_ebpc.Taps(graph, lambda tap, x: names.append(tap.name), functions=[torch.relu]):
        torch.relu(outer(images()))
    assert names == SMALL_CALLS


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_work_on_a_graph_is_refused(tmp_path, kind):
    graph = as_graph(kind, small_network(), tmp_path)
    with pytest.raises(TypeError, match=about("model")):
        torch_ebpc.CompressionMeter(graph, mode="insert")
    if kind != "exported":
        with pytest.raises(ValueError, match=about("of")):
            torch_ebpc.Taps(graph, print, functions=[torch.relu], of="gradients")
    with pytest.raises(ValueError, match=about("layers")):
        torch_ebpc.Taps(graph, print, lambda name, module: True, functions=[torch.relu])


@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_leaves_the_block_as_itself_and_nothing_behind(tmp_path, kind):
    graph = as_graph(kind, small_network(), tmp_path)

    def fail(tap, x):
        raise KeyError(tap.name)

    taps = torch_ebpc.Taps(graph, fail, functions=[torch.relu])
    for _ in range(2):
        with pytest.raises(KeyError, match="1#1"), taps:
            graph(images())
        assert not taps.entered
        graph(images())
    with taps, pytest.raises((KeyError, RuntimeError)):  # handled within the block
        graph(images())
    quantizer = torch_ebpc.Quantizer(signed=False, scale="calibrated")
    meter = torch_ebpc.CompressionMeter(
        graph, functions=[torch.relu], quantizer=quantizer, mode="insert"
    )
    with pytest.raises(ValueError, match=about("1#1")), meter:
        graph(images())


def test_a_symbolically_traced_module_keeps_its_hooks():
    traced = torch.fx.symbolic_trace(small_network())
    names: list[str] = []
    with torch_ebpc.Taps(traced, lambda tap, x: names.append(tap.name)):
        traced(images())
    assert names == SMALL_CALLS


# ---- Grad modes ----------------------------------------------------------------------------------

MODES = (torch.inference_mode, torch.no_grad, torch.enable_grad)
COMPOSITE = [torch.conv2d, F.linear, torch.relu, torch.add]


def tapped_in(mode, graph, functions, **options):
    names: list[str] = []
    with (
        mode(),
        torch_ebpc.Taps(
            graph, lambda tap, x: names.append(tap.name), functions=functions, **options
        ),
    ):
        for _ in range(2):
            graph(images())
    return names


def test_what_an_exported_program_calls_is_seen_in_every_grad_mode(tmp_path):
    model = small_network()
    expected = tapped_in(torch.no_grad, model, [torch.add], layers=(nn.Conv2d, nn.ReLU, nn.Linear))
    graph = as_graph("exported", model, tmp_path)
    for mode in MODES:
        assert tapped_in(mode, graph, COMPOSITE) == expected
        assert tapped_in(mode, graph, COMPOSITE, of="inputs") == expected
    assert tapped_in(torch.no_grad, graph, [torch.conv2d]) == [
        name for name in expected if "conv" in name or name == "0#1"
    ]


@pytest.mark.parametrize("kind", ["scripted", "traced"])
def test_what_torchscript_takes_apart_outside_of_inference_mode_is_refused_there(tmp_path, kind):
    model = small_network()
    expected = tapped_in(torch.no_grad, model, [torch.add], layers=(nn.Conv2d, nn.ReLU, nn.Linear))
    graph = as_graph(kind, model, tmp_path)
    functions = [*COMPOSITE, torch._convolution] if kind == "traced" else COMPOSITE
    names = tapped_in(torch.inference_mode, graph, functions)
    if kind == "traced":  # where it is no module's own operation
        names = [name.removesuffix("._convolution#1") + "#1" * ("_conv" in name) for name in names]
    assert names == expected
    for mode in (torch.no_grad, torch.enable_grad):
        with pytest.raises(ValueError, match=about("functions")):
            tapped_in(mode, graph, functions)
        assert tapped_in(mode, graph, [torch.relu]) == [
            n for n in expected if "relu" in n or n == "1#1"
        ]


def test_gradients_of_an_exported_program_are_those_of_the_model(tmp_path):
    model = small_network()
    graph = as_graph("exported", model, tmp_path)
    found = []
    for tapped, options in ((model, {"layers": nn.ReLU}), (graph, {"functions": [torch.relu]})):
        gradients: dict[str, Tensor] = {}
        with torch_ebpc.Taps(
            tapped, lambda tap, g, to=gradients: to.update({tap.name: g}), of="gradients", **options
        ):
            tapped(images()).square().sum().backward()
        found.append(gradients)
    assert list(found[0]) == list(found[1]) == SMALL_CALLS[::-1]
    for name in SMALL_CALLS:
        torch.testing.assert_close(found[0][name], found[1][name])


def test_gradients_pass_through_what_an_exported_program_replaces_in_place(tmp_path):
    model = small_network()
    graph = as_graph("exported", model, tmp_path)
    gradients = []
    for tapped, options in (
        (model, {"layers": nn.ReLU}),
        (graph, {"layers": (), "functions": [torch.relu]}),
    ):
        x = images().requires_grad_()
        with torch_ebpc.CompressionMeter(
            tapped, quantizer=torch_ebpc.Quantizer(bits=4), **{"mode": "insert"} | options
        ):
            tapped(x).square().sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)


def test_two_blocks_on_one_script_may_overlap(tmp_path):
    graph = as_graph("scripted", small_network(), tmp_path)
    names: list[str] = []
    first, second = (
        torch_ebpc.Taps(graph, lambda tap, x: names.append(tap.name), functions=[torch.relu])
        for _ in range(2)
    )
    first.__enter__()
    second.__enter__()
    graph(images())
    assert sorted(names) == sorted(SMALL_CALLS * 2)
    first.__exit__(None, None, None)
    graph(images())
    second.__exit__(None, None, None)
    assert sorted(names) == sorted(SMALL_CALLS * 3)
    assert torch.utils._python_dispatch._get_current_dispatch_mode_stack() == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_in_other_threads_is_tapped(tmp_path, kind):
    graph = as_graph(kind, small_network(), tmp_path)
    with torch_ebpc.CompressionMeter(
        graph, layers=(), functions=[torch.relu], mode="observe"
    ) as meter:
        for _ in range(3):  # one by one, since TorchScript optimizes itself in the first two
            thread = threading.Thread(target=graph, args=(images(),))
            thread.start()
            thread.join()
    rows = meter.report().rows
    assert sorted(row.name for row in rows) == SMALL_CALLS
    assert {row.images for row in rows} == {6}


# ---- Quantized programs --------------------------------------------------------------------------


class Quantizing(nn.Module):
    """What PT2E makes of a convolution and a ReLU, but for the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("scale", torch.tensor([0.125]))
        self.register_buffer("point", torch.tensor([-7]))

    def forward(self, x: Tensor) -> Tensor:
        quantized = torch.ops.quantized_decomposed
        limits = (-128, 127, torch.int8)
        x = quantized.quantize_per_tensor(x, 0.125, -3, *limits)
        x = quantized.dequantize_per_tensor(x, 0.125, -3, *limits)
        x = self.conv(x).relu()
        named = {"quant_min": -128, "quant_max": 127, "dtype": torch.int8}
        x = quantized.quantize_per_tensor.default(x, 0.125, zero_point=-128, **named)
        x = quantized.dequantize_per_tensor.default(x, 0.125, -128, *limits)
        x = quantized.quantize_per_tensor.tensor(x, self.scale, self.point, *limits)
        return quantized.dequantize_per_tensor.tensor(x, self.scale, self.point, *limits)


@pytest.mark.parametrize("kind", ["python", "fx", "exported"])
@pytest.mark.parametrize("of", ["outputs", "inputs"])
def test_quantized_integers_bring_their_zero_point(tmp_path, kind, of):
    importlib.import_module("torch.ao.quantization.fx._decomposed")
    model = Quantizing().eval()
    if kind == "fx":
        model = torch.fx.symbolic_trace(model)
    elif kind == "exported":
        model = as_graph(kind, model, tmp_path)
    function = f"{'de' if of == 'inputs' else ''}quantize_per_tensor"
    functions = [getattr(torch.ops.quantized_decomposed, function)]
    report, _ = measured(model, layers=(), functions=functions, of=of, mode="observe", verify=True)
    assert [row.name for row in report.rows] == [f"{function}#{call}" for call in (1, 2, 3)]
    assert [row.zero for row in report.rows] == [-3, -128, -7]
    assert {row.dtype for row in report.rows} == {"int8"}
    assert report.rows[0].zeros == 3 * (images().mul(8).round() == 0).sum()
    assert report.rows[1].zeros == report.rows[2].zeros > 0
    assert f"{function}#1 -3, {function}#2 -128, {function}#3 -7" in repr(report)


def test_what_is_made_of_floating_point_has_no_zero_point():
    class Fake(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ops.aten.fake_quantize_per_tensor_affine.default(x, 0.5, 3, -128, 127)

    function = torch.fake_quantize_per_tensor_affine
    report, _ = measured(Fake(), layers=(), functions=[function], mode="observe")
    assert report.rows[0].zero == 0
