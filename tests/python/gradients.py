"""Gradients of a model with something around its forward pass or not, and whether they agree."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable

import torch
from sample_inputs import assert_same_bits
from torch import Tensor, nn


def images(count: int = 2, size: int = 32, dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(3))
    return x.to(dtype)


def gradients_of(
    forward: Callable[[nn.Module, Tensor], Tensor],
    model: nn.Module,
    x: Tensor,
    saving: contextlib.AbstractContextManager | None = None,
) -> list[Tensor]:
    """The loss, and the gradients of the input and of all parameters of a copy of the model."""
    model = copy.deepcopy(model)
    x = x.detach().clone().requires_grad_()
    torch.manual_seed(5)
    with saving or contextlib.nullcontext():
        loss = forward(model, x).float().square().sum()
    loss.backward()
    return [loss, x.grad, *(p.grad for p in model.parameters())]


def assert_all_same_bits(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected)
    for each, other in zip(found, expected, strict=True):
        assert_same_bits(each, other)
        assert each.stride() == other.stride()


def plain_call(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)
