"""ResNet-34 on real photographs: the measurement that the project is about."""

from __future__ import annotations

import pytest
import torch
from conftest import missing
from PIL import Image
from sample_inputs import assert_same_bits
from torch import nn

from torch_ebpc import CompressionMeter, Quantizer
from torch_ebpc.cli.networks import import_torchvision

VALUES_AN_IMAGE = 3_562_496


@pytest.fixture(scope="module")
def resnet34(shared_data) -> nn.Module:
    weights = shared_data / "weights" / "resnet34.pth"
    if not weights.exists():
        missing(f"no weights: {weights} does not exist")
    state = torch.load(weights, map_location="cpu", weights_only=True)
    model = import_torchvision().models.resnet34()
    model.load_state_dict(
        {key: x.float() if x.is_floating_point() else x for key, x in state.items()}
    )
    return model.eval()


@pytest.fixture(scope="module")
def photographs(shared_data) -> torch.Tensor:
    files = sorted((shared_data / "images").glob("*.JPEG"))[:2]
    if len(files) < 2:
        missing(f"no images: {shared_data / 'images'} has fewer than 2")
    transform = import_torchvision().models.ResNet34_Weights.IMAGENET1K_V1.transforms()
    return torch.stack([transform(Image.open(file).convert("RGB")) for file in files])


def expected_calls() -> list[str]:
    blocks = [("layer1", 3), ("layer2", 4), ("layer3", 6), ("layer4", 3)]
    return ["relu#1"] + [
        f"{layer}.{block}.relu#{call}"
        for layer, count in blocks
        for block in range(count)
        for call in (1, 2)
    ]


@pytest.fixture(scope="module")
def measured(resnet34, photographs):
    """The output without hooks, with them, and the report."""
    with torch.no_grad():
        plain = resnet34(photographs)
        with CompressionMeter(resnet34, verify=True) as meter:
            inserted = resnet34(photographs)
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


def test_eight_bit_maps_of_a_trained_network_compress_as_published(resnet34, photographs):
    """The notebook's rule; about 2.2 over the 250 photographs, two of them come near to it."""
    quantizer = Quantizer(bits=8, rounding="truncate", headroom=0.75)
    methods = ("ebpc", "bpc", "zvc", "zero_rle")
    with (
        torch.no_grad(),
        CompressionMeter(resnet34, quantizer=quantizer, methods=methods, mode="observe") as meter,
    ):
        resnet34(photographs)
    report = meter.report()
    total = report.total()
    assert total.values == 2 * VALUES_AN_IMAGE
    assert 1.9 < total.ratio("ebpc") < 2.6
    for method in ("bpc", "zvc", "zero_rle"):
        assert total.ratio("ebpc") > total.ratio(method) > 1
    assert 0.3 < total.zero_share < 0.8


def test_inserted_eight_bit_maps_hardly_change_the_logits(resnet34, photographs, measured):
    plain, *_ = measured
    with (
        torch.no_grad(),
        CompressionMeter(resnet34, quantizer=Quantizer(bits=8), methods=("zvc",)),
    ):
        quantized = resnet34(photographs)
    assert not torch.equal(quantized, plain)
    cosine = nn.functional.cosine_similarity(quantized, plain)
    assert (cosine > 0.95).all()
