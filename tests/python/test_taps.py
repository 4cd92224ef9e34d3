"""Taps: which calls are reported under which names, with which tensors, and what is left behind."""

from __future__ import annotations

import copy
import gc
import operator
import pickle
import weakref

import pytest
import torch
from helpers import about, hooks_of, tapped
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from torch_ebpc import Tap, Taps


class Block(nn.Module):
    """A residual block with one ReLU module, called twice."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.bn = nn.BatchNorm2d(3)
        self.relu = nn.ReLU(inplace)

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        x = self.relu(self.bn(self.conv(x)))
        x = self.bn(x)
        x += identity
        return self.relu(x)


class Functional(nn.Module):
    """Activations and additions in several spellings, without a module of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.inner(x))
        y = torch.relu(y) + x
        y = torch.add(y, x)
        y = y.add(1.0)
        return F.silu(y.relu_())


@pytest.fixture
def blocks() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(Block(), Block(inplace=True))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(1))


# ---- Names ---------------------------------------------------------------------------------------


def test_calls_of_a_module_are_numbered(blocks: nn.Sequential, x: Tensor) -> None:
    assert tapped(blocks, x) == ["0.relu#1", "0.relu#2", "1.relu#1", "1.relu#2"]


def test_counting_starts_again_with_every_forward(blocks: nn.Sequential, x: Tensor) -> None:
    found = []
    with Taps(blocks, lambda tap, _: found.append(tap.name), "0.relu"):
        blocks(x)
        blocks(x)
    assert found == ["0.relu#1", "0.relu#2"] * 2


@pytest.mark.parametrize(
    "layers",
    [nn.Conv2d, "0.conv", (nn.Linear, "0.conv"), lambda name, module: name == "0.conv"],
    ids=["type", "name", "several", "predicate"],
)
def test_layers_are_a_type_names_several_or_a_predicate(
    blocks: nn.Sequential, x: Tensor, layers: object
) -> None:
    assert tapped(blocks, x, layers)[0] == "0.conv#1"


def test_functions_are_named_after_their_module(blocks: nn.Sequential, x: Tensor) -> None:
    assert tapped(blocks, x, (), functions=[torch.add]) == ["0.add#1", "1.add#1"]


def test_a_function_stands_for_all_its_spellings() -> None:
    model, x = Functional(), torch.randn(2, 4)
    for relu in (F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_):
        assert tapped(model, x, functions=[relu]) == ["relu#1", "relu#2", "relu#3"]
    for add in (torch.add, operator.add, operator.iadd, Tensor.add_, Tensor.__iadd__):
        # Not the addition of a number.
        assert tapped(model, x, functions=[add]) == ["add#1", "add#2"]
    assert tapped(model, x, functions=[F.silu, F.relu])[-1] == "silu#1"


def test_calls_inside_a_matched_module_are_not_reported_twice() -> None:
    model = nn.Sequential(nn.ReLU(), nn.SiLU(), nn.Hardswish(), nn.ReLU6())
    functions = [F.relu, F.silu, F.hardswish, F.relu6, F.hardtanh]
    layers, x = (nn.ReLU, nn.SiLU, nn.Hardswish, nn.ReLU6), torch.randn(3)
    assert tapped(model, x, layers, functions=functions) == [
        "0#1",
        "1#1",
        "2#1",
        "3#1",
    ]
    assert tapped(model, x, nn.ReLU, functions=[F.relu, F.silu]) == ["0#1", "1.silu#1"]


def test_functions_outside_of_the_model_are_not_reported(blocks: nn.Sequential, x: Tensor) -> None:
    found = []
    with Taps(blocks, lambda tap, _: found.append(tap.name), "0.conv", functions=[torch.add]):
        x = x + x
        blocks(x + x)
        x + x
    assert found == ["0.conv#1", "0.add#1", "1.add#1"]


def test_what_a_callback_computes_is_not_reported(blocks: nn.Sequential, x: Tensor) -> None:
    found = []

    def callback(tap: Tap, tensor: Tensor) -> None:
        found.append(tap.name)
        F.silu(tensor + tensor)

    with (
        Taps(blocks, callback, "0.conv", functions=[torch.add]),
        Taps(blocks, callback, "0.bn", functions=[F.silu]),
    ):
        blocks(x)
    assert found == ["0.conv#1", "0.bn#1", "0.bn#2", "0.add#1", "1.add#1"]


# ---- Tensors -------------------------------------------------------------------------------------


def test_outputs_are_the_tensors_themselves(blocks: nn.Sequential, x: Tensor) -> None:
    seen: dict[str, Tensor] = {}
    with Taps(blocks, lambda tap, tensor: seen.update({tap.name: tensor})):
        y = blocks(x)
    assert seen["1.relu#2"] is y


def test_inputs_are_what_the_module_reads(blocks: nn.Sequential, x: Tensor) -> None:
    seen: dict[str, Tensor] = {}
    with Taps(blocks, lambda tap, t: seen.update({tap.name: t.clone()}), nn.Conv2d, of="inputs"):
        middle = blocks[0](x)
        blocks(x)
    assert torch.equal(seen["0.conv#1"], x)
    assert seen["1.conv#1"].shape == middle.shape


def test_inputs_may_come_by_keyword_and_be_replaced() -> None:
    class Scale(nn.Module):
        def forward(self, factor: float, *, x: Tensor) -> Tensor:
            return factor * x

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = Scale()

        def forward(self, x: Tensor) -> Tensor:
            return self.scale(2.0, x=x)

    model = Model()
    with Taps(model, lambda tap, x: x + 1, Scale, of="inputs"):
        assert torch.equal(model(torch.ones(2)), torch.full((2,), 4.0))
    assert torch.equal(model(torch.ones(2)), torch.full((2,), 2.0))


@pytest.mark.parametrize("of", ["outputs", "inputs"])
def test_a_returned_tensor_takes_the_place_of_a_functions(of: str) -> None:
    model, x = Functional().eval(), torch.randn(2, 4)
    expected = F.silu(F.relu(torch.zeros(2, 4)))
    with Taps(model, lambda tap, x: torch.zeros_like(x), (), functions=[F.silu, F.relu], of=of):
        assert torch.equal(model(x), expected)


def test_a_returned_tensor_takes_the_place_of_an_in_place_addition(
    blocks: nn.Sequential, x: Tensor
) -> None:
    with Taps(blocks, lambda tap, x: -torch.ones_like(x), (), functions=[operator.iadd]):
        assert blocks(x).abs().max() == 0  # the ReLU of it


@pytest.mark.parametrize("inplace", [False, True])
def test_gradients_are_those_of_the_outputs(inplace: bool, x: Tensor) -> None:
    torch.manual_seed(0)
    block = Block(inplace)
    copied = copy.deepcopy(block)
    copied.relu = nn.ReLU()  # out of place, so that every output can be asked for
    outputs: dict[str, Tensor] = {}
    with Taps(copied, lambda tap, y: outputs.update({tap.name: y}), functions=[torch.add]):
        y = copied(x)
    # The addition changes its first operand in place, but its output is a tensor like any other.
    wanted = ["relu#1", "add#1", "relu#2"]
    expected = torch.autograd.grad(y.pow(2).sum(), [outputs[name] for name in wanted])

    gradients: dict[str, Tensor] = {}
    with Taps(
        block, lambda tap, g: gradients.update({tap.name: g}), functions=[torch.add], of="gradients"
    ):
        block(x).pow(2).sum().backward()
    assert list(gradients) == wanted[::-1]
    for name, gradient in zip(wanted, expected, strict=True):
        torch.testing.assert_close(gradients[name], gradient)


def test_gradients_are_not_replaced(x: Tensor) -> None:
    torch.manual_seed(0)
    block = Block()
    block(x).sum().backward()
    assert block.conv.weight.grad is not None
    expected = block.conv.weight.grad.clone()
    block.zero_grad()
    block.bn.reset_running_stats()
    with Taps(block, lambda tap, g: torch.zeros_like(g), of="gradients"):
        block(x).sum().backward()
    torch.testing.assert_close(block.conv.weight.grad, expected)


def test_outputs_without_gradient_are_passed_over(blocks: nn.Sequential, x: Tensor) -> None:
    found = []
    with Taps(blocks, lambda tap, _: found.append(tap.name), of="gradients"), torch.no_grad():
        blocks(x)
    assert found == []


def test_a_backward_pass_after_the_block_reports_nothing(blocks: nn.Sequential, x: Tensor) -> None:
    found = []
    taps = Taps(blocks, lambda tap, _: found.append(tap.name), of="gradients")
    with taps:
        y = blocks(x)
    y.sum().backward(retain_graph=True)
    with taps:
        y.sum().backward()
    assert found == []


# ---- What is left --------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["outputs", "inputs", "gradients"])
def test_nothing_is_left_in_the_model(blocks: nn.Sequential, x: Tensor, of: str) -> None:
    tapped(blocks, x, functions=[torch.add], of=of)
    assert not hooks_of(blocks)
    assert tapped(copy.deepcopy(blocks), x) == tapped(pickle.loads(pickle.dumps(blocks)), x)


def test_nothing_is_left_after_an_exception(blocks: nn.Sequential, x: Tensor) -> None:
    def fail(tap: Tap, tensor: Tensor) -> None:
        raise KeyError(tap.name)

    with pytest.raises(KeyError, match=r"0\.add#1"), Taps(blocks, fail, (), functions=[torch.add]):
        blocks(x)
    assert not hooks_of(blocks)
    blocks(x)


def test_calls_are_named_rightly_after_a_forward_that_raised(
    blocks: nn.Sequential, x: Tensor
) -> None:
    found = []
    with Taps(blocks, lambda tap, _: found.append(tap.name), (), functions=[torch.add]):
        with pytest.raises(RuntimeError):
            blocks(torch.zeros(2, 4, 5, 5))
        blocks(x)
    assert found == ["0.add#1", "1.add#1"]


def test_no_tensor_is_kept(blocks: nn.Sequential, x: Tensor) -> None:
    kept = []
    taps = Taps(blocks, lambda tap, y: kept.append(weakref.ref(y)), functions=[torch.add])
    with taps, torch.no_grad():
        blocks(x)
        gc.collect()
        assert [reference() for reference in kept] == [None] * len(kept)


def test_taps_may_be_nested_and_used_again(blocks: nn.Sequential, x: Tensor) -> None:
    found = []
    outer = Taps(blocks, lambda tap, _: found.append("outer " + tap.name), "0.conv")
    inner = Taps(blocks, lambda tap, _: found.append("inner " + tap.name), "0.conv")
    with outer:
        with inner:
            blocks(x)
        blocks(x)
    with inner:
        blocks(x)
    assert found == [f"{each} 0.conv#1" for each in ("outer", "inner", "outer", "inner")]


def test_entering_twice_is_an_error(blocks: nn.Sequential, x: Tensor) -> None:
    taps = Taps(blocks, lambda tap, x: None)
    with taps, pytest.raises(RuntimeError, match="entered already"), taps:
        pass
    assert not hooks_of(blocks)


def ignore(tap: Tap, tensor: Tensor) -> None:
    pass


def test_functions_alone_are_enough(blocks: nn.Sequential) -> None:
    with pytest.raises(ValueError, match=about("layers")):
        Taps(blocks, ignore, nn.Linear)
    assert Taps(blocks, ignore, nn.Linear, functions=[torch.add]).layers == ()
