"""The averages of compression ratios, from tables made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.paper.counts import DEFINITIONS, Call, Counts, Readings
from evaluation.paper.presets import PRESETS
from evaluation.paper.published import CALL_MEDIANS, RELEASED_AVERAGES
from evaluation.paper.sweep import Ranges
from evaluation.paper.variants import Variant, variant

BITS = np.array([[400, 200], [1200, 2400]])  # ratios by map of 100 and 300 bytes: 2, 4; 2, 1
EBPC = variant(PRESETS["notebook"])


def counts_of(bits: np.ndarray, *variants: Variant) -> Counts:
    images = [f"{i}.png" for i in range(bits.shape[1])]
    calls = [Call("a#1", (100,)), Call("b#1", (3, 10, 10))]
    return Counts(
        calls,
        images,
        dict.fromkeys(variants, bits),
        {each: np.ones(bits.shape[1], bool) for each in variants},
    )


def test_every_average_of_a_table_made_by_hand() -> None:
    found = Readings(counts_of(BITS, EBPC), [EBPC]).averages(EBPC)
    assert found["ratio of sums"] == pytest.approx(6400 / 4200)
    layers = (1600 / 600, 4800 / 3600)
    assert found["size-weighted mean of layer ratios"] == pytest.approx(
        (layers[0] + 3 * layers[1]) / 4
    )
    assert found["plain mean of layer ratios"] == pytest.approx(sum(layers) / 2)
    assert found["best layer"] == pytest.approx(layers[0])
    assert list(found) == list(DEFINITIONS)


def test_percentiles_over_images_per_layer() -> None:
    bits = np.array([[800, 400, 200, 100, 50], [2400, 2400, 2400, 2400, 2400]])
    table = Readings(counts_of(bits, EBPC), [EBPC]).layers(EBPC)
    assert table["median"].tolist() == pytest.approx([4, 1])
    assert table["25 %"].tolist() == pytest.approx([2, 1])
    assert table["ratio"].tolist() == pytest.approx([4000 / 1550, 1])
    assert table["call"].tolist() == ["a#1", "b#1"]


def test_variants_are_compared_on_the_images_that_all_of_them_have() -> None:
    zvc = EBPC.by_method("zvc")
    counts = counts_of(BITS, EBPC, zvc)
    counts.measured[zvc] = np.array([False, True])
    readings = Readings(counts, [EBPC, zvc])
    assert readings.image_count == 1
    assert readings.ratio(EBPC) == pytest.approx(3200 / 2600)
    counts.measured[zvc][:] = False
    with pytest.raises(ValueError, match="no image"):
        Readings(counts, [EBPC, zvc])


def test_scales_follow_all_images_or_each_batch() -> None:
    low = np.array([[-5.0, 0, 0, 0, 0]])
    high = np.array([[1.0, 2, 3, 4, 1]])
    ranges = Ranges([Call("a#1", (1,))], low, high)
    assert ranges.largest("calibrated", 2).tolist() == [[5, 5, 5, 5, 5]]
    assert ranges.largest("batch", 2).tolist() == [[5, 5, 4, 4, 1]]
    assert ranges.largest("image", 2).tolist() == [[5, 2, 3, 4, 1]]
    assert ranges.negative


def test_the_published_medians_have_the_released_mean() -> None:
    assert np.mean(CALL_MEDIANS) == pytest.approx(
        RELEASED_AVERAGES["plain mean of layer ratios"], abs=0.1
    )
