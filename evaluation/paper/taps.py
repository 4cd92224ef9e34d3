"""Which tensors of a network are measured, and how they are reached."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

import torch_ebpc

# Calls of the functional form are found under the same operation, whichever way they are spelled.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "relu": torch.relu,
    "relu6": functional.relu6,
    "silu": functional.silu,
    "hardswish": functional.hardswish,
    "gelu": functional.gelu,
    "add": operator.add,
}
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU, nn.LeakyReLU)


@dataclasses.dataclass(frozen=True)
class TapSelection:
    """What is measured of a network.

    Attributes:
        layers: names of modules, or of module types of torch.nn; by default every activation.
        functions: names of :data:`FUNCTIONS` that the model calls by itself.
        of: their outputs, their inputs, or the gradients of their outputs.
    """

    layers: tuple[str, ...] = tuple(kind.__name__ for kind in ACTIVATIONS)
    functions: tuple[str, ...] = ()
    of: Literal["outputs", "inputs", "gradients"] = "outputs"

    def __post_init__(self) -> None:
        for name in self.functions:
            if name not in FUNCTIONS:
                raise ValueError(f"functions must be of {', '.join(FUNCTIONS)}, got {name!r}")

    def modules(self, name: str, module: nn.Module) -> bool:
        """Whether a module of that name in the model is meant."""
        return name in self.layers or type(module).__name__ in self.layers


def tapped(
    model: nn.Module, selection: TapSelection, consumer: Callable[[str, Tensor], None]
) -> torch_ebpc.Taps:
    """A context in which ``consumer(name of the call, tensor)`` sees every selected tensor.

    Raises:
        ValueError: nothing in the model is meant.
    """

    def callback(tap: torch_ebpc.Tap, x: Tensor) -> None:
        try:
            consumer(tap.name, x)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{tap.name}: {error}") from error

    return torch_ebpc.Taps(
        model,
        callback,
        selection.modules,
        functions=[FUNCTIONS[name] for name in selection.functions],
        of=selection.of,
    )
