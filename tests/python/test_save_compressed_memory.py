"""save_compressed: what is stored once, what lives how long, and what comes back."""

from __future__ import annotations

import ctypes
import gc
import weakref
from collections.abc import Callable

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from helpers import ROOT, assert_same_bits, feature_map, python, special_values
from torch import Tensor, nn

import torch_ebpc
from torch_ebpc import _saved_memory, save_compressed
from torch_ebpc._saved_memory import Packed
from torch_ebpc.saved_report import PARAMETER


class Saves(torch.autograd.Function):
    """Saves tensors as they are given; its gradient is of no interest."""

    @staticmethod
    def forward(ctx, x, *tensors):
        ctx.save_for_backward(*tensors)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient, *(None for _ in ctx.saved_tensors)


class Graph:
    """A graph that has saved tensors."""

    def __init__(self, output: Tensor) -> None:
        self._output = output

    @property
    def handles(self) -> list[Packed]:
        """What the hooks made of the tensors."""
        return [each.data for each in self._output.grad_fn._raw_saved_tensors]

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]:
        """Unpacked, each time anew."""
        return self._output.grad_fn.saved_tensors


def saved_by(saving: save_compressed, *tensors: Tensor) -> Graph:
    with saving:
        return Graph(Saves.apply(torch.ones(1, requires_grad=True), *tensors))


def relu_map(shape: tuple[int, ...] = (64, 64), seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).relu()


# ---- What comes back -----------------------------------------------------------------------------

# All that a strided CPU tensor may be, with or without a dtype of its own in a container.
DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.uint16,
    torch.int32,
    torch.uint32,
    torch.int64,
    torch.uint64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
]


def of_dtype(dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """Any bits, half of the words zero; of bool, what it may be."""
    if dtype == torch.bool:
        return feature_map(torch.uint8, shape) % 2 == 1
    if dtype.itemsize == 1:
        return feature_map(torch.uint8, shape).view(dtype)
    words = feature_map(torch.int16, (*shape[:-1], shape[-1] * dtype.itemsize // 2))
    return words.view(dtype)


def assert_same_tensor(found: Tensor, expected: Tensor) -> None:
    """Bits, dtype, shape and strides."""
    assert (found.dtype, found.shape, found.stride()) == (
        expected.dtype,
        expected.shape,
        expected.stride(),
    )
    as_bytes = [
        each.new_empty(each.numel()).copy_(each.flatten()).view(torch.uint8)
        for each in (found, expected)
    ]
    assert torch.equal(*as_bytes)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_comes_back(dtype):
    x = of_dtype(dtype, (32, 256))
    saving = save_compressed(min_bytes=0, min_ratio=1)
    graph = saved_by(saving, x)
    (found,) = graph.saved_tensors
    assert_same_tensor(found, x)
    total = saving.report().total()
    assert (total.packed, total.tensor_bytes) == (1, x.nbytes)
    assert found.data_ptr() != x.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_special_values_come_back(dtype):
    x = special_values(dtype).repeat(16)
    saving = save_compressed(min_bytes=0, min_ratio=1)
    (found,) = saved_by(saving, x).saved_tensors
    assert_same_bits(found, x)
    assert saving.report().total().packed == 1


@st.composite
def views(draw) -> Tensor:
    """Any view of a tensor that compresses well."""
    dims = draw(st.integers(1, 4))
    shape = tuple(draw(st.integers(1, 6)) for _ in range(dims))
    x = torch.arange(4 * torch.Size(shape).numel()).remainder(5).relu()
    x = x.to(draw(st.sampled_from([torch.int64, torch.float32, torch.uint8])))
    x = x[draw(st.integers(0, x.numel() - torch.Size(shape).numel())) :]
    x = x[: torch.Size(shape).numel()].view(shape)
    for _ in range(draw(st.integers(0, 3))):
        what = draw(st.sampled_from(["permute", "slice", "expand", "select", "diagonal"]))
        dim = draw(st.integers(0, max(0, x.dim() - 1)))
        if what == "permute":
            x = x.permute(draw(st.permutations(range(x.dim()))))
        elif what == "slice" and x.dim():
            x = x.narrow(dim, 0, draw(st.integers(0, x.shape[dim])))
        elif what == "expand":
            x = x.expand(draw(st.integers(1, 3)), *x.shape)
        elif what == "select" and x.dim() and x.shape[dim] > 0:
            x = x.select(dim, draw(st.integers(0, x.shape[dim] - 1)))
        elif what == "diagonal" and x.dim() >= 2:
            x = x.diagonal()
    return x


@hypothesis.settings(max_examples=200)
@hypothesis.given(views())
def test_every_view_comes_back_with_its_strides(x):
    saving = save_compressed(min_bytes=0, min_ratio=1)
    (found,) = saved_by(saving, x).saved_tensors
    assert_same_tensor(found, x)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_memory_formats_come_back(memory_format):
    x = relu_map((4, 8, 16, 16)).to(memory_format=memory_format)
    saving = save_compressed()
    (found,) = saved_by(saving, x).saved_tensors
    assert found.is_contiguous(memory_format=memory_format)
    assert_same_tensor(found, x)
    assert saving.report().total().packed == 1


# ---- What is stored once -------------------------------------------------------------------------


def test_the_output_of_a_relu_and_the_input_of_what_is_after_it_are_stored_once():
    """Views of it too, whatever their strides."""
    x = torch.randn(16, 8, 16, 16, requires_grad=True)
    convolution = nn.Conv2d(8, 8, 3)
    with save_compressed() as saved:
        hidden = x.relu()
        y = convolution(hidden).sum() + (hidden * hidden).sum()  # three inputs
        y = y + hidden.flatten(1).square().sum() + hidden.transpose(0, 1).sin().sum()
    total = saved.report().total()
    assert (total.packed, total.repeated) == (1, 5)
    assert total.tensor_bytes == hidden.nbytes
    y.backward()
    total = saved.report().total()
    assert total.unpacks == 6
    # One after the other, they are decompressed together; anything else may come between.
    assert 1 <= total.decompressed <= 4


def test_thirds_of_a_tensor_are_stored_once():
    x = relu_map((64, 96))
    saving = save_compressed()
    graph = saved_by(saving, *x.chunk(3, -1))
    total = saving.report().total()
    assert (total.packed, total.repeated, total.tensor_bytes) == (1, 2, x.nbytes)
    for found, expected in zip(graph.saved_tensors, x.chunk(3, -1), strict=True):
        assert_same_tensor(found, expected)


def test_batches_of_a_larger_tensor_are_stored_for_themselves():
    x = relu_map((64, 128))
    saving = save_compressed()
    graph = saved_by(saving, x[:32], x[32:])
    assert saving.report().total().packed == 2
    assert saving.report().total().tensor_bytes == x.nbytes
    for found, expected in zip(graph.saved_tensors, (x[:32], x[32:]), strict=True):
        assert_same_tensor(found, expected)


def test_what_was_changed_in_between_is_stored_twice():
    x = relu_map()
    before = x.clone()
    saving = save_compressed()
    first = saved_by(saving, x)
    x.view(-1)[5:].mul_(2)
    second = saved_by(saving, x)
    assert saving.report().total().packed == 2
    assert_same_bits(first.saved_tensors[0], before)
    assert_same_bits(second.saved_tensors[0], x)


def changes_without_a_counter() -> dict[str, Callable[[Tensor], object]]:
    """Ways to write into a tensor's memory that its version does not show."""
    return {
        "data": lambda x: x.data.mul_(2),
        "numpy": lambda x: np.multiply(x.numpy(), 2, out=x.numpy()),
        "unsafe chunks": lambda x: x.unsafe_chunk(2, 1)[1].mul_(2),
        "unsafe split": lambda x: x.unsafe_split(32, 1)[0].mul_(2),
        "dlpack": lambda x: torch.from_dlpack(x.detach()).data.mul_(2),
        "set_": lambda x: torch.empty(0).set_(x.untyped_storage()).mul_(2),
    }


@pytest.mark.parametrize("way", changes_without_a_counter())
def test_a_change_that_no_counter_shows_is_stored_for_itself(way):
    x = relu_map()
    before = x.clone()
    saving = save_compressed()
    first = saved_by(saving, x)
    changes_without_a_counter()[way](x)
    second = saved_by(saving, x)
    assert x._version == before._version
    assert not torch.equal(x, before)
    assert_same_bits(first.saved_tensors[0], before)
    assert_same_bits(second.saved_tensors[0], x)
    assert saving.report().total().packed == 2


@pytest.mark.parametrize("way", changes_without_a_counter())
def test_who_writes_into_what_he_unpacked_does_so_to_a_copy_of_his_own(way):
    """Also later, when the next has his already."""
    x = relu_map()
    saving = save_compressed()
    graph = saved_by(saving, x, x, x)
    change = changes_without_a_counter()[way]
    found = []
    for handle in graph.handles:
        found.append(saving._unpack(handle))
        assert_same_bits(found[-1], x)
        for each in found[:-1]:
            change(each)
            assert_same_bits(found[-1], x)
    assert saving.report().total().decompressed == 1
    memory = saving._unpack(graph.handles[0]).data_ptr()
    again = saving._unpack(graph.handles[1])  # which nobody has any more
    assert again.data_ptr() == memory
    change(again)
    del again
    assert_same_bits(saving._unpack(graph.handles[2]), x)
    assert saving.report().total().decompressed == 3


def test_where_pytorch_does_not_tell_who_holds_memory_everybody_gets_a_copy(monkeypatch):
    monkeypatch.setattr(_saved_memory, "_use_count", None)
    x = relu_map()
    saving = save_compressed()
    graph = saved_by(saving, x, x)
    memory = saving._unpack(graph.handles[0]).data_ptr()  # which nobody has any more
    again = saving._unpack(graph.handles[1])
    assert again.data_ptr() != memory
    assert_same_bits(again, x)


def test_chunks_that_are_written_one_after_the_other_keep_their_values():
    """As the gates of PyTorch's recurrent cells, each with a version counter of its own."""
    memory = torch.zeros(64, 96)
    chunks = memory.unsafe_chunk(3, 1)
    saving = save_compressed(min_bytes=0)
    graphs = []
    for index, chunk in enumerate(chunks):
        chunk.add_(index + 1).relu_()
        graphs.append(saved_by(saving, chunk))
    assert {chunk._version for chunk in chunks} == {2}
    for index, graph in enumerate(graphs):
        assert_same_bits(graph.saved_tensors[0], torch.full((64, 32), float(index + 1)))


def test_memory_that_is_used_again_is_not_taken_for_what_was_there_before():
    """Which an address, or the id of an object, would be."""
    memory = np.empty((64, 64), dtype=np.float32)
    saving = save_compressed()
    graphs, ids = [], set()
    for seed in range(50):
        memory[:] = relu_map(seed=seed)
        x = torch.from_numpy(memory)
        ids.add(id(x.untyped_storage()))
        graphs.append(saved_by(saving, x))
        del x
    assert len(ids) < 50, "no storage came where another had been, so this shows nothing"
    assert saving.report().total().packed == 50
    for seed, graph in enumerate(graphs):
        assert_same_bits(graph.saved_tensors[0], relu_map(seed=seed))


def test_what_no_graph_holds_any_more_is_stored_anew():
    x = relu_map()
    saving = save_compressed()
    for _ in range(3):
        saved_by(saving, x)
    assert saving.report().total().packed == 3


# ---- What lives how long -------------------------------------------------------------------------


def storage_of(x: Tensor) -> weakref.ref[torch.UntypedStorage]:
    return weakref.ref(x.untyped_storage())


@pytest.fixture
def _no_garbage_collector():
    """What is in a reference cycle lives on."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_garbage_collector")
def test_what_is_packed_does_not_keep_the_memory_it_came_from():
    x = torch.randn(64, 64, requires_grad=True)
    with save_compressed() as saved:
        hidden = x.relu()
        loss = hidden.square().sum()
    memory = storage_of(hidden)
    del hidden
    assert memory() is None
    loss.backward()
    assert_same_bits(x.grad, 2 * x.detach().relu())
    assert saved.report().total().packed == 1


@pytest.mark.usefixtures("_no_garbage_collector")
@pytest.mark.parametrize("how", ["backward", "drop"])
def test_nothing_is_held_after_the_backward_pass_or_the_graph(how):
    x = torch.randn(64, 64, requires_grad=True)
    handles: list[weakref.ref] = []

    class Watched(save_compressed):
        def _pack(self, x):
            handle = super()._pack(x)
            if isinstance(handle, Packed):
                handles.append(weakref.ref(handle.stored.content.data))
            elif handle.stored is not None:
                handles.append(weakref.ref(handle._tensor))
            return handle

    with Watched(min_ratio=1.5, block_size=16) as saved:
        loss = x.relu().sigmoid().square().sum()  # sigmoid: kept, and an output of its node
    assert len(handles) == 3
    assert all(handle() is not None for handle in handles)
    if how == "backward":
        loss.backward()
    else:
        del loss
    assert [handle() for handle in handles] == [None] * 3
    assert saved.report().total().kept["hardly smaller"][0] == 1


@pytest.mark.usefixtures("_no_garbage_collector")
def test_a_decompressed_tensor_is_held_for_its_next_use_alone():
    x = relu_map()
    saving = save_compressed()
    graph = saved_by(saving, x, x)
    (stored,) = {handle.stored for handle in graph.handles}
    first = graph.handles[0]
    saving._unpack(first)
    held = storage_of(stored.words)
    assert held() is not None
    saving._unpack(first)
    assert (held(), stored.words) == (None, None)


def test_a_container_takes_no_more_memory_than_its_bytes():
    """It is written into room for the largest that it could be."""
    x = torch.zeros(1 << 22)
    container = torch_ebpc.compress(x)
    usable = ctypes.CDLL(None).malloc_usable_size
    usable.argtypes, usable.restype = [ctypes.c_void_p], ctypes.c_size_t
    assert container.untyped_storage().nbytes() == container.numel()
    assert container.numel() <= usable(container.data_ptr()) < container.numel() + (1 << 14)


PEAK = """
import contextlib, torch, torch_ebpc
import torch._dynamo  # large, and loaded by every optimizer
from evaluation.common.machine import peak_memory, reset_peak_memory

def step(saving):
    x = torch.ones(1 << 20, requires_grad=True)
    before = reset_peak_memory()
    with saving:
        for _ in range(16):
            x = (x * scale).relu()
    x.sum().backward()
    return peak_memory() - before

scale = torch.randn(1 << 20) - 1.2
saved = torch_ebpc.save_compressed()
step(contextlib.nullcontext())
print(step(contextlib.nullcontext()), step(saved))
print(saved.report().peak_tensor_bytes - saved.report().peak_stored_bytes)
"""


def test_the_peak_of_resident_memory_falls_by_what_is_saved():
    """16 tensors of 4 MiB. Where malloc gives back what is freed: see docs/training.md."""
    environment = {"MALLOC_MMAP_THRESHOLD_": "262144", "PYTHONPATH": str(ROOT)}
    printed = python("-c", PEAK, check=True, **environment)
    plain, compressed, saved = map(int, printed.stdout.split())
    assert saved > 40e6
    # The backward pass needs room for what it has decompressed: three tensors at most, and `scale`
    # for its next use, with the copy that is given away.
    assert saved - 5 * (4 << 20) < plain - compressed < saved + (4 << 20)


# ---- What is left as it is -----------------------------------------------------------------------


class Subclass(Tensor):
    pass


def left(x: Tensor, **arguments: int | float) -> list[str]:
    """Why a tensor is left as it is: then it comes back as it is."""
    saving = save_compressed(**arguments)
    (found,) = saved_by(saving, x).saved_tensors
    assert type(found) is type(x)
    if x.layout == torch.strided and x.device.type == "cpu":
        assert found.data_ptr() == x.data_ptr()
    return list(saving.report().total().kept)


def test_what_cannot_be_compressed_is_left_and_named():
    zeros = torch.zeros(64, 64)
    assert left(zeros.to_sparse()) == ["layout sparse_coo"]
    assert left(zeros.to("meta")) == ["device meta"]
    assert left(zeros.as_subclass(Subclass)) == ["subclass Subclass"]
    assert left(zeros.to(torch.complex64).conj()) == ["lazy conjugate or negative"]
    assert left(zeros[:, 0][:, None].expand(64, 64)[::32]) == ["small"]
    assert left(zeros[:, 0], min_bytes=0) == ["part of a larger storage"]
    assert left(torch.zeros(1023)) == ["small"]
    assert left(torch.zeros(0, 5)) == ["small"]
    assert left(torch.zeros(())) == ["small"]
    assert left(nn.Parameter(zeros, requires_grad=False)) == [PARAMETER]
    assert left(nn.Parameter(zeros, requires_grad=False).t()) == [PARAMETER]
    noise = torch.randint(-(2**31), 2**31, (1 << 20,), dtype=torch.int32)
    assert left(noise) == left(noise[:5000]) == ["hardly smaller"]
    assert left(relu_map(), min_ratio=10) == ["hardly smaller"]


def test_what_is_large_enough_is_not_left():
    assert left(torch.zeros(1024), min_bytes=4097) == ["small"]
    saving = save_compressed(min_bytes=4096)
    saved_by(saving, torch.zeros(1024))
    assert saving.report().total().packed == 1
