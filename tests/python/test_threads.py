"""Threads, processes and the GIL."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers import small_integers
from torch.utils.data import DataLoader, Dataset

import torch_ebpc


@pytest.mark.usefixtures("restored_threads")
def test_bytes_are_the_same_for_any_number_of_threads():
    x = small_integers((1_500_000,))
    torch.set_num_threads(1)
    alone = torch_ebpc.compress(x)
    for threads in (2, 3, 8, 64):
        torch.set_num_threads(threads)
        assert torch.equal(torch_ebpc.compress(x), alone)
        assert torch.equal(torch_ebpc.decompress(alone), x)
        assert torch_ebpc.recover(alone).lost_words == ()


def test_calls_from_several_threads_do_not_disturb_each_other():
    def round_trip(seed):
        x = small_integers((200_000 + seed,), seed=seed)
        packed = torch_ebpc.compress(x)
        return torch.equal(torch_ebpc.decompress(packed), x), packed

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(round_trip, range(16)))
    for seed, (same, packed) in enumerate(together):
        assert same
        assert torch.equal(packed, round_trip(seed)[1])


@pytest.mark.parametrize(
    "name",
    ["compress", "decompress", "container_read", "container_recover", "encode", "count_bits"],
)
def test_other_threads_run_while_one_is_coding(name):
    """No thread gives way to another by itself here, so that the other one's steps fall between a
    call's begin and end only if the call lets the GIL go. Nothing depends on speed: it may call
    many times."""
    x = small_integers((2_000_000,))
    arguments = (x,)
    if name == "decompress":
        arguments = (torch_ebpc.compress(x), x.shape, x.dtype)
    container = torch_ebpc.Container(torch_ebpc.compress(x))
    if name.startswith("container"):
        arguments = (container._handle,)
    operator = getattr(torch.ops.torch_ebpc, name).default
    steps = 0
    stop = False

    def count():
        nonlocal steps
        while not stop:
            steps += 1
            time.sleep(0)  # lets the GIL go

    other = threading.Thread(target=count)
    other.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        for _ in range(100):
            before = steps
            operator(*arguments)
            after = steps
            if after > before:
                break
        assert after > before, "the operator keeps the GIL"
    finally:
        stop = True
        sys.setswitchinterval(interval)
        other.join()


def succeeds_in_a_forked_process(work: Callable[[], bool]) -> bool:
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # which ends it; else a deadlock would outlive the tests
        succeeds = False
        try:
            succeeds = work()
        finally:
            os._exit(0 if succeeds else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_forked_process_codes_by_itself():
    x = small_integers((500_000,))
    packed = torch_ebpc.compress(x)  # in several threads, which the child will not have

    def is_the_same() -> bool:
        # No other operator of PyTorch: those wait for their threads for ever.
        again = torch_ebpc.compress(x)
        back = torch_ebpc.decompress(packed)
        return again.tolist() == packed.tolist() and back.tolist() == x.tolist()

    assert succeeds_in_a_forked_process(is_the_same)


def test_a_forked_process_with_one_thread_takes_any_strides():
    x = small_integers((500_000,)).view(5, 10, 100, 100).to(memory_format=torch.channels_last)
    packed = torch_ebpc.compress(x)

    def is_the_same() -> bool:
        torch.set_num_threads(1)
        again = torch_ebpc.compress(x)
        return torch.equal(again, packed) and torch.equal(torch_ebpc.decompress(again), x)

    assert succeeds_in_a_forked_process(is_the_same)


class Samples(Dataset):
    """A container in a file, of which each worker reads what it needs."""

    def __init__(self, path):
        self.path = path
        self.samples = torch_ebpc.inspect(torch_ebpc.map_file(path)).shape[0]

    def __len__(self):
        return self.samples

    def __getitem__(self, index):
        sample = torch_ebpc.decompress(torch_ebpc.map_file(self.path), index=index)
        assert torch.equal(torch_ebpc.decompress(torch_ebpc.compress(sample)), sample)
        return sample


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_data_loader_workers_read_samples(tmp_path, context):
    x = small_integers((20 * 3000,)).view(20, 3, 1000)
    torch_ebpc.write_file(tmp_path / "x", x.split(7), x.shape, x.dtype)
    loader = DataLoader(
        Samples(tmp_path / "x"), batch_size=4, num_workers=2, multiprocessing_context=context
    )
    assert torch.equal(torch.cat(list(loader)), x)
