"""Statistics of the code: they are those of the streams, and they add up."""

from __future__ import annotations

import itertools

import hypothesis
import pytest
import torch
from helpers import BASES, DTYPES, about, feature_map
from hypothesis import strategies as st

import torch_ebpc
from torch_ebpc import symbol_statistics


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("block_size", [2, 5, 8, 16, 64])
def test_bits_of_all_symbols_are_the_bits_of_the_streams(dtype, base, block_size):
    x = feature_map(dtype, (3, 200))
    code = {"block_size": block_size, "max_zero_run": 4, "base": base}
    found = symbol_statistics(x, **code, transmission_dims=1)
    counted = torch_ebpc.count_transmission_bits(x, **code, transmission_dims=1).sum(0)
    assert [found.zero_bits, found.plane_bits] == counted.tolist()


@hypothesis.given(st.lists(st.integers(-3, 3), max_size=300))
def test_runs_and_bursts_are_those_of_the_words(words):
    found = symbol_statistics(torch.tensor(words, dtype=torch.int8))
    runs = [(zero, len(list(run))) for zero, run in itertools.groupby(words, lambda w: w == 0)]
    cut = [
        piece
        for zero, length in runs
        if zero
        for piece in [16] * (length // 16) + [length % 16] * (length % 16 > 0)
    ]
    bursts = [min(length, 64) for zero, length in runs if not zero]
    assert list(found.zero_runs) == [cut.count(length) for length in range(1, 17)]
    assert list(found.bursts) == [bursts.count(length) for length in range(1, 65)]
    assert found.words == len(words)
    assert found.zero_words == words.count(0)


def test_deltas_are_counted_by_the_bits_of_their_magnitude():
    x = torch.tensor([1, 1, 2, 4, 7, 127, -128, -128], dtype=torch.int8)
    deltas = symbol_statistics(x).delta_bits  # 0, 1, 2, 3, 120, -255, 0
    assert deltas == (2, 1, 2, 0, 0, 0, 0, 1, 1)


def test_planes_and_deltas_fill_whole_blocks():
    found = symbol_statistics(feature_map(torch.int16, (5, 100)), transmission_dims=1)
    assert sum(found.planes.values()) == 17 * found.blocks
    assert sum(found.delta_bits) == 7 * found.blocks
    assert found.planes["single_zero"] == found.symbols["single_zero"]
    assert found.planes["zero_run"] >= 2 * found.symbols["zero_run"]


def test_transmissions_add_up():
    x = feature_map(torch.int8, (4, 3, 50))
    parts = [symbol_statistics(each) for each in x]
    assert symbol_statistics(x, transmission_dims=1) == sum(parts[1:], parts[0])


def test_statistics_of_different_parameters_do_not_add():
    x = feature_map(torch.int8, (50,))
    with pytest.raises(ValueError, match=about("block_size")):
        symbol_statistics(x) + symbol_statistics(x, block_size=16)
    with pytest.raises(ValueError, match=about("word_bits")):
        symbol_statistics(x) + symbol_statistics(x.to(torch.int16))
    with pytest.raises(TypeError):
        symbol_statistics(x) + 1


def test_no_words_have_no_symbols():
    for x, dims in ((torch.empty(0), 0), (torch.empty(0, 3), 1), (torch.empty(3, 0), 1)):
        found = symbol_statistics(x, transmission_dims=dims)
        assert (found.words, found.blocks, sum(found.symbols.values())) == (0, 0, 0)
        assert found.zero_runs == (0,) * 16


def test_wrong_arguments_are_named():
    with pytest.raises(TypeError, match=about("x")):
        symbol_statistics([1])
    for name, value in (("transmission_dims", 2), ("block_size", 1)):
        with pytest.raises(ValueError, match=about(name)):
            symbol_statistics(torch.zeros(3), **{name: value})
