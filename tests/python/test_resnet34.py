"""ResNet-34 on real photographs: the measurement that the project is about."""

from __future__ import annotations

import pytest
import torch
from helpers import assert_same_bits, missing
from torch import nn

from evaluation.recorded import network as recorded
from evaluation.recorded import recording
from torch_ebpc import CompressionMeter, LayerRow, Quantizer
from torch_ebpc.cli.images import ImageSet, PreparedImages
from torch_ebpc.cli.networks import load_torchvision, prepared_as

VALUES_AN_IMAGE = 3_562_496
METHODS = ("ebpc", "bpc", "zvc", "zero_rle")
BITS = {"ebpc": 13205506, "bpc": 15164204, "zvc": 19066616, "zero_rle": 18834845}


@pytest.fixture(scope="module")
def trained(shared_data) -> nn.Module:
    weights = shared_data / "weights" / "resnet34.pth"
    if not weights.exists():
        missing(f"no weights: {weights} does not exist")
    return load_torchvision("resnet34", weights).model


@pytest.fixture(scope="module")
def replayed() -> nn.Module:
    return recorded.load()[0].model


@pytest.fixture(scope="module")
def photographs() -> torch.Tensor:
    images = ImageSet("", recording.photographs("rocket.jpg", "coffee.png"))
    prepared = PreparedImages(images, prepared_as("resnet34"))
    return torch.stack([prepared[0][0], prepared[1][0]])


def expected_calls() -> list[str]:
    blocks = [("layer1", 3), ("layer2", 4), ("layer3", 6), ("layer4", 3)]
    return ["relu#1"] + [
        f"{layer}.{block}.relu#{call}"
        for layer, count in blocks
        for block in range(count)
        for call in (1, 2)
    ]


@pytest.fixture(scope="module", params=["replayed", "trained"])
def measured(request, photographs):
    """The output without hooks, with them, and the report."""
    model = request.getfixturevalue(request.param)
    with torch.no_grad():
        plain = model(photographs)
        with CompressionMeter(model, verify=True, mode="insert") as meter:
            inserted = model(photographs)
    return plain, inserted, meter.report()


def test_without_a_quantizer_the_output_is_bit_equal_to_the_run_without_hooks(measured):
    plain, inserted, _ = measured
    assert_same_bits(inserted, plain)


def test_there_are_33_calls_of_17_modules_in_the_order_of_the_network(measured):
    *_, report = measured
    assert len(report.rows) == 33
    assert [row.name for row in report.rows] == expected_calls()
    assert len({row.layer for row in report.rows}) == 17
    assert report.never_called == []


def test_there_are_3562496_values_an_image_all_verified(measured):
    *_, report = measured
    total = report.total()
    assert total.images == 2
    assert total.values == 2 * VALUES_AN_IMAGE
    assert total.verified_values == 2 * VALUES_AN_IMAGE
    assert total.container_values == 2 * VALUES_AN_IMAGE
    for row in report.rows:
        channels, height, width = row.shape
        assert row.values == 2 * channels * height * width


def eight_bits(model: nn.Module, photographs: torch.Tensor) -> LayerRow:
    """The total by the notebook's rule."""
    quantizer = Quantizer(bits=8, rounding="truncate", headroom=0.75)
    with (
        torch.no_grad(),
        CompressionMeter(model, quantizer=quantizer, methods=METHODS, mode="observe") as meter,
    ):
        model(photographs)
    return meter.report().total()


def test_recorded_eight_bit_maps_have_exactly_these_bits(replayed, photographs):
    total = eight_bits(replayed, photographs[:1])
    assert total.values == VALUES_AN_IMAGE
    assert {method: total.bits_after(method) for method in METHODS} == BITS
    assert total.ratio("ebpc") == pytest.approx(2.158, abs=5e-4)


def test_eight_bit_maps_of_the_trained_network_are_the_recorded_ones(trained, photographs):
    """But for float32 and bfloat16."""
    total = eight_bits(trained, photographs[:1])
    for method, bits in BITS.items():
        assert total.bits_after(method) == pytest.approx(bits, rel=0.005)


def test_inserted_eight_bit_maps_hardly_change_the_logits(trained, photographs):
    with torch.no_grad():
        plain = trained(photographs)
        with CompressionMeter(
            trained, quantizer=Quantizer(bits=8), methods=("zvc",), mode="insert"
        ):
            quantized = trained(photographs)
    assert not torch.equal(quantized, plain)
    cosine = nn.functional.cosine_similarity(quantized, plain)
    assert (cosine > 0.95).all()
