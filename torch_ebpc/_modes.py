"""PyTorch's modes, through which the functions that a model calls are seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import overrides
from torch.overrides import TorchFunctionMode
from torch.utils import _python_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

CallFunction = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
"""Calls a function with positional and keyword arguments, and returns what it returns."""


class FunctionTaps(TorchFunctionMode):
    """Sees every PyTorch function that is called from Python, but not what those call inside."""

    def __init__(self, call: CallFunction) -> None:
        super().__init__()
        self._call = call

    def switch(self, on: bool) -> bool:
        modes = overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call]
        # Below what the model may have entered meanwhile, and leaves as the uppermost.
        return _switch(self, on, modes, 0, overrides)

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return self._call(func, args, kwargs or {})


class ScriptTaps(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator that TorchScript runs: neither modules' hooks nor function modes do."""

    def __init__(
        self,
        call: CallFunction,
        note_failure: Callable[[Exception | None], None],
        composites: list[str],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._call = call
        self._note_failure = note_failure
        self._composites = composites

    def switch(self, on: bool) -> bool:
        if on:
            self._note_failure(None)
        if on and self._composites and not torch.is_inference_mode_enabled():
            raise ValueError(
                f"functions: {', '.join(self._composites)} must run in torch.inference_mode() to"
                " be tapped in TorchScript; elsewhere PyTorch runs the parts that it consists of"
            )
        modes = _python_dispatch._get_current_dispatch_mode_stack()
        return _switch(self, on, modes, len(modes), _python_dispatch)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        try:
            return self._call(func, args, kwargs or {})
        except Exception as error:
            self._note_failure(error)
            raise


def _switch(mode: Any, on: bool, modes: list[Any], place: int, stack: Any) -> bool:
    """Puts ``mode`` at its place among ``modes``, which are those of this thread, or takes it away;
    returns whether that changed anything. The module ``stack`` pushes and pops."""
    if on == (mode in modes):
        return False
    place = place if on else modes.index(mode)
    new = [mode, *modes[place:]] if on else modes[place + 1 :]
    for _ in modes[place:]:
        stack._pop_mode()
    for each in new:
        stack._push_mode(each)
    return True
