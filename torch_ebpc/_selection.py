"""Which modules and which functions of a model are meant."""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import resolve_name

from torch_ebpc._compiled import layer_name, named_layers

LayerSelection = (
    type[nn.Module] | str | Sequence["type[nn.Module] | str"] | Callable[[str, nn.Module], bool]
)


# PyTorch's own aliases (which it has in no table that can be asked), and operations that have
# several functions.
_SYNONYMS = {
    "absolute": "abs",
    "adjoint": "mH",
    "clamp_max": "clamp",
    "clamp_min": "clamp",
    "clip": "clamp",
    "concat": "cat",
    "concatenate": "cat",
    "divide": "div",
    "expit": "sigmoid",
    "fix": "trunc",
    "gammainc": "igamma",
    "gammaincc": "igammac",
    "gammaln": "lgamma",
    "ger": "outer",
    "greater": "gt",
    "greater_equal": "ge",
    "inverse": "inv",
    "less": "lt",
    "less_equal": "le",
    "maximum": "max",
    "minimum": "min",
    "moveaxis": "movedim",
    "multigammaln": "mvlgamma",
    "multiply": "mul",
    "negative": "neg",
    "not_equal": "ne",
    "orgqr": "householder_product",
    "psi": "digamma",
    "row_stack": "vstack",
    "rsub": "sub",
    "subtract": "sub",
    "swapaxes": "transpose",
    "swapdims": "transpose",
    "true_divide": "div",
    "truediv": "div",
}

_ACTIVATION = re.compile(r"lu\d?$|elu|swish|mish|sigmoid|tanh|softplus|activation", re.IGNORECASE)


def matched_layers(
    model: nn.Module, layers: LayerSelection, *, may_be_empty: bool = False
) -> dict[str, nn.Module]:
    """The modules of ``model`` that are selected, by name; a module that has several, by the first.

    Raises:
        ValueError: a name is unknown, or nothing matches (unless it ``may_be_empty``).
        TypeError: ``layers`` is none of the kinds of selection.
    """
    modules = named_layers(model)
    if callable(layers) and not isinstance(layers, type):
        matched = {name: module for name, module in modules.items() if layers(name, module)}
        if not matched and not may_be_empty:
            raise ValueError(
                f"layers: the predicate matches no module of the model; {_what_there_is(modules)}"
            )
        return matched

    wanted: list[Any] = [layers]
    if isinstance(layers, Iterable) and not isinstance(layers, (str, type)):
        wanted = list(layers)
    every_name = {
        layer_name(name): module for name, module in model.named_modules(remove_duplicate=False)
    }
    types: list[type[nn.Module]] = []
    named: set[nn.Module] = set()
    for each in wanted:
        if isinstance(each, str):
            if each not in every_name:
                raise ValueError(
                    f"layers: the model has no module named {each!r}; see model.named_modules()"
                )
            named.add(every_name[each])
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
        if module in named or isinstance(module, tuple(types))
    }
    if not matched and not may_be_empty:
        looked_for = ", ".join(each.__name__ for each in types)
        why = f"no module of the model is a {looked_for}" if types else f"got {layers!r}"
        raise ValueError(f"layers: {why}; {_what_there_is(modules)}")
    return matched


def _what_there_is(modules: dict[str, nn.Module]) -> str:
    """What could be selected instead."""
    leaves = Counter(
        type(module).__name__ for module in modules.values() if not any(module.children())
    )
    activations = {kind: count for kind, count in leaves.items() if _ACTIVATION.search(kind)}
    found = Counter(activations or leaves).most_common(8)
    return (
        f"it has {', '.join(f'{kind} ({count})' for kind, count in found)}, and calls without a"
        " module are tapped by functions=[torch.relu] and the like"
    )


def operation_of(function: Any) -> str | None:
    """The name of the operation that a PyTorch function, tensor method or operator stands for,
    the same for all its spellings: ``"add"`` for ``torch.add``, ``torch.Tensor.add_``,
    ``torch.Tensor.__iadd__``, ``operator.iadd`` and ``torch.ops.aten.add.Tensor``. None for
    anything else.
    """
    own_name = str(getattr(function, "__name__", ""))
    is_operator = getattr(operator, own_name, None) is function
    if is_operator:
        name = own_name
    elif isinstance(function, torch._ops.OpOverload):
        name = function.overloadpacket.__name__
    else:
        try:
            resolved = None if isinstance(function, type) else resolve_name(function)
        except TypeError:  # not hashable, so no function of PyTorch
            return None
        if resolved is not None:
            name = resolved.rsplit(".", 1)[-1]
        elif hasattr(torch.ops.aten, own_name) and getattr(torch, own_name, None) is function:
            name = own_name  # such as torch._convolution, which cannot be overridden
        else:
            return None
    is_operator = is_operator or name.startswith("__")
    name = name.removeprefix("__").rstrip("_")
    # In-place and reflected operators: iadd and radd are add.
    if is_operator and name[:1] in ("i", "r") and hasattr(operator, f"__{name[1:]}__"):
        name = name[1:]
    return operation_named(name)


def operation_named(name: str) -> str:
    """As :func:`operation_of`, for the name that an operator has in a graph."""
    name = name.rstrip("_").removeprefix("special_").removeprefix("linalg_")
    name = re.sub("^arc(?=cos|sin|tan)", "a", name.removesuffix("_with_indices"))
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
