"""Taps: outputs and inputs that are no plain tensor are handed part by part, or left out."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any, NamedTuple

import pytest
import torch
from helpers import Returns
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from torch_ebpc import CompressionMeter, Tap, Taps


class Pair(NamedTuple):
    first: Tensor
    second: list[Tensor] | None = None


@dataclasses.dataclass(frozen=True)
class Output:
    logits: Tensor
    states: tuple[Tensor, ...] = ()
    loss: Tensor | None = None


MADE = {
    "tuple": (lambda x: (x, 2 * x), ["[0]", "[1]"]),
    "list": (lambda x: [x, None, [2 * x]], ["[0]", "[2][0]"]),
    "nested": (lambda x: (None, ({"a": x},)), ["[1][0][a]"]),
    "dict": (lambda x: {"feat1": x, "pool": 2 * x}, ["[feat1]", "[pool]"]),
    "OrderedDict": (lambda x: collections.OrderedDict(a=x), ["[a]"]),
    "NamedTuple": (lambda x: Pair(x, [2 * x]), ["[first]", "[second][0]"]),
    "dataclass": (lambda x: Output(x, (2 * x,)), ["[logits]", "[states][0]"]),
    "PyTorch's": (lambda x: torch.max(x, 0), ["[0]", "[1]"]),
}


def flat(value: Any) -> list[Tensor]:
    """The tensors in a structure."""
    found: list[Tensor] = []
    if isinstance(value, Tensor):
        found = [value]
    elif dataclasses.is_dataclass(value):
        found = flat([getattr(value, field.name) for field in dataclasses.fields(value)])
    elif value is not None:
        for each in value.values() if isinstance(value, dict) else value:
            found += flat(each)
    return found


@pytest.mark.parametrize("kind", MADE)
def test_each_part_of_an_output_is_handed_and_replaced(kind):
    make, parts = MADE[kind]
    model = nn.Sequential(Returns(make))
    x, seen = torch.rand(2, 3), []

    def callback(tap: Tap, part: Tensor) -> Tensor:
        seen.append((tap.name, tap.layer, tap.part, tap.call))
        return part + 1

    expected = model(x)
    with Taps(model, callback, Returns):
        output = model(x)
    assert seen == [(f"0{part}#1", "0", part, 1) for part in parts]
    assert type(output) is type(expected)
    for part, other in zip(flat(output), flat(expected), strict=True):
        assert torch.equal(part, other + 1)


def test_an_output_in_which_nothing_is_replaced_is_the_object_itself():
    made = []
    model = nn.Sequential(Returns(lambda x: made.append({"a": x}) or made[-1]))
    with Taps(model, lambda tap, x: None, Returns):
        assert model(torch.ones(2)) is made[0]


def test_a_recurrent_layer_is_measured_part_by_part():
    model = nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 3))
    with CompressionMeter(model, lambda name, module: name != "", mode="insert") as meter:
        for _ in range(2):
            model(torch.rand(5, 2, 4))
    rows = meter.report().rows
    assert [(row.name, row.layer) for row in rows] == [
        ("0#1", "0"), ("1[0]#1", "1"), ("1[1][0]#1", "1"), ("1[1][1]#1", "1"),
    ]  # fmt: skip
    assert meter.report().never_called == []


@pytest.mark.parametrize("of", ["outputs", "inputs", "gradients"])
def test_a_call_without_a_tensor_is_left_out_and_named(of):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.count, self.relu = Returns(lambda x: 3), nn.ReLU()

        def forward(self, x):
            argument = None if of == "inputs" else x
            return self.relu(x) * self.count(argument)

    model, found = Model(), []
    with Taps(model, lambda tap, x: found.append(tap.name), (Returns, nn.ReLU), of=of) as taps:
        model(torch.rand(2, requires_grad=True)).sum().backward()
    assert found == ["relu#1"]
    why = "no tensor among its inputs" if of == "inputs" else "no tensor, it is int"
    assert list(taps.left_out) == ["count#1"]
    assert why in taps.left_out["count#1"]


def test_inputs_of_any_dtype_and_in_lists_are_handed():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(5, 3)

        def forward(self, x):
            return torch.cat([self.table(x), torch.ones(1, 3)])

    model, found = Model(), {}
    with Taps(
        model,
        lambda tap, x: found.update({tap.name: x.dtype}),
        nn.Embedding,
        functions=[torch.cat],
        of="inputs",
    ):
        model(torch.tensor([1, 2]))
    assert found == {"table#1": torch.int64, "cat#1": torch.float32}


def test_the_first_tensor_in_a_list_is_replaced_alone():
    model = nn.Sequential(Returns(lambda xs: torch.cat(xs)))
    with Taps(model, lambda tap, x: x + 1, Returns, of="inputs"):
        y = model([torch.zeros(1), torch.zeros(1)])
    assert y.tolist() == [1.0, 0.0]


def test_gradients_are_those_of_each_part():
    model = nn.Sequential(nn.Linear(4, 4), Returns(lambda x: (x, {"twice": 2 * x})))
    found = {}
    with Taps(model, lambda tap, g: found.update({tap.name: g}), Returns, of="gradients"):
        one, other = model(torch.rand(2, 4))
        (one.sum() + 3 * other["twice"].sum()).backward()
    assert {name: g.unique().tolist() for name, g in found.items()} == {
        "1[0]#1": [7.0],  # through the second as well
        "1[1][twice]#1": [3.0],
    }


def test_a_functions_parts_are_handed():
    model = nn.Sequential(Returns(lambda x: F.max_pool2d(x, 2, return_indices=True)[0]))
    found = []
    x = torch.rand(1, 1, 4, 4)
    with Taps(model, lambda tap, x: found.append(tap.name), (), functions=[F.max_pool2d]):
        model(x)
    assert found == ["0.max_pool2d[0]#1", "0.max_pool2d[1]#1"]
