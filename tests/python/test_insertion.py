"""Compression inserted into a model: its bits and counts in every form of the model."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from helpers import (
    DTYPES,
    FLOATING,
    SMALL_CALLS,
    Residual,
    about,
    assert_same_bits,
    feature_map,
    images,
    python,
    saved_and_loaded,
    special_values,
)
from torch import Tensor, nn

import torch_ebpc
from torch_ebpc import (
    CompressionMeter,
    Quantizer,
    compression_report,
    insert_compression,
    reset_compression,
)

pytestmark = [
    pytest.mark.usefixtures("without_gradients"),
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
]

QUANTIZERS = [
    None,
    Quantizer(bits=8, rounding="truncate", scale="calibrated", headroom=0.75),
    Quantizer(bits=8),
    Quantizer(bits=5, signed=False, scale=0.013),
    Quantizer(bits=12),
]
quantized = pytest.mark.parametrize("quantizer", QUANTIZERS, ids=repr)


FORMS = {
    "as it is": lambda model: model,
    "copied": copy.deepcopy,
    "scripted": torch.jit.script,
    "saved and loaded": lambda model: saved_and_loaded(
        torch.jit.script(model), torch.jit.save, torch.jit.load
    ),
    "traced": lambda model: torch.jit.trace(model, images(3)),
    "traced by FX": torch.fx.symbolic_trace,
}
in_every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())


def counts_of(report):
    """All that inserted compression counts."""
    not_counted = {"encode_seconds", "decode_seconds", "transmission_bits", "transmission_words"}
    not_counted |= {"dtype", "negative_zeros", "overflows"}
    return [
        {key: value for key, value in row.as_record().items() if key not in not_counted}
        for row in report.rows
    ]


def metered(model, x, **arguments):
    """The output under a meter that inserts compression, and its report."""
    with CompressionMeter(
        model, methods=("ebpc", "zvc"), **{"mode": "insert"} | arguments
    ) as meter:
        if getattr(arguments.get("quantizer"), "scale", None) == "calibrated":
            with meter.calibrate():
                model(x)
        return model(x), meter.report()


# ---- Values and counts ---------------------------------------------------------------------------


@quantized
@in_every_form
def test_output_and_counts_are_the_meters_in_every_form(network, form, quantizer):
    x = images()
    expected, report = metered(network, x, quantizer=quantizer)
    inserted = form(insert_compression(network, example_inputs=x, quantizer=quantizer))
    reset_compression(inserted)  # tracing has run it
    assert_same_bits(inserted(x), expected)
    assert counts_of(compression_report(inserted)) == counts_of(report)
    assert [row.name for row in compression_report(inserted).rows] == SMALL_CALLS


@in_every_form
def test_without_a_quantizer_the_output_is_the_models_own(network, form):
    inserted = form(insert_compression(network))
    for x in (images(1), images(4), torch.randn(2, 3, 20, 17)):
        assert_same_bits(inserted(x), network(x))


@in_every_form
def test_counts_add_up_over_batches_of_any_size(network, form):
    code = {"block_size": 5, "max_zero_run": 4, "base": "reused"}
    inserted = form(insert_compression(network, example_inputs=images(1), **code))
    reset_compression(inserted)
    with CompressionMeter(network, methods=("ebpc", "zvc"), **{"mode": "insert"} | code) as meter:
        for x in (images(2), images(5), images(1)):
            network(x)
            inserted(x)
    assert counts_of(compression_report(inserted)) == counts_of(meter.report())


def test_the_decoders_output_goes_on(network, monkeypatch):
    def wrong(packed, shape, dtype, *others):
        return torch.full(shape, 2.0, dtype=dtype)

    inserted = insert_compression(nn.Sequential(nn.ReLU(), nn.Identity()))
    monkeypatch.setattr(torch.ops.torch_ebpc, "decompress", wrong)
    assert torch.equal(inserted(torch.ones(2, 3)), torch.full((2, 3), 2.0))


@pytest.mark.parametrize("scripted", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_and_bit_pattern_passes(dtype, scripted):
    inserted = insert_compression(nn.Sequential(nn.Identity()), nn.Identity)
    if scripted:
        inserted = torch.jit.script(inserted)
    maps = [feature_map(dtype, (3, 5, 7, 2)), feature_map(dtype, ()), feature_map(dtype, (0, 3))]
    if dtype in FLOATING:
        maps.append(special_values(dtype))
    for x in maps:
        assert_same_bits(inserted(x), x)


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.randn(2, 3, 4, 5).transpose(1, 3),
        torch.randn(1, 2, 3, 2, 2).to(memory_format=torch.channels_last_3d),
    ],
    ids=["channels_last", "transposed", "channels_last_3d"],
)
def test_strides_are_kept(x):
    found = insert_compression(nn.Sequential(nn.Identity()), nn.Identity)(x)
    assert_same_bits(found, x)
    assert found.stride() == x.stride()


class Backwards(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.ReLU()
        self.second = nn.ReLU()
        self.unused = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(self.second(x)) - 1)


def test_a_layer_that_example_inputs_do_not_call_is_not_calibrated():
    quantizer = Quantizer(scale="calibrated")
    with pytest.warns(UserWarning, match=about("unused")):
        inserted = insert_compression(Backwards(), example_inputs=images(), quantizer=quantizer)
    inserted(images())
    report = compression_report(inserted)
    assert [row.layer for row in report.rows] == ["second", "first", "second"]
    assert report.never_called == []


def test_rows_are_in_the_order_of_calls_and_not_of_definition():
    inserted = insert_compression(Backwards(), example_inputs=(torch.randn(2, 3),))
    inserted(torch.randn(2, 3))
    report = compression_report(inserted)
    assert [row.name for row in report.rows] == ["second#1", "first#1", "second#2"]
    assert report.never_called == ["unused"]


def test_without_example_inputs_a_row_is_of_all_calls_of_a_layer(network):
    inserted = torch.jit.script(insert_compression(network))
    inserted(images())
    report = compression_report(inserted)
    _, by_call = metered(network, images())
    assert [(row.name, row.call, row.shape) for row in report.rows] == [
        (layer, 0, ()) for layer in ("1", "2.relu", "3.relu")
    ]
    for row in report.rows:
        calls = [call for call in by_call.rows if call.layer == row.layer]
        assert row.values == sum(call.values for call in calls)
        assert row.bits_after("ebpc") == sum(call.bits_after("ebpc") for call in calls)
        assert row.container_bytes == sum(call.container_bytes for call in calls)
    assert "3.relu  " in repr(report)


def test_the_report_says_how_it_was_coded(network):
    quantizer = Quantizer(bits=6)
    inserted = insert_compression(network, quantizer=quantizer, block_size=16, base="reused")
    inserted(images())
    report = compression_report(inserted)
    for form in (
        inserted,
        saved_and_loaded(torch.jit.script(inserted), torch.jit.save, torch.jit.load),
    ):
        provenance = compression_report(form).provenance
        assert provenance["mode"] == "inserted"
        assert (provenance["block_size"], provenance["base"]) == (16, "reused")
        assert provenance["quantizer"] == repr(quantizer)
    assert "ratios against 6-bit words" in report.heading()
    assert "ms" not in report.table()  # nothing is timed
    assert torch_ebpc.Report.from_json(report.to_json()) == report


def test_counts_begin_anew_after_a_reset_even_where_a_pass_has_failed(network):
    inserted = insert_compression(nn.Sequential(network[0], Residual()), example_inputs=images())
    inserted(images())
    expected = counts_of(compression_report(inserted))
    weight = inserted[1].conv2.weight
    inserted[1].conv2.weight = nn.Parameter(torch.randn(4, 9, 3, 3))
    with pytest.raises(RuntimeError):  # between the first and the second call of a layer
        inserted(images())
    inserted[1].conv2.weight = weight
    reset_compression(inserted)
    assert compression_report(inserted).rows == []
    inserted(images())
    assert counts_of(compression_report(inserted)) == expected


def test_buffers_made_in_inference_mode_are_counted_outside_of_it(network):
    with torch.inference_mode():
        inserted = insert_compression(nn.Sequential(nn.ReLU()), example_inputs=images())
        inserted(images())
    inserted(images())
    assert compression_report(inserted).rows[0].images == 4
    reset_compression(inserted)


def test_outputs_are_right_in_several_threads_at_once(network):
    inserted = torch.jit.script(insert_compression(network))
    inputs = [torch.randn(2, 3, 12, 12) for _ in range(8)]
    outputs = [torch.empty(0)] * len(inputs)

    def run(first):
        for index in range(first, len(inputs), 4):
            outputs[index] = inserted(inputs[index])

    threads = [threading.Thread(target=run, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for x, found in zip(inputs, outputs, strict=True):
        assert_same_bits(found, network(x))


# ---- Gradients -----------------------------------------------------------------------------------


@in_every_form
def test_gradients_are_those_of_the_plain_model_in_training(form):
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), Residual())
    x = images().requires_grad_()
    inserted = insert_compression(plain)
    trained = form(inserted)
    for module in (inserted, plain):  # tracing has changed the batch statistics
        module[1].reset_running_stats()
    for _ in range(3):  # TorchScript optimizes after the first runs
        expected = torch.autograd.grad(plain(x).square().sum(), [x, *plain.parameters()])
        found = torch.autograd.grad(trained(x).square().sum(), [x, *trained.parameters()])
        assert len(found) == 9
        for gradient, other in zip(found, expected, strict=True):
            assert gradient.abs().sum() > 0
            assert_same_bits(gradient, other)
    assert dict(trained.named_buffers())["1.num_batches_tracked"] == 3


def test_gradients_pass_fixed_point_unchanged():
    inserted = insert_compression(nn.Sequential(nn.ReLU()), quantizer=Quantizer(bits=3))
    x = torch.randn(5, 7, requires_grad=True)
    y = inserted(x)
    assert not torch.equal(y, x.relu())
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, (x > 0).float())


def test_the_output_can_be_changed_in_place_with_gradients():
    plain = nn.Sequential(nn.ReLU(), nn.Hardtanh(0.0, 0.5))
    x = torch.randn(5, 7, requires_grad=True)
    (expected,) = torch.autograd.grad(plain(x).sum(), x)
    plain[1].inplace = True
    for model in (insert_compression(plain), torch.jit.script(insert_compression(plain))):
        (gradient,) = torch.autograd.grad(model(x).sum(), x)
        assert torch.equal(gradient, expected)


# ---- What is inserted where ----------------------------------------------------------------------


def test_the_given_model_is_left_alone(network):
    before = repr(network)
    state = copy.deepcopy(network.state_dict())
    network.train()
    inserted = insert_compression(network, example_inputs=images())
    assert repr(network) == before
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert inserted.training
    assert all(module.training for module in inserted.modules())
    assert not any(torch.is_inference(buffer) for buffer in inserted.buffers())


def test_batch_statistics_random_numbers_and_inputs_are_left_alone_by_example_inputs():
    model = nn.Sequential(nn.ReLU(inplace=True), nn.BatchNorm2d(3), nn.Dropout(), nn.ReLU())
    x = images()
    given, state = x.clone(), torch.get_rng_state()
    inserted = insert_compression(model, example_inputs=[x])
    assert torch.equal(x, given)
    assert torch.equal(torch.get_rng_state(), state)
    for each in (model, inserted):
        assert each[1].num_batches_tracked == 0


def test_in_place_it_is_the_given_model(network):
    expected = network(images())
    assert insert_compression(network, inplace=True) is network
    assert_same_bits(network(images()), expected)
    assert len(compression_report(network).rows) == 3


def test_state_dicts_of_the_plain_model_fit(network):
    inserted = insert_compression(network)
    assert inserted.state_dict().keys() == network.state_dict().keys()
    inserted.load_state_dict(network.state_dict(), strict=True)


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        (nn.Linear, ["6"]),
        ("2.relu", ["2.relu"]),
        (["1", nn.Linear], ["1", "6"]),
        (lambda name, module: name.endswith("conv2"), ["2.conv2", "3.conv2"]),
    ],
)
def test_layers_are_selected_as_by_the_meter(network, layers, names):
    inserted = torch.jit.script(insert_compression(network, layers))
    assert_same_bits(inserted(images()), network(images()))
    assert [row.layer for row in compression_report(inserted).rows] == names


def test_a_layer_that_is_held_twice_is_compressed_in_both_places():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Conv2d(3, 4, 3), relu, nn.Conv2d(4, 4, 3), relu)
    _, report = metered(model, images())
    for form in FORMS.values():
        inserted = form(insert_compression(model, example_inputs=images()))
        reset_compression(inserted)
        assert_same_bits(inserted(images()), model(images()))
        assert counts_of(compression_report(inserted)) == counts_of(report)


def test_a_layer_inside_of_a_layer(network):
    inserted = insert_compression(network, [nn.ReLU, "2"], example_inputs=images())
    assert_same_bits(inserted(images()), network(images()))
    report = compression_report(inserted)
    assert [row.name for row in report.rows] == [
        "1#1", "2.relu#1", "2.relu#2", "2#1", "3.relu#1", "3.relu#2",
    ]  # fmt: skip


@pytest.mark.parametrize("form", [form for name, form in FORMS.items() if name != "traced by FX"])
def test_a_model_that_is_a_layer_itself(form):
    inserted = form(insert_compression(nn.ReLU(), example_inputs=images(), inplace=True))
    reset_compression(inserted)
    assert_same_bits(inserted(images()), images().relu())
    assert [(row.name, row.images) for row in compression_report(inserted).rows] == [("#1", 2)]


# ---- In a process that has not loaded the operators ----------------------------------------------

LOAD = "import sys, torch{}; print(torch.jit.load(sys.argv[1])(torch.ones(1, 3, 12, 12)).shape)"


def test_loading_needs_the_operators_and_importing_the_package_is_enough(network, tmp_path):
    path = tmp_path / "model.pt"
    torch.jit.script(insert_compression(network)).save(path)

    def load(more):
        return python("-W", "ignore", "-c", LOAD.format(more), path)

    without = load("")
    assert without.returncode != 0
    assert "Unknown builtin op: torch_ebpc::compress" in without.stderr
    assert load(", torch_ebpc").stdout == "torch.Size([1, 5])\n"
