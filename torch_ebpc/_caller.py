"""Follows which modules of a model are running, in each thread by itself."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

# In evaluation, these first look whether a function mode is on, and then take another path.
_LOOK_FOR_MODES = (nn.MultiheadAttention, nn.TransformerEncoder, nn.TransformerEncoderLayer)


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
        # TorchScript takes no hooks of its own, and encoder layers take another path with some.
        parts = {
            part
            for module in modules.values()
            if isinstance(module, (torch.jit.ScriptModule, nn.TransformerEncoderLayer))
            for part in module.modules()
        }
        unseen = {module: name for name, module in modules.items() if module in parts}
        for name, module in modules.items():
            if module not in unseen:
                begin, end = self._hooks({module: name}, name)
                # The latter is called as well when the module's forward raises.
                self._register(
                    module.register_forward_pre_hook(Hook(begin)),
                    module.register_forward_hook(Hook(end), always_call=True),
                )
        if unseen:
            begin, end = self._hooks(unseen)
            self._register(
                register_module_forward_pre_hook(begin),
                register_module_forward_hook(end, always_call=True),
            )

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

    def _register(self, *handles: RemovableHandle) -> None:
        for handle in handles:
            self._handles.callback(handle.remove)

    def _hooks(
        self, names: Mapping[nn.Module, str], default: str | None = None
    ) -> tuple[Callable[..., None], Callable[..., None]]:
        """Hooks for modules of these names; others, such as replicas, have the ``default``."""

        # What a compiler traces runs later or never, without these hooks.
        def begin(module: nn.Module, arguments: Any) -> None:
            name = names.get(module, default)
            if name is not None and not torch.compiler.is_compiling():
                if name in self.modules and not _is_recursive(module):
                    self._drop()
                looks = isinstance(module, _LOOK_FOR_MODES) and not module.training
                self._begin(name, with_mode=not looks)

        def end(module: nn.Module, arguments: Any, output: Any) -> None:
            name = names.get(module, default)
            # Where another hook raised before `begin`, the innermost module is not this one.
            if self.modules[-1:] == [name] and not torch.compiler.is_compiling():
                self._end()

        return begin, end

    def _begin(self, name: str, with_mode: bool) -> None:
        thread = self._thread
        outermost = not thread.names
        if outermost:
            with self._lock:
                if self._closed:
                    return
                self._passes += 1
            if not in_backward():
                thread.calls.clear()
        thread.names.append(name)
        thread.suspended.append(False)
        # In a backward pass that a module has called, PyTorch has put the mode aside.
        if self._mode is not None and (outermost or not in_backward()):
            # What a module calls comes after it has looked for modes, so that it stays on.
            changed = self._mode.switch(with_mode)
            thread.suspended[-1] = changed and not with_mode

    def _end(self) -> None:
        thread = self._thread
        thread.names.pop()
        suspended = thread.suspended.pop()
        if self._mode is not None and (suspended or not thread.names):
            self._mode.switch(bool(thread.names))
        if not thread.names:
            with self._lock:
                self._passes -= 1
                if self._closed and self._passes == 0:
                    self._handles.close()

    def _drop(self) -> None:
        """Ends a pass that an interrupt has left without its end."""
        while self.modules:
            self._end()

    def _close(self) -> None:
        self._drop()
        with self._lock:
            self._closed = True
            if self._passes == 0:
                self._handles.close()


def _is_recursive(module: nn.Module) -> bool:
    """Whether a module that is just called is running already."""
    calls = 0
    frame = inspect.currentframe()
    while frame is not None:
        code = frame.f_code
        calls += code is nn.Module._call_impl.__code__ and frame.f_locals.get("self") is module
        frame = frame.f_back
    return calls > 1


class _Thread(threading.local):
    def __init__(self) -> None:
        self.names: list[str] = []
        self.suspended: list[bool] = []  # whether each of them has switched the mode off
        self.calls: dict[str, int] = {}
