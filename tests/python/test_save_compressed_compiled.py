"""save_compressed with transforms and compilers: gradients are those of the plain run."""

from __future__ import annotations

import contextlib

import pytest
import torch
from helpers import (
    assert_all_same_bits,
    assert_same_bits,
    gradients_of,
    images,
    plain_call,
    small_network,
)
from torch import Tensor, nn

from torch_ebpc import save_compressed

pytestmark = pytest.mark.usefixtures("deterministic")


def test_under_vmap_the_whole_batch_is_saved():
    x = torch.randn(8, 32, 32, requires_grad=True)
    with save_compressed(min_bytes=0) as saved:
        y = torch.vmap(lambda each: each.relu().sin())(x)
    y.sum().backward()
    assert_same_bits(x.grad, torch.autograd.grad(x.relu().sin().sum(), x)[0])
    assert saved.report().total().tensor_bytes == x.nbytes


def test_torch_func_says_that_it_has_no_such_hooks():
    with save_compressed(), pytest.raises(RuntimeError, match="saved tensor hooks"):
        torch.func.grad(lambda x: x.sin().sum())(torch.randn(4))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("inside", [False, True])
def test_what_a_scripted_module_saves_is_compressed(inside):
    x = images(size=32)
    model: nn.Module = torch.jit.script(small_network())
    if inside:
        model = nn.Sequential(model, nn.Tanh())
    parameters = list(model.parameters())

    def run(saving: save_compressed | None) -> list[Tensor]:
        with saving or contextlib.nullcontext():
            loss = model(x).square().sum()
        return list(torch.autograd.grad(loss, parameters))

    for _ in range(3):  # until TorchScript has optimized it
        expected = run(None)
    saved = save_compressed(model, min_bytes=256)
    assert_all_same_bits(run(saved), expected)
    total = saved.report().total()
    assert total.packed > 0
    layers = {row.layer for row in saved.report().rows}
    assert layers == ({"0", "1"} if inside else {"(model)"}) | {"(outside of the model)"}


class Network(nn.Module):
    """module.compile() does nothing for a Sequential."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = small_network()

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@pytest.mark.parametrize("which", ["compiled before", "compiled inside", "module.compile()"])
def test_what_a_compiled_model_saves_is_compressed(which):
    torch._dynamo.reset()
    x = images(4, 48)

    def run(saving: save_compressed | None) -> list[Tensor]:
        model = Network()
        if which == "module.compile()":
            model.compile()
            compiled = model
        else:
            compiled = torch.compile(model)
        leaf = x.clone().requires_grad_()
        if which == "compiled before":
            compiled(leaf).sum().backward()
            leaf.grad = None
            compiled.zero_grad()
        with saving or contextlib.nullcontext():
            loss = compiled(leaf).float().square().sum()
        assert "CompiledFunction" in str(compiled(leaf).grad_fn)
        loss.backward()
        return [loss, leaf.grad, *(p.grad for p in model.parameters())]

    saved = save_compressed()
    assert_all_same_bits(run(saved), run(None))
    assert saved.report().total().packed > 0


def test_layers_inside_of_a_compiled_one_are_not_told_apart():
    torch._dynamo.reset()
    model = small_network()
    model[2] = torch.compile(model[2], backend="aot_eager")
    with save_compressed(model) as saved:
        model(images(size=32))
    layers = {row.layer for row in saved.report().rows}
    assert {"1", "2", "3.relu"} <= layers
    assert not any(layer.startswith("2.") for layer in layers)


def test_it_can_be_entered_inside_of_a_compiled_function():
    torch._dynamo.reset()
    saved = save_compressed()
    network = small_network()

    def forward(model: nn.Module, x: Tensor) -> Tensor:
        with saved:
            return model(x)

    compiled = torch.compile(forward, backend="aot_eager")
    found = gradients_of(compiled, network, images(size=32))
    assert saved.report().total().packed > 0
    assert_all_same_bits(
        found,
        gradients_of(torch.compile(plain_call, backend="aot_eager"), network, images(size=32)),
    )
