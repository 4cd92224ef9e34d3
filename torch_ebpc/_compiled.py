"""Where hooks do not run: in what torch.compile, TorchScript and torch.export make of modules."""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping

import torch
from torch import nn

_COMPILED = "_orig_mod"  # what torch.compile names the module inside of the one that it returns


def is_compiled(module: nn.Module) -> bool:
    """Whether torch.compile has returned the module, or has compiled it in place."""
    dynamo = sys.modules.get("torch._dynamo")  # to import it takes a second
    if dynamo is not None and isinstance(module, dynamo.OptimizedModule):
        return True
    return getattr(module, "_compiled_call_impl", None) is not None


def layer_name(name: str) -> str:
    """A module's name, without what torch.compile has added to it."""
    return ".".join(part for part in name.split(".") if part != _COMPILED)


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """As ``model.named_modules()``, with the modules that torch.compile was given in place of those
    that it returned."""
    return {layer_name(name): module for name, module in model.named_modules()}


def python_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Those of :func:`named_layers` that are not TorchScript, in which hooks do not run."""
    return {
        name: module
        for name, module in named_layers(model).items()
        if not isinstance(module, torch.jit.ScriptModule)
    }


@contextlib.contextmanager
def bypass_compiled_code(model: nn.Module) -> Iterator[None]:
    """Inside of it, all that torch.compile has compiled runs as plain Python, since compiled code
    does not run hooks that came after it. Warns if that is ``model`` or part of it."""
    if any(is_compiled(module) for module in model.modules()):
        warnings.warn(
            "the model is compiled by torch.compile, which leaves hooks out: while it is tapped or"
            " measured, it runs without its compiled code. To measure in compiled code, compile"
            " what torch_ebpc.insert_compression returns",
            stacklevel=5,
        )
    _eager.enter()
    try:
        yield
    finally:
        _eager.leave()


class _Eager:
    """The stance of torch.compile is one for the whole process: it changes when the first block is
    entered, and changes back when the last is left, in whatever order and threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._stance = contextlib.ExitStack()

    def enter(self) -> None:
        with self._lock:
            # Where it is not imported (which takes a second), nothing is compiled, and what will be
            # has the hooks.
            if self._inside == 0 and "torch._dynamo" in sys.modules:
                self._stance.enter_context(torch.compiler.set_stance("force_eager"))
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._stance.close()


_eager = _Eager()


def require_python_layers(model: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Raises a ValueError where hooks do not run in one of ``layers``, which are modules of
    ``model`` by name; warns if there are parts of ``model`` in which they do not."""
    python = python_layers(model)
    scripted = [name for name in named_layers(model) if name not in python]
    for name, module in layers.items():
        if any(_is_inside(name, part) for part in scripted):
            raise ValueError(
                f"layers: {name!r} is TorchScript, in which hooks do not run: use the module that"
                " it was made of"
            )
        if type(module) is nn.Module:
            raise ValueError(
                f"layers: {name!r} only holds the parameters of a graph of torch.export, in which"
                " hooks do not run: use the module that was exported"
            )
    outermost = [
        part
        for part in scripted
        if not any(other != part and _is_inside(part, other) for other in scripted)
    ]
    if outermost:
        warnings.warn(
            f"layers inside of {', '.join(outermost)} are left out: they are TorchScript, in which"
            " hooks do not run",
            stacklevel=4,
        )


def warn_of_unfused_layers(model: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Warns where hooks in ``layers``, which are modules of ``model`` by name, change the path that
    PyTorch takes."""
    if not torch.backends.mha.get_fastpath_enabled():
        return
    matched = set(layers.values())
    unfused = [
        name or type(module).__name__
        for name, module in named_layers(model).items()
        if isinstance(module, nn.TransformerEncoderLayer)
        and not module.training
        and not matched.isdisjoint(module.modules())
    ]
    if unfused:
        warnings.warn(
            f"{', '.join(unfused)}: PyTorch has a fused kernel for an encoder layer in evaluation,"
            " but not where there are hooks in it: outputs may differ in the last bits. With"
            " torch.backends.mha.set_fastpath_enabled(False) it is the same with and without hooks",
            stacklevel=4,
        )


def _is_inside(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")
