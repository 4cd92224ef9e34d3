"""The benchmark's own checks, on small data."""

from __future__ import annotations

import re

import pytest

import torch_ebpc
from evaluation.bench import throughput


def test_samples_of_a_large_container_are_read_beside_containers_of_their_own():
    text = throughput.random_access(1 << 20, (3, 20, 30), rounds=2, samples=3)
    assert re.fullmatch(
        r"a sample 3x20x30 of a container of 1 MiB: \d+\.\d{3} ms, of one of its own:"
        r" \d+\.\d{3} ms, \d+\.\d\d times",
        text,
    )


def test_a_sample_that_is_another_one_ends_the_benchmark(monkeypatch):
    right = torch_ebpc.Container.__getitem__
    monkeypatch.setattr(torch_ebpc.Container, "__getitem__", lambda self, _: right(self, 0))
    with pytest.raises(AssertionError, match=r"sample \d+ is not what"):
        throughput.random_access(1 << 16, (3, 20, 30), rounds=1, samples=3)
