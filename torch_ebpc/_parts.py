"""The tensors in what a module takes or returns: tuples, lists, dicts and dataclasses of them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


def map_parts(value: Any, function: Callable[[str, Tensor], Tensor | None], part: str = "") -> Any:
    """Calls ``function(part, tensor)`` for each tensor in ``value``, in order; ``part`` says where
    it is, such as ``[0]`` or ``[logits][1]``, and is empty where ``value`` is a tensor itself.

    Returns ``value``, or a copy of the same type in which each tensor for which ``function``
    returned one is replaced by that.
    """
    if isinstance(value, Tensor):
        replacement = function(part, value)
        return value if replacement is None else replacement
    parts = _parts(value)
    mapped = {key: map_parts(each, function, f"{part}[{key}]") for key, each in parts.items()}
    changed = {key: each for key, each in mapped.items() if each is not parts[key]}
    if not changed:
        return value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*mapped.values())
    if isinstance(value, (tuple, list)):
        return type(value)(mapped.values())
    result = copy.copy(value)
    for key, each in changed.items():
        if isinstance(value, Mapping):
            result[key] = each
        else:
            object.__setattr__(result, key, each)  # frozen ones too
    return result


def _parts(value: Any) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    if isinstance(value, (tuple, list)):
        return dict(enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    return {}
