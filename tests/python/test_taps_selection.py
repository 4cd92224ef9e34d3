"""Taps: which modules and functions are meant by which spelling."""

from __future__ import annotations

import operator

import pytest
import torch
from helpers import about, tapped
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.testing._internal.common_methods_invocations import op_db

from torch_ebpc import Taps, compression_report, insert_compression
from torch_ebpc._selection import given_operation, operation_of

# ---- Functions -----------------------------------------------------------------------------------


def test_pytorchs_aliases_are_one_operation():
    compared = 0
    for op in op_db:
        for alias in op.aliases:
            for one, other in (
                (op.op, alias.op),
                (op.method_variant, alias.method_variant),
                (op.op, alias.inplace_variant),
            ):
                if operation_of(one) and operation_of(other):  # some are lambdas or missing
                    compared += 1
                    assert operation_of(one) == operation_of(other), (op.name, alias.name)
    assert compared > 100


@pytest.mark.parametrize(
    ("operation", "spellings"),
    [
        ("cat", [torch.cat, torch.concat, torch.concatenate, torch.ops.aten.concat]),
        ("clamp", [torch.clip, torch.clamp_min, torch.clamp_max, Tensor.clip_]),
        ("neg", [torch.negative, operator.neg, Tensor.__neg__, Tensor.neg_]),
        ("abs", [torch.absolute, operator.abs, Tensor.__abs__, torch.ops.aten.absolute_]),
        ("sigmoid", [torch.special.expit, F.sigmoid, torch.ops.aten.special_expit.default]),
        ("sub", [torch.rsub, torch.subtract, operator.isub, Tensor.__rsub__]),
        ("max_pool2d", [F.max_pool2d, F.max_pool2d_with_indices]),
        ("_convolution", [torch._convolution, torch.ops.aten._convolution]),
        ("inv", [torch.inverse, torch.linalg.inv, torch.ops.aten.linalg_inv]),
    ],
)
def test_an_operation_has_one_name_in_all_its_spellings(operation, spellings):
    assert [given_operation(each) for each in spellings] == [operation] * len(spellings)


@pytest.mark.parametrize("what", [print, "relu", torch.no_grad, nn.ReLU, len, [], torch.Tensor])
def test_what_is_no_function_of_pytorch_is_refused(what):
    with pytest.raises(TypeError, match=about("functions")):
        given_operation(what)


def test_every_spelling_in_a_model_is_tapped():
    class Model(nn.Module):
        def forward(self, x):
            return torch.concat([torch.cat([x, x]), torch.clip(x, 0, 6), torch.clamp(x, 0, 6)])

    found = tapped(Model(), torch.rand(2, 4), (), functions=[torch.cat, torch.clamp])
    assert found == ["cat#1", "clamp#1", "clamp#2", "cat#2"]


# ---- Modules -------------------------------------------------------------------------------------


class Shared(nn.Module):
    """One module under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.act1 = nn.ReLU()
        self.act2 = self.act1

    def forward(self, x: Tensor) -> Tensor:
        return self.act2(self.act1(x))


@pytest.mark.parametrize("layers", ["act2", ["act2", "act1"], "act1", nn.ReLU])
def test_every_name_of_a_shared_module_selects_it_under_its_first(layers):
    assert tapped(Shared(), torch.rand(2), layers) == ["act1#1", "act1#2"]


def test_compression_is_inserted_by_the_second_name_too():
    model = Shared()
    inserted = insert_compression(model, "act2")
    assert inserted.act1 is inserted.act2
    inserted(torch.rand(2, 3))
    (row,) = compression_report(inserted).rows
    assert (row.layer, row.values) == ("act1", 12)


def test_where_no_layer_matches_the_activations_that_are_there_are_named():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU6(), nn.GELU(), nn.Sequential(nn.GELU()))
    what = r"it has GELU \(2\), ReLU6 \(1\), and calls .* functions=\[torch\.relu\]"
    for layers in (nn.ReLU, lambda name, module: False):
        with pytest.raises(ValueError, match=rf"^layers: .*; {what}"):
            Taps(model, lambda tap, x: None, layers)
    with pytest.raises(ValueError, match=r"is a ReLU; it has Linear \(1\), Dropout \(1\), and"):
        Taps(nn.Sequential(nn.Linear(2, 2), nn.Dropout()), lambda tap, x: None)
