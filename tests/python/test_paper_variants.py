"""Presets, flags on top of them, and what a variant is."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import torch_ebpc
from evaluation.common import compressors
from evaluation.paper.__main__ import extent_from, parser, rule_from
from evaluation.paper.plan import EXTENTS, network_plan
from evaluation.paper.presets import PRESETS
from evaluation.paper.variants import METHODS, TYPES, count_software_bits, entropy_bits, variant

NOTEBOOK = PRESETS["notebook"]


def test_presets_are_those_of_the_sources() -> None:
    assert set(PRESETS) == {"paper", "notebook", "hardware"}
    assert all(preset.source and preset.images for preset in PRESETS.values())
    assert (NOTEBOOK.headroom, NOTEBOOK.rounding, NOTEBOOK.batch_size) == (0.75, "truncate", 250)
    assert (NOTEBOOK.block_sizes, NOTEBOOK.max_zero_run, NOTEBOOK.base) == ((8,), 16, "sent")
    paper = PRESETS["paper"]
    assert (paper.headroom, paper.block_sizes, paper.network_mode) == (0.8, (16, 8), "evaluation")


@pytest.mark.parametrize("name", PRESETS)
def test_what_a_source_leaves_open_is_the_notebooks(name: str) -> None:
    complete = PRESETS[name].complete()
    for field in dataclasses.fields(complete):
        own = getattr(PRESETS[name], field.name)
        expected = getattr(NOTEBOOK, field.name) if own is None else own
        assert getattr(complete, field.name) == expected


def test_flags_stand_on_top_of_a_preset() -> None:
    options = parser().parse_args(
        ["--preset", "paper", "--rounding", "truncate", "--headroom", "1"]
    )
    rule = rule_from(options)
    assert (rule.name, rule.rounding, rule.headroom) == ("paper", "truncate", 1.0)
    assert (rule.block_size, rule.base) == (16, "reused")
    assert extent_from(parser().parse_args(["--quick", "--networks"])).networks == ()


def test_equal_measurements_are_equal_variants() -> None:
    assert variant(NOTEBOOK, "float16") == variant(PRESETS["paper"], "float16", block_size=8,
                                                   base="sent")  # fmt: skip
    assert variant(NOTEBOOK, method="zvc", block_size=64) == variant(NOTEBOOK, method="zvc")
    assert variant(NOTEBOOK, block_size=64) != variant(NOTEBOOK)
    with pytest.raises(TypeError, match="block"):
        variant(NOTEBOOK, block=8)


def test_keys_tell_all_variants_of_a_plan_apart() -> None:
    variants = list(network_plan(NOTEBOOK, EXTENTS["full"]).every)
    assert len({each.key for each in variants}) == len(variants)


def test_the_default_run_has_what_the_paper_compares() -> None:
    plan = network_plan(NOTEBOOK, EXTENTS["default"])
    for type in TYPES:
        for method in METHODS:
            assert plan.every[plan.by_type(type, method)] == 1
    assert {each.block_size for each in plan.groups["block size"].values()} == {
        4, 8, 16, 32, 64,
    }  # fmt: skip
    assert {each.order for each in plan.groups["ablations"].values()} == {"nchw", "nhwc"}
    assert {each.scale for each in plan.groups["ablations"].values()} == {
        "batch", "calibrated", "image",
    }  # fmt: skip


@pytest.mark.parametrize("type", TYPES)
def test_words_have_the_types_width(type: str) -> None:
    x = torch.rand(2, 3, 4, 5)
    words = variant(NOTEBOOK, type).words(x, 1.0)
    assert words.shape == x.shape
    assert words.dtype.itemsize == (TYPES[type].bits + 7) // 8
    if TYPES[type].floating is None:
        bits = TYPES[type].bits - TYPES[type].signed
        assert int(words.to(torch.int32).max()) <= 0.75 * (2**bits - 1)
    else:
        assert torch.equal(words, x.to(TYPES[type].floating))


def test_the_largest_magnitude_comes_to_the_presets_share_of_full_scale() -> None:
    x = torch.tensor([[2.0, 1.0, 0.01]])
    assert variant(NOTEBOOK, rounding="nearest").words(x, 2.0).tolist() == [[95, 48, 0]]
    assert variant(NOTEBOOK, "ufixed4").words(x, 2.0).tolist() == [[11, 5, 0]]


@pytest.mark.parametrize("method", ["ebpc", "bpc", "zero_rle"])
def test_nhwc_counts_the_permuted_tensor(method: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 8, 6, 5).relu()
    each = variant(NOTEBOOK, method=method, order="nhwc")
    largest = float(x.max())
    words = each.words(x, largest)
    plain = variant(NOTEBOOK, method=method).words(x, largest)
    permuted = plain.permute(0, 2, 3, 1).contiguous()
    counted = torch_ebpc.count_transmission_bits(words, method, transmission_dims=1)
    assert torch.equal(
        counted, torch_ebpc.count_transmission_bits(permuted, method, transmission_dims=1)
    )
    assert not torch.equal(
        counted, torch_ebpc.count_transmission_bits(plain, method, transmission_dims=1)
    )


@pytest.mark.parametrize("name", compressors.SOFTWARE)
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint16, torch.bfloat16, torch.float32])
def test_software_compressors_take_every_type_and_order(name: str, dtype: torch.dtype) -> None:
    x = (torch.rand(2, 4, 30, 30) * 4).to(torch.int16).to(dtype).permute(0, 2, 3, 1)
    assert 0 < count_software_bits(x, name) < 8 * x.numel() * dtype.itemsize


def test_entropy_of_known_distributions() -> None:
    assert entropy_bits(torch.arange(4, dtype=torch.int8).repeat(25)) == 200
    assert entropy_bits(torch.zeros(100, dtype=torch.uint16)) == 0
    assert entropy_bits(torch.arange(256, dtype=torch.float32)) == 256 * 8
    assert entropy_bits(-torch.arange(4, dtype=torch.int16)) == 8
