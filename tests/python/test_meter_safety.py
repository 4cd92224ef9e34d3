"""What the meter leaves behind (nothing), and what it refuses."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest
import torch
from helpers import SMALL_CALLS, about, assert_same_bits, hooks_of, images
from torch import nn

import torch_ebpc
from torch_ebpc import CompressionMeter, EBPCFormatError, Quantizer


class Failing(nn.Module):
    def forward(self, x):
        raise ZeroDivisionError


# ---- What is left behind -------------------------------------------------------------------------


def test_hooks_are_there_inside_and_gone_outside(network):
    assert not hooks_of(network)
    with CompressionMeter(network, mode="insert"):
        assert hooks_of(network)
    assert not hooks_of(network)


def test_hooks_are_gone_after_an_exception_in_the_block(network):
    with pytest.raises(KeyError), CompressionMeter(network, mode="insert"):
        raise KeyError
    assert not hooks_of(network)


def test_hooks_are_gone_after_an_exception_in_the_model_and_counting_starts_anew(network):
    failing = nn.Sequential(network, Failing())
    meter = CompressionMeter(failing, mode="insert")
    with pytest.raises(ZeroDivisionError), meter:
        failing(images())
    assert not hooks_of(failing)
    failing[1] = nn.Identity()
    with meter:
        failing(images())
    assert [row.name for row in meter.report().rows] == [f"0.{name}" for name in SMALL_CALLS]


def test_a_model_that_failed_in_the_middle_names_its_calls_right_the_next_time(network):
    with CompressionMeter(network, mode="insert") as meter:
        with pytest.raises(RuntimeError):
            network(torch.randn(2, 3, 1, 1))
        network(images())
    assert [row.name for row in meter.report().rows] == SMALL_CALLS


def test_the_model_pickles_and_deep_copies_afterwards(network):
    with torch.no_grad():
        with CompressionMeter(network, mode="insert"):
            expected = network(images())
        for again in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):
            assert_same_bits(again(images()), expected)
            assert not hooks_of(again)


def test_hooks_of_others_stay(network):
    seen = []
    network[1].register_forward_hook(lambda *_: seen.append(1))
    with CompressionMeter(network, mode="insert"):
        network(images())
    network(images())
    assert len(seen) == 2


@pytest.mark.parametrize("mode", ["insert", "observe"])
@pytest.mark.parametrize("quantizer", [None, Quantizer(), Quantizer(scale="calibrated")])
def test_no_tensor_is_kept(network, mode, quantizer):
    kept = []

    class Remember(nn.Module):
        def forward(self, x):
            kept.append(weakref.ref(x))
            return x

    model = nn.Sequential(network[0], nn.ReLU(), Remember(), nn.ReLU(inplace=True), Remember())
    with CompressionMeter(model, quantizer=quantizer, mode=mode, verify=True) as meter:
        with meter.calibrate():
            model(images())
        model(images())
        report = meter.report()
        gc.collect()
        assert len(kept) == 4
        assert [ref() for ref in kept] == [None] * 4
    assert len(report.rows) == 2


def test_the_models_training_mode_and_parameters_are_left_alone(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    with CompressionMeter(network, quantizer=Quantizer(bits=4), mode="insert"):
        network(images())
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


# ---- Verification --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["insert", "observe"])
def test_verify_catches_one_wrong_bit_and_names_layer_call_and_index(network, mode, monkeypatch):
    decompress = torch_ebpc.ops.decompress
    calls = []

    def wrong(packed, **_):
        x = decompress(packed)
        calls.append(1)
        if len(calls) == 3:  # the second call of 2.relu
            x.view(torch.int32).flatten()[123] ^= 1
        return x

    monkeypatch.setattr(torch_ebpc.ops, "decompress", wrong)
    with (
        CompressionMeter(network, mode=mode, verify=True),
        pytest.raises(AssertionError, match=r"^2\.relu#2: .*differs at index 123: "),
    ):
        network(images())


def test_verify_catches_a_negative_zero_for_a_zero(monkeypatch):
    model = nn.Sequential(nn.ReLU())
    monkeypatch.setattr(torch_ebpc.ops, "decompress", lambda packed, **_: -torch.zeros(2, 3))
    with CompressionMeter(model, mode="insert") as meter:
        model(torch.zeros(2, 3))
    assert meter.report().rows[0].verified_values == 0
    with (
        CompressionMeter(model, verify=True, mode="insert"),
        pytest.raises(AssertionError, match="at index 0"),
    ):
        model(torch.zeros(2, 3))


def test_verify_catches_another_shape_or_dtype(monkeypatch):
    model = nn.Sequential(nn.ReLU())
    for wrong in (torch.zeros(3, 2), torch.zeros(2, 3, dtype=torch.int32)):
        monkeypatch.setattr(torch_ebpc.ops, "decompress", lambda packed, wrong=wrong, **_: wrong)
        with (
            CompressionMeter(model, verify=True, mode="insert"),
            pytest.raises(AssertionError, match=r"^0#1: .*differs: torch.float32 \(2, 3\) became"),
        ):
            model(torch.zeros(2, 3))


def test_an_error_of_the_decoder_names_the_call(monkeypatch):
    def failing(packed, **_):
        raise EBPCFormatError("no container")

    monkeypatch.setattr(torch_ebpc.ops, "decompress", failing)
    model = nn.Sequential(nn.ReLU())
    with (
        CompressionMeter(model, mode="insert"),
        pytest.raises(EBPCFormatError, match=r"^0#1: no container$"),
    ):
        model(torch.zeros(2, 3))


def test_verified_values_are_counted(network):
    with CompressionMeter(network, verify=True, mode="insert") as meter:
        network(images())
    report = meter.report()
    assert [row.verified_values for row in report.rows] == [800] * 5
    assert "verified bit by bit after decoding: 4,000 values" in repr(report)


# ---- What is refused -----------------------------------------------------------------------------


class TwoOutputs(nn.Module):
    def forward(self, x):
        return x, x


def test_an_output_that_is_no_tensor_is_measured_part_by_part():
    model = nn.Sequential(TwoOutputs())
    with CompressionMeter(model, TwoOutputs, mode="insert") as meter:
        model(torch.zeros(1))
    assert [row.name for row in meter.report().rows] == ["0[0]#1", "0[1]#1"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_an_error_that_names_the_call(value):
    model = nn.Sequential(nn.Identity())
    x = torch.tensor([[1.0, value]])
    for scale in ("batch", 1.0):
        with (
            CompressionMeter(model, nn.Identity, quantizer=Quantizer(scale=scale), mode="insert"),
            pytest.raises(ValueError, match=about("0#1")),
        ):
            model(x)
    meter = CompressionMeter(
        model, nn.Identity, quantizer=Quantizer(scale="calibrated"), mode="insert"
    )
    with meter, meter.calibrate(), pytest.raises(ValueError, match=about("0#1")):
        model(x)


def test_entering_twice_is_an_error_and_keeps_the_first(network):
    meter = CompressionMeter(network, mode="insert")
    with meter:
        with pytest.raises(RuntimeError, match="entered already"):
            meter.__enter__()
        network(images())
    assert not hooks_of(network)
    assert {row.images for row in meter.report().rows} == {2}


def test_two_meters_on_one_model_measure_both(network):
    with (
        CompressionMeter(network, mode="insert") as outer,
        CompressionMeter(network, mode="observe") as inner,
    ):
        network(images())
    for row, other in zip(outer.report().rows, inner.report().rows, strict=True):
        assert row.value_bits == other.value_bits


@pytest.mark.parametrize(
    ("name", "values", "exception"),
    [
        ("layers", ("3.gelu", ["1", "9"], nn.GELU, lambda *_: False, []), ValueError),
        ("layers", (int, [3], 3), TypeError),
        ("mode", ("replace",), ValueError),
        ("transmission", ("row",), ValueError),
        ("methods", ("ebpc", (), ("ebpc", "lz4"), ("zvc", "zvc")), ValueError),
        ("quantizer", (8,), TypeError),
        ("block_size", (1,), ValueError),
        ("max_zero_run", (10,), ValueError),
        ("base", ("kept",), ValueError),
    ],
)
def test_wrong_arguments_are_named_before_anything_runs(network, name, values, exception):
    for value in values:
        with pytest.raises(exception, match=about(name)):
            CompressionMeter(network, **{"mode": "insert", name: value})
        assert not hooks_of(network)
