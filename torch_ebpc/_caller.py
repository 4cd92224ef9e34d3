"""Follows which module of a model is running."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn


class Caller:
    """Knows the innermost of a model's modules that is running, in each thread by itself.

    Args:
        model: at each of its calls, following begins anew.
        modules: what to follow, by name: as a rule, all of ``model.named_modules()``.
        attached: gets the callbacks that remove all of it from the model.
    """

    def __init__(
        self, model: nn.Module, modules: Mapping[str, nn.Module], attached: contextlib.ExitStack
    ) -> None:
        self._thread = _Running()
        attached.callback(model.register_forward_pre_hook(self._begin_forward).remove)
        for name, module in modules.items():
            begin, end = self._hooks(name)
            attached.callback(module.register_forward_pre_hook(begin).remove)
            # Called as well when the module's forward raises.
            attached.callback(module.register_forward_hook(end, always_call=True).remove)

    @property
    def modules(self) -> list[str]:
        """The names of all modules that are running, the innermost last."""
        return self._thread.names

    def _begin_forward(self, module: nn.Module, arguments: Any) -> None:
        # What a compiler traces runs later or never, without these hooks.
        if not torch.compiler.is_compiling():
            self._thread.names.clear()

    def _hooks(self, name: str) -> tuple[Callable[..., None], Callable[..., None]]:
        def begin(module: nn.Module, arguments: Any) -> None:
            if not torch.compiler.is_compiling():
                self._thread.names.append(name)

        def end(module: nn.Module, arguments: Any, output: Any) -> None:
            if torch.compiler.is_compiling():
                return
            # Where another hook raised before `begin`, the innermost module is not this one.
            names = self._thread.names
            if names and names[-1] == name:
                names.pop()

        return begin, end


class _Running(threading.local):
    def __init__(self) -> None:
        self.names: list[str] = []
