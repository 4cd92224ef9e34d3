"""Compiled models whose saved tensors are compressed by the compiler's partitioner."""

from __future__ import annotations

import contextlib
import weakref

import pytest
import torch
from helpers import about, assert_all_same_bits, assert_same_bits
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.backends.debugging import boxed_nop
from torch._functorch.partitioners import min_cut_rematerialization_partition

import torch_ebpc
from torch_ebpc import partitioner, save_compressed
from torch_ebpc.partitioner import CompressedPartitioner


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.second(self.norm(self.first(x)).relu())).relu()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*(Block() for _ in range(4)), nn.Flatten(), nn.LazyLinear(2))


def compiled(model: nn.Module, partition) -> nn.Module:
    """Not one line of it is left to Python: a graph break is an error."""
    torch._dynamo.reset()
    backend = aot_autograd(fw_compiler=boxed_nop, bw_compiler=boxed_nop, partition_fn=partition)
    return torch.compile(model, backend=backend, fullgraph=True)


def gradients(model: nn.Module, x: Tensor, saving=None) -> list[Tensor]:
    with saving or contextlib.nullcontext():
        loss = model(x).square().sum()
    loss.backward()
    return [loss, *(parameter.grad for parameter in model.parameters())]


@pytest.fixture
def alive(monkeypatch):
    """The most bytes that were decompressed and alive at one time."""

    class Alive:
        now = most = 0

    decompress = torch_ebpc.ops.decompress

    def released(size: int) -> None:
        Alive.now -= size

    def counted(*arguments, **options):
        x = decompress(*arguments, **options)
        Alive.now += x.nbytes
        Alive.most = max(Alive.most, Alive.now)
        weakref.finalize(x.untyped_storage(), released, x.nbytes)
        return x

    monkeypatch.setattr(torch_ebpc.ops, "decompress", counted)
    return Alive


def test_each_map_of_a_compiled_model_is_decompressed_right_before_its_use(alive):
    x = torch.rand(4, 8, 24, 24)
    eager = network()
    eager(x)
    gradients(eager, x, save_compressed(min_bytes=1024))
    assert alive.now == 0
    most, alive.most = alive.most, 0

    expected = gradients(compiled(network(), min_cut_rematerialization_partition), x)
    model = compiled(network(), CompressedPartitioner(min_bytes=1024))
    for _ in range(2):
        model.zero_grad()
        assert_all_same_bits(gradients(model, x), expected)
        assert 0 < alive.most <= 1.5 * most
        assert alive.now == 0


def test_inductor_decompresses_each_map_only_when_all_else_is_there(alive):
    """Without the memory of maps that is handed on to gradients, which would count as theirs."""
    x = torch.rand(4, 8, 24, 24)
    network()(x)
    options = dict.fromkeys(("layout_optimization", "allow_buffer_reuse", "inplace_buffers"), False)
    torch._dynamo.reset()
    expected = gradients(torch.compile(network(), options=options, fullgraph=True), x)
    torch._dynamo.reset()
    options["custom_partitioner_fn"] = CompressedPartitioner(min_bytes=1024)
    model = torch.compile(network(), options=options, fullgraph=True)
    assert_all_same_bits(gradients(model, x), expected)
    assert alive.most == x.nbytes  # one map at a time, as in eager mode


def test_what_is_saved_is_in_containers_from_where_it_was_made():
    x = torch.rand(4, 8, 24, 24)
    sizes = []

    def see(saved: Tensor) -> Tensor:
        sizes.append((tuple(saved.shape), saved.untyped_storage().nbytes()))
        return saved

    model = compiled(network(), CompressedPartitioner(min_bytes=1024))
    with torch.autograd.graph.saved_tensors_hooks(see, lambda saved: saved):
        model(x)
    stored = [size for shape, size in sizes if shape == (1,)]
    whole = [shape for shape, size in sizes if size >= x.nbytes and shape != (1,)]
    assert whole == [tuple(x.shape)]  # the input
    assert len(stored) >= 8
    assert max(stored) <= x.nbytes
    assert sum(stored) < 0.9 * len(stored) * x.nbytes


def test_inductor_takes_it_as_an_option():
    torch._dynamo.reset()
    x = torch.randn(64, 128, requires_grad=True)

    def function(x: Tensor) -> Tensor:
        return (x @ x.T).relu().square().cumsum(0).relu().sum()

    expected = torch.autograd.grad(torch.compile(function)(x), x)
    torch._dynamo.reset()
    options = {"custom_partitioner_fn": CompressedPartitioner(min_bytes=1024)}
    found = torch.autograd.grad(torch.compile(function, options=options, fullgraph=True)(x), x)
    assert_all_same_bits(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool, torch.int64])
@pytest.mark.parametrize("kind", ["zeros", "noise"])
@pytest.mark.parametrize("shape", [(3, 5, 7, 4), (1,), ()])
def test_operators_give_back_what_they_were_given(dtype, kind, shape):
    x = torch.zeros(shape) if kind == "zeros" else 100 * torch.randn(shape)
    x = x.to(dtype)
    if x.dim() == 4:
        x = x.to(memory_format=torch.channels_last)
    stored = partitioner.store(x, list(x.stride()))
    assert stored.shape == (1,)
    assert stored.untyped_storage().nbytes() <= max(1, x.nbytes)
    y = partitioner.restore(stored, list(x.shape), list(x.stride()), x.dtype, [])
    assert_same_bits(y, x)
    assert y.stride() == x.stride()


def test_another_layout_than_the_expected_one_is_no_matter():
    x = torch.randn(2, 8, 16, 16).relu()
    stride = list(x.to(memory_format=torch.channels_last).stride())
    y = partitioner.restore(partitioner.store(x, stride), list(x.shape), stride, x.dtype, [])
    assert_same_bits(y.contiguous(), x)
    assert list(y.stride()) == stride


def test_shapes_that_the_compiler_does_not_know_are_left_as_they_are(alive):
    torch._dynamo.reset()

    def function(x: Tensor) -> Tensor:
        return x.sin().relu().square().sum()

    partition = CompressedPartitioner(min_bytes=0)
    backend = aot_autograd(fw_compiler=boxed_nop, bw_compiler=boxed_nop, partition_fn=partition)
    x = torch.randn(8, 100, requires_grad=True)
    found = torch.autograd.grad(torch.compile(function, backend=backend, dynamic=True)(x), x)
    assert_all_same_bits(found, torch.autograd.grad(function(x), x))
    assert alive.most == 0


@pytest.mark.parametrize(("value", "error"), [(1.5, TypeError), (-1, ValueError)])
def test_a_wrong_min_bytes_is_named(value, error):
    with pytest.raises(error, match=about("min_bytes")):
        CompressedPartitioner(min_bytes=value)
