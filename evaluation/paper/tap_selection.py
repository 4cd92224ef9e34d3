"""Which tensors of a network are measured, and how they are reached."""

from __future__ import annotations

import contextlib
import dataclasses
import operator
from collections.abc import Callable, Iterator
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional

import torch_ebpc

# Calls of the functional form are found under the same operation, whichever way they are spelled.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(functional, name) for name in ("relu", "relu6", "silu", "hardswish", "gelu")
} | {"add": operator.add}
Of = Literal["outputs", "inputs", "gradients", "input gradients"]
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU, nn.LeakyReLU)


@dataclasses.dataclass(frozen=True)
class TapSelection:
    """What is measured of a network.

    Attributes:
        layers: names of modules, or of module types of torch.nn; by default every activation.
        functions: names of :data:`FUNCTIONS` that the model calls by itself.
        of: their outputs, their inputs, the gradients of their outputs, or (for ReLU and ReLU6) of
            their inputs, which are zero wherever the activation does not pass its input on.
    """

    layers: tuple[str, ...] = tuple(kind.__name__ for kind in ACTIVATIONS)
    functions: tuple[str, ...] = ()
    of: Of = "outputs"

    @property
    def backward(self) -> bool:
        return self.of in ("gradients", "input gradients")

    def applies(self, model: nn.Module) -> bool:
        """Whether some module is meant, or a function that may or may not be called."""
        return bool(self.functions) or any(self.modules(*each) for each in model.named_modules())

    def modules(self, name: str, module: nn.Module) -> bool:
        """Whether a module of that name in the model is meant."""
        return name in self.layers or type(module).__name__ in self.layers


@contextlib.contextmanager
def tapped(
    model: nn.Module, selection: TapSelection, consumer: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Inside, ``consumer(name of the call, tensor)`` sees every selected tensor.

    Raises:
        ValueError: nothing in the model is meant.
    """
    passed: dict[str, Tensor] = {}  # of input gradients: where each call passes its input on

    def note(tap: torch_ebpc.Tap, x: Tensor) -> None:
        passed[tap.name] = (x > 0) & (x < _ceiling(model, tap.layer))

    def callback(tap: torch_ebpc.Tap, x: Tensor) -> None:
        if selection.of == "input gradients":
            x = x * passed.pop(tap.name)
        try:
            consumer(tap.name, x)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{tap.name}: {error}") from error

    functions = [FUNCTIONS[name] for name in selection.functions]
    of: Any = "gradients" if selection.backward else selection.of
    with contextlib.ExitStack() as stack:
        if selection.of == "input gradients":
            stack.enter_context(torch_ebpc.Taps(model, note, selection.modules))
        stack.enter_context(
            torch_ebpc.Taps(model, callback, selection.modules, functions=functions, of=of)
        )
        yield


def default_selection(model: nn.Module) -> TapSelection:
    """The outputs of all activation modules; of a model that has none, of the functions."""
    selection = TapSelection()
    if selection.applies(model):
        return selection
    return TapSelection((), tuple(name for name in FUNCTIONS if name != "add"))


def only_relu(model: nn.Module, selection: TapSelection) -> bool:
    """Whether the gradients of the inputs can be told from those of the outputs."""
    chosen = [module for name, module in model.named_modules() if selection.modules(name, module)]
    return not selection.functions and all(isinstance(m, (nn.ReLU, nn.ReLU6)) for m in chosen)


def _ceiling(model: nn.Module, layer: str) -> float:
    return 6.0 if isinstance(model.get_submodule(layer), nn.ReLU6) else float("inf")
