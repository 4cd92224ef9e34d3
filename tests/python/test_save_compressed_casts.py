"""save_compressed: weights are left, casts of them are made again, of the same weights; and bytes
are coded as the words that they are."""

from __future__ import annotations

import contextlib

import pytest
import torch
from helpers import assert_all_same_bits, assert_same_bits, gradients_of, images, small_network
from torch import Tensor, nn

import torch_ebpc
from torch_ebpc import save_compressed
from torch_ebpc.saved_report import CAST, PARAMETER, SavedReport


class Block(nn.Module):
    """As in a vision transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.norm2 = nn.LayerNorm(64), nn.LayerNorm(64)
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


def under_autocast(model: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return model(x)


def casts_of(report: SavedReport) -> tuple[int, int, int]:
    """Their number, tensor bytes and stored bytes."""
    rows = [row for row in report.by_kind() if row.made_by == CAST]
    return tuple(
        sum(getattr(row, name) for row in rows)
        for name in ("packed", "tensor_bytes", "stored_bytes")
    )


MODELS = {
    "convolutions": (small_network(), images(2, 32)),
    "transformer": (Block(), torch.randn(2, 48, 64, generator=torch.Generator().manual_seed(1))),
}


@pytest.mark.parametrize("name", MODELS)
def test_weights_that_are_cast_are_not_stored_and_gradients_are_the_same(name):
    model, x = MODELS[name]
    model.train()
    saved = save_compressed(min_bytes=256)
    found = gradients_of(under_autocast, model, x, saved)
    assert_all_same_bits(found, gradients_of(under_autocast, model, x))
    weights = [p for p in model.parameters() if p.dim() > 1 and 2 * p.numel() >= 256]
    if name == "convolutions":
        weights.append(x)  # which requires grad here, so that it is another leaf that is cast
    count, tensor_bytes, stored_bytes = casts_of(saved.report())
    assert count == len(weights)
    assert tensor_bytes == sum(2 * weight.numel() for weight in weights)
    assert stored_bytes == 16 * count


def cast_product(weight: Tensor, saving: contextlib.AbstractContextManager) -> Tensor:
    """The gradient of x in x * weight.bfloat16()."""
    x = torch.ones(64, 64, dtype=torch.bfloat16, requires_grad=True)
    with saving:
        return x, x * weight.bfloat16()


@pytest.mark.parametrize("way", ["in place", "data"])
def test_a_weight_that_is_changed_before_the_backward_pass_is_an_error(way):
    weight = nn.Parameter(torch.randn(64, 64))
    _, y = cast_product(weight, save_compressed(min_bytes=256))
    with torch.no_grad():
        (weight if way == "in place" else weight.data).mul_(2)
    with pytest.raises(RuntimeError, match=r"inplace operation: .*\[64, 64\], whose cast to"):
        y.sum().backward()


def test_a_weight_that_is_as_it_was_is_cast_to_what_it_was():
    weight = nn.Parameter(torch.randn(64, 64))
    with save_compressed(min_bytes=256) as saved:
        pass
    x, y = cast_product(weight, saved)
    weight.data = weight.data.clone()  # as where shards are gathered again
    y.sum().backward()
    assert_same_bits(x.grad, weight.detach().bfloat16())
    assert casts_of(saved.report()) == (1, 64 * 64 * 2, 16)


def changed_cast(weight: Tensor) -> Tensor:
    cast = weight.bfloat16()
    cast.data.mul_(3)
    return cast


def stale_cast(weight: Tensor) -> Tensor:
    cast = weight.bfloat16()
    weight.data.mul_(3)
    return cast


@pytest.mark.parametrize(
    "other",
    [changed_cast, stale_cast, lambda weight: weight.t().bfloat16(), lambda w: (2 * w).bfloat16()],
    ids=["changed", "stale", "of a view", "of no leaf"],
)
def test_what_is_not_the_cast_of_a_leaf_is_stored(other):
    weight = nn.Parameter(torch.randn(64, 64).relu())
    x = torch.ones(64, 64, dtype=torch.bfloat16, requires_grad=True)
    with save_compressed(min_bytes=256) as saved:
        cast = other(weight)
        y = x * cast
    expected = cast.detach().clone()
    y.sum().backward()
    assert_same_bits(x.grad, expected)
    assert casts_of(saved.report()) == (0, 0, 0)
    assert saved.report().total().packed == 1


@pytest.mark.parametrize("shift", [0, 1, 4])
@pytest.mark.parametrize("floats", [True, False])
def test_bytes_are_coded_as_words_of_32_bits_where_these_become_smaller(shift, floats):
    """Such as the workspaces of recurrent layers, and wherever they begin."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8192, generator=generator).relu()
    content = x.view(torch.uint8) if floats else (x > 0).repeat(4).view(torch.uint8)
    memory = torch.empty(content.numel() + shift, dtype=torch.uint8)
    given = memory[shift:].copy_(content)
    y = torch.ones(1, requires_grad=True)
    with save_compressed() as saved:
        z = y * given
    total = saved.report().total()
    as_bytes = torch_ebpc.compress(given, codec="auto").numel()
    words = content.view(torch.int32)
    as_words = as_bytes if shift == 1 else torch_ebpc.compress(words, codec="auto").numel()
    assert as_words < as_bytes or not floats or shift == 1
    assert total.container_bytes == min(as_bytes, as_words)
    assert_same_bits(z.grad_fn._saved_other, given)


@pytest.mark.parametrize(
    ("kind", "ratio"), [("random", 7.5), ("sparse", 40), ("shifted", 7.5), ("other bytes", 7)]
)
def test_masks_are_coded_by_their_bits_where_these_become_smaller(kind, ratio):
    """Not where they hold other bytes than 0 and 1."""
    generator = torch.Generator().manual_seed(1)
    memory = torch.rand(65536 + 8, generator=generator) < (0.02 if kind == "sparse" else 0.5)
    if kind == "other bytes":
        memory.view(torch.uint8)[8:].mul_(2)
    mask = memory[1:-7] if kind == "shifted" else memory[8:]
    y = torch.ones(mask.numel(), requires_grad=True)
    with save_compressed() as saved:
        z = torch.where(mask, y, 0.0)
    found = z.grad_fn._saved_condition
    assert torch.equal(found.view(torch.uint8), mask.view(torch.uint8))
    total = saved.report().total()
    assert total.packed == 1
    assert total.packed_tensor_bytes == mask.nbytes
    assert ratio <= total.ratio < 2 * ratio


def test_parameters_are_left_in_any_view_and_buffers_where_the_model_is_known():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 64)
            self.frozen = nn.Linear(64, 64).requires_grad_(False)
            self.register_buffer("scale", torch.ones(64, 64))

        def forward(self, x: Tensor) -> Tensor:
            return self.frozen(self.linear(x)) * self.scale

    model, x = Scaled(), torch.zeros(64, 64)
    with save_compressed(model) as saved:
        model(x)
    kept = saved.report().total().kept
    assert kept == {PARAMETER: (1, 64 * 64 * 4), "buffer": (1, 64 * 64 * 4)}
    with save_compressed() as saved:
        model(x)
    total = saved.report().total()
    assert total.kept == {PARAMETER: (1, 64 * 64 * 4)}
    assert total.packed == 2  # the input and the buffer
