"""Small models with what makes hooks difficult."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """As in ResNet: one in-place ReLU called twice, and `out += identity` between."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.conv1(x))
        out = self.conv2(out)
        out += identity
        return self.relu(out)


class InPlaceAfter(nn.Module):
    """The measured layer's own output is changed in place, twice, right after it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.conv(x))
        out += 1.5
        return torch.relu_(out.mul_(0.5))


def small_network() -> nn.Sequential:
    """Five calls of three ReLU modules."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(inplace=True),
        Residual(),
        Residual(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 5),
    ).eval()


SMALL_CALLS = ["1#1", "2.relu#1", "2.relu#2", "3.relu#1", "3.relu#2"]


def images(count: int = 2) -> Tensor:
    x = torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(2))
    return (16 * x).round() / 16


def with_exact_sums(model: nn.Module) -> nn.Module:
    """The model with weights of -1, 0 and 1: its sums over :func:`images` need no rounding, so that
    their order does not matter, which differs between CPUs, compilers and eager mode."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-1, 2, parameter.shape, generator=generator))
    return model


class Returns(nn.Module):
    """Returns what ``make`` makes of its input."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(x)
