"""Tensors sent compressed between two processes of torch.distributed."""

from __future__ import annotations

import json
from pathlib import Path

import distributed_example
import pytest
import torch
from helpers import about, python

import torch_ebpc
from torch_ebpc.distributed import Transfer

SCRIPT = str(Path(distributed_example.__file__))


def run(case: str) -> list[list[list[int]]]:
    """What each of two gloo processes reports: bytes of tensors and containers."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    done = python(*launcher, SCRIPT, case, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_tensor_arrives_with_the_bytes_that_were_saved():
    sender, receiver = run("one_way")
    assert sender == receiver
    for x, (tensor_bytes, container_bytes) in zip(
        distributed_example.tensors(), sender, strict=False
    ):
        assert tensor_bytes == x.nbytes
        assert container_bytes == torch_ebpc.compress(x).numel()
    x = distributed_example.tensors()[0]
    smaller = torch_ebpc.compress(x, base="reused", block_size=16).numel()
    assert sender[-1] == [x.nbytes, smaller]


def test_two_stages_send_to_each_other_at_the_same_time():
    for transfers in run("both_ways"):
        ((tensor_bytes, container_bytes),) = transfers
        assert tensor_bytes == 4 << 20
        assert container_bytes < 1 << 20


def test_what_is_too_large_or_no_container_is_refused():
    run("limits")


def test_each_rank_counts_its_own_compression_in_data_parallel_training():
    run("counts")


def test_a_transfer_says_what_was_saved():
    transfer = Transfer(tensor_bytes=1000, container_bytes=400)
    assert (transfer.saved_bytes, transfer.ratio) == (600, 2.5)


def test_wrong_tensors_are_refused_before_anything_is_sent():
    with pytest.raises(TypeError, match=about("x")):
        torch_ebpc.distributed.send(torch.zeros(3, dtype=torch.uint8).view(torch.bits8), 1)
    with pytest.raises(ValueError, match=about("x")):
        torch_ebpc.distributed.isend(torch.zeros(3, requires_grad=True), 1)
    with pytest.raises(TypeError, match=about("max_bytes")):
        torch_ebpc.distributed.recv(0, max_bytes=1.5)
