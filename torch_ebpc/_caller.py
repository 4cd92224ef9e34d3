"""Follows which modules of a model are running, in each thread by itself."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

# In evaluation, these look whether a function mode is on, and then take another path than without.
_WITHOUT_MODE = (nn.MultiheadAttention, nn.TransformerEncoder)


class Hook:
    """What is registered with a module. Copies and pickles that are made of the module meanwhile
    get a function of Python's own in its place, which does nothing."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (contextlib.nullcontext(), "__exit__")


class Mode(Protocol):
    """A mode of PyTorch that is on in a thread while modules run there."""

    def switch(self, on: bool) -> bool:
        """Switches it on or off in this thread, and returns whether that changed anything."""


def in_backward() -> bool:
    """Whether this thread is in a backward pass, where modules only run to repeat what they have
    computed before, for a checkpoint."""
    return torch._C._current_graph_task_id() != -1


class Caller:
    """Knows the modules that are running and the calls of this pass, in each thread by itself.

    A pass lasts as long as the outermost of the modules that is running, whichever that is.

    Args:
        modules: what to follow, by name: as a rule, all of ``model.named_modules()``.
        attached: gets the callback that removes all of it from the modules. In other threads, a
            pass that has begun is followed to its end.
        mode: is on while one of the modules runs, if that does not change what it computes.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        attached: contextlib.ExitStack,
        mode: Mode | None = None,
    ) -> None:
        self._thread = _Thread()
        self._mode = mode
        self._lock = threading.Lock()  # of what follows
        self._passes = 0  # that have begun and not ended
        self._closed = False
        self._handles = contextlib.ExitStack()
        attached.callback(self._close)
        for name, module in modules.items():
            begin, end = self._hooks(name, module)
            if isinstance(module, torch.jit.ScriptModule):  # which takes no hooks of its own
                handles = (
                    register_module_forward_pre_hook(begin),
                    register_module_forward_hook(end, always_call=True),
                )
            else:
                # The latter is called as well when the module's forward raises.
                handles = (
                    module.register_forward_pre_hook(Hook(begin)),
                    module.register_forward_hook(Hook(end), always_call=True),
                )
            for handle in handles:
                self._handles.callback(handle.remove)

    @property
    def modules(self) -> list[str]:
        """The names of all modules that are running, the innermost last."""
        return self._thread.names

    @property
    def calls(self) -> dict[str, int]:
        """Numbers that are of this pass alone, by any name."""
        return self._thread.calls

    @property
    def closed(self) -> bool:
        """Whether the block was left."""
        return self._closed

    def _hooks(
        self, name: str, followed: nn.Module
    ) -> tuple[Callable[..., None], Callable[..., None]]:
        is_script = isinstance(followed, torch.jit.ScriptModule)
        sees_mode = isinstance(followed, _WITHOUT_MODE)

        def is_meant(module: nn.Module) -> bool:
            # What a compiler traces runs later or never, without these hooks.
            return not torch.compiler.is_compiling() and (module is followed or not is_script)

        def begin(module: nn.Module, arguments: Any) -> None:
            if is_meant(module):
                self._begin(name, with_mode=module.training or not sees_mode)

        def end(module: nn.Module, arguments: Any, output: Any) -> None:
            # Where another hook raised before `begin`, the innermost module is not this one.
            if is_meant(module) and self.modules[-1:] == [name]:
                self._end()

        return begin, end

    def _begin(self, name: str, with_mode: bool) -> None:
        thread = self._thread
        if not thread.names:
            with self._lock:
                if self._closed:
                    return
                self._passes += 1
            if not in_backward():
                thread.calls.clear()
        thread.names.append(name)
        thread.before.append(None)
        if self._mode is not None and self._mode.switch(with_mode):
            thread.before[-1] = not with_mode

    def _end(self) -> None:
        thread = self._thread
        thread.names.pop()
        before = thread.before.pop()
        if self._mode is not None and before is not None:
            self._mode.switch(before)
        if not thread.names:
            with self._lock:
                self._passes -= 1
                if self._closed and self._passes == 0:
                    self._handles.close()

    def _close(self) -> None:
        while self.modules:  # an interrupt has left a pass without its end
            self._end()
        with self._lock:
            self._closed = True
            if self._passes == 0:
                self._handles.close()


class _Thread(threading.local):
    def __init__(self) -> None:
        self.names: list[str] = []
        self.before: list[bool | None] = []  # what the mode was, where a module has changed it
        self.calls: dict[str, int] = {}
