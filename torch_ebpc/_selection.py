"""Which modules and which functions of a model are meant."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import resolve_name

LayerSelection = (
    type[nn.Module] | str | Sequence["type[nn.Module] | str"] | Callable[[str, nn.Module], bool]
)


_SYNONYMS = {
    "divide": "div",
    "multiply": "mul",
    "subtract": "sub",
    "true_divide": "div",
    "truediv": "div",
}


def matched_layers(
    model: nn.Module, layers: LayerSelection, *, may_be_empty: bool = False
) -> dict[str, nn.Module]:
    """The modules of ``model`` that are selected, by name.

    Raises:
        ValueError: a name is unknown, or nothing matches (unless it ``may_be_empty``).
        TypeError: ``layers`` is none of the kinds of selection.
    """
    modules = dict(model.named_modules())
    if callable(layers) and not isinstance(layers, type):
        matched = {name: module for name, module in modules.items() if layers(name, module)}
        if not matched and not may_be_empty:
            raise ValueError("layers: the predicate matches no module of the model")
        return matched

    wanted: list[Any] = [layers]
    if isinstance(layers, Iterable) and not isinstance(layers, (str, type)):
        wanted = list(layers)
    types: list[type[nn.Module]] = []
    names: list[str] = []
    for each in wanted:
        if isinstance(each, str):
            if each not in modules:
                raise ValueError(
                    f"layers: the model has no module named {each!r}; see model.named_modules()"
                )
            names.append(each)
        elif isinstance(each, type) and issubclass(each, nn.Module):
            types.append(each)
        else:
            raise TypeError(
                "layers must be module types, names or a predicate (name, module) -> bool,"
                f" got {each!r}"
            )
    matched = {
        name: module
        for name, module in modules.items()
        if name in names or isinstance(module, tuple(types))
    }
    if not matched and not may_be_empty:
        looked_for = ", ".join(each.__name__ for each in types) or "nothing"
        raise ValueError(f"layers: no module of the model is a {looked_for}")
    return matched


def operation_of(function: Any) -> str | None:
    """The name of the operation that a PyTorch function, tensor method or operator stands for,
    the same for all its spellings: ``"add"`` for ``torch.add``, ``torch.Tensor.add_``,
    ``torch.Tensor.__iadd__``, ``operator.iadd`` and ``torch.ops.aten.add.Tensor``. None for
    anything else.
    """
    is_operator = getattr(operator, getattr(function, "__name__", ""), None) is function
    if is_operator:
        name = str(function.__name__)
    elif isinstance(function, torch._ops.OpOverload):
        name = function.overloadpacket.__name__
    else:
        try:
            resolved = resolve_name(function)
        except TypeError:  # not hashable, so no function of PyTorch
            return None
        if resolved is None:
            return None
        name = resolved.rsplit(".", 1)[-1]
    is_operator = is_operator or name.startswith("__")
    name = name.removeprefix("__").rstrip("_")
    # In-place and reflected operators: iadd and radd are add.
    if is_operator and name[0] in ("i", "r") and hasattr(operator, f"__{name[1:]}__"):
        name = name[1:]
    return _SYNONYMS.get(name, name)


def given_operation(function: Any) -> str:
    """As :func:`operation_of`, for a caller's argument.

    Raises:
        TypeError: it is no function of PyTorch, tensor method or operator.
    """
    operation = operation_of(function)
    if operation is None:
        raise TypeError(
            "functions must be PyTorch functions, tensor methods or functions of the module"
            f" operator, as callables, got {function!r}"
        )
    return operation
