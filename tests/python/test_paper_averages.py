"""The averages of compression ratios, from tables made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.paper.averages import DEFINITIONS, Readings, averages, extremes, layer_table
from evaluation.paper.claims import agreement
from evaluation.paper.counts import Call, Counts
from evaluation.paper.presets import PRESETS
from evaluation.paper.published import CALL_MEDIANS, RELEASED_AVERAGES
from evaluation.paper.sweep import Ranges
from evaluation.paper.variants import Variant, variant

WORDS = np.array([100, 300])  # of one image; 8 bits each
BITS = np.array([[400, 200], [1200, 2400]])  # ratios by map: 2, 4; 2, 1


def test_every_average_of_a_table_made_by_hand() -> None:
    found = averages(BITS, WORDS, 8)
    assert found["ratio of sums"] == pytest.approx(6400 / 4200)
    layers = (1600 / 600, 4800 / 3600)
    assert found["size-weighted mean of layer ratios"] == pytest.approx(
        (layers[0] + 3 * layers[1]) / 4
    )
    assert found["plain mean of layer ratios"] == pytest.approx(sum(layers) / 2)
    assert found["plain mean of layer medians"] == pytest.approx((3 + 1.5) / 2)
    assert (found["best layer"], found["worst layer"]) == pytest.approx(layers)
    assert found["best image"] == pytest.approx(3200 / 1600)
    assert found["worst image"] == pytest.approx(3200 / 2600)
    assert list(found) == list(DEFINITIONS)


def counts_of(bits: np.ndarray, *variants: Variant) -> Counts:
    images = [f"{i}.png" for i in range(bits.shape[1])]
    calls = [Call("a#1", (100,)), Call("b#1", (3, 10, 10))]
    return Counts(
        calls,
        images,
        dict.fromkeys(variants, bits),
        {each: np.ones(bits.shape[1], bool) for each in variants},
    )


def test_percentiles_over_images_per_layer() -> None:
    bits = np.array([[800, 400, 200, 100, 50], [2400, 2400, 2400, 2400, 2400]])
    table = layer_table(bits, counts_of(bits), 8)
    assert table["median"].tolist() == pytest.approx([4, 1])
    assert table["25 %"].tolist() == pytest.approx([2, 1])
    assert table["ratio"].tolist() == pytest.approx([4000 / 1550, 1])
    assert table["call"].tolist() == ["a#1", "b#1"]


def test_variants_are_compared_on_the_images_that_all_of_them_have() -> None:
    ebpc, zvc = (variant(PRESETS["notebook"], method=method) for method in ("ebpc", "zvc"))
    counts = counts_of(BITS, ebpc, zvc)
    counts.measured[zvc] = np.array([False, True])
    readings = Readings(counts, [ebpc, zvc])
    assert readings.image_count == 1
    assert readings.ratio(ebpc) == pytest.approx(3200 / 2600)
    assert readings.ratio(ebpc, against=16) == pytest.approx(2 * 3200 / 2600)
    counts.measured[zvc][:] = False
    with pytest.raises(ValueError, match="no image"):
        Readings(counts, [ebpc, zvc])


def test_extremes_name_layers_and_images() -> None:
    ebpc = variant(PRESETS["notebook"])
    found = extremes(Readings(counts_of(BITS, ebpc), [ebpc]), ebpc)
    assert (found.best_layer, found.worst_layer) == ("a#1", "b#1")
    assert (found.best_image, found.worst_image) == ("0.png", "1.png")


def test_scales_follow_all_images_or_each_batch() -> None:
    low = np.array([[-5.0, 0, 0, 0, 0]])
    high = np.array([[1.0, 2, 3, 4, 1]])
    ranges = Ranges([Call("a#1", (1,))], low, high)
    assert ranges.largest("calibrated", 2).tolist() == [[5, 5, 5, 5, 5]]
    assert ranges.largest("batch", 2).tolist() == [[5, 5, 4, 4, 1]]
    assert ranges.largest("image", 2).tolist() == [[5, 2, 3, 4, 1]]
    assert ranges.negative


def test_the_published_medians_agree_with_themselves_and_with_the_released_mean() -> None:
    found = agreement(CALL_MEDIANS, CALL_MEDIANS)
    assert found.spearman[0] == pytest.approx(1)
    assert (found.teeth, found.published_teeth, found.blocks) == (16, 16, 16)
    assert np.mean(CALL_MEDIANS) == pytest.approx(
        RELEASED_AVERAGES["plain mean of layer ratios"], abs=0.1
    )
    reversed_teeth = agreement([1.0, *([1.0, 2.0] * 16)], CALL_MEDIANS)
    assert reversed_teeth.teeth == 0
    with pytest.raises(ValueError, match="calls"):
        agreement([1.0, 2.0], CALL_MEDIANS)
