"""The benchmark's own checks, on small data."""

from __future__ import annotations

import pytest

import torch_ebpc
from evaluation.bench import throughput


def test_samples_of_a_large_container_are_read_beside_containers_of_their_own():
    access = throughput.random_access(1 << 16, (3, 20, 30), rounds=2, samples=3)
    assert access.container_bytes >= 1 << 16
    assert len(access.seconds) == len(access.alone_seconds) == 2
    assert access.times > 0
    assert str(access).startswith("a sample 3x20x30 of a container of 0 MiB: ")


def test_a_sample_that_is_another_one_ends_the_benchmark(monkeypatch):
    right = torch_ebpc.Container.__getitem__
    monkeypatch.setattr(torch_ebpc.Container, "__getitem__", lambda self, _: right(self, 0))
    with pytest.raises(AssertionError, match=r"sample \d+ is not what"):
        throughput.random_access(1 << 16, (3, 20, 30), rounds=1, samples=3)
