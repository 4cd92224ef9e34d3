"""Two or more pipeline stages, each a process: ``python distributed_example.py CASE``, under
torchrun."""

from __future__ import annotations

import json
import sys

import pytest
import torch
import torch.distributed as dist
from helpers import DTYPES, assert_same_bits, feature_map, special_values

import torch_ebpc
from torch_ebpc.distributed import Transfer, isend, recv, send


def tensors() -> list[torch.Tensor]:
    """Of every dtype and some layouts; the same in every process."""
    x = feature_map(torch.float32, (2, 3, 40, 50))
    return [
        *(feature_map(dtype, (3, 2000)) for dtype in DTYPES),
        special_values(torch.bfloat16),
        x.to(memory_format=torch.channels_last),
        x[:, ::2, 1:],
        torch.empty(0, 3),
        torch.tensor(-0.0),
    ]


def one_way(rank: int) -> list[Transfer]:
    """From rank 0 to rank 1, one after the other; also from whoever sends, and by tag."""
    if rank == 0:
        transfers = [send(x, 1) for x in tensors()]
        return [*transfers, send(tensors()[0], 1, tag=3, base="reused", block_size=16)]
    transfers = []
    for i, expected in enumerate(tensors()):
        x, transfer = recv(None if i % 2 else 0)
        assert_same_bits(x, expected)
        if expected.dim() == 4 and i == len(DTYPES) + 1:
            assert x.is_contiguous(memory_format=torch.channels_last)
        transfers.append(transfer)
    x, transfer = recv(0, tag=3, max_bytes=tensors()[0].nbytes)
    assert_same_bits(x, tensors()[0])
    return [*transfers, transfer]


def both_ways(rank: int) -> list[Transfer]:
    """Both stages send before either receives; what was sent may be changed at once."""
    mine = torch.full((1 << 20,), float(rank))
    sending = isend(mine, 1 - rank, codec="auto")
    mine.fill_(-1)
    x, _ = recv(1 - rank)
    assert x.unique().tolist() == [1 - rank]
    return [sending.wait()]


def limits(rank: int) -> list[Transfer]:
    """The receiver refuses what is too large, and what is no container."""
    if rank == 0:
        sending = [isend(torch.zeros(10_000), 1), isend(torch.randn(1000), 1, tag=1)]
        dist.send(torch.tensor([70]), 1, tag=2)
        dist.send(torch.zeros(70, dtype=torch.uint8), 1, tag=2)
        dist.send(torch.tensor([-5]), 1, tag=3)
        dist.barrier()
        return [sending[0].wait()]
    for tag, max_bytes, error, message in (
        (0, 39_999, torch_ebpc.EBPCLimitError, "40000"),
        (1, 3_000, torch_ebpc.EBPCLimitError, "message: expected the container of a tensor of at"),
        (2, None, torch_ebpc.EBPCFormatError, "magic"),
        (
            3,
            None,
            torch_ebpc.EBPCFormatError,
            "message: expected the bytes of a container, found -5",
        ),
    ):
        with pytest.raises(error, match=message):
            recv(0, tag=tag, max_bytes=max_bytes)
    dist.recv(torch.empty(4084, dtype=torch.uint8), 0, tag=1)  # what was refused by its length
    dist.barrier()
    return [Transfer(40_000, 0)]


def counts(rank: int) -> list[Transfer]:
    """Each rank counts what its own replica has compressed, and no other's."""
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU())
    model = torch_ebpc.insert_compression(model, example_inputs=torch.zeros(2, 8))
    replica = torch.nn.parallel.DistributedDataParallel(model)
    for _ in range(3):
        replica(torch.randn(10 * (rank + 1), 8)).sum().backward()
    (row,) = torch_ebpc.compression_report(replica).rows
    assert row.images == 30 * (rank + 1)
    assert row.values == 240 * (rank + 1)
    return []


CASES = {"one_way": one_way, "both_ways": both_ways, "limits": limits, "counts": counts}

if __name__ == "__main__":
    dist.init_process_group("gloo")
    transfers = CASES[sys.argv[1]](dist.get_rank())
    found = [(each.tensor_bytes, each.container_bytes) for each in transfers]
    gathered: list[object] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, found)
    if dist.get_rank() == 0:
        print(json.dumps(gathered))
    dist.destroy_process_group()
