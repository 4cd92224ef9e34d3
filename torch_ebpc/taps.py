"""Callbacks on a model's feature maps and gradients, each named after the call that makes it."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Literal

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from torch_ebpc._selection import LayerSelection, given_operation, matched_layers, operation_of

TapKind = Literal["outputs", "inputs", "gradients"]
_Arguments = tuple[tuple[Any, ...], dict[str, Any]]

# What callbacks compute is not reported, neither to their own taps nor to others.
_in_callback = contextvars.ContextVar("_in_callback", default=False)


@dataclasses.dataclass(frozen=True)
class Tap:
    """One call of one layer.

    Example:
        >>> torch_ebpc.Tap("layer1.0.relu", 2).name
        'layer1.0.relu#2'
    """

    layer: str  #: as in model.named_modules(); of a function, its module's name and its own
    call: int  #: of this layer in this forward pass of the model, from 1

    @property
    def name(self) -> str:
        """``layer#call``, for example ``layer1.0.relu#1`` or ``layer1.0.add#1``."""
        return f"{self.layer}#{self.call}"


class Taps:
    """A context manager that hands the tensors of chosen calls in a model to a callback.

    Calls are counted anew in each forward pass of ``model``. Everything is removed when the block
    is left, also by an exception; the model can then be copied and pickled as before. No tensor is
    kept. Several may be entered at once, each by a ``with`` block of its own.

    Args:
        model: any module.
        callback: called as ``callback(tap, tensor)``, with the tensor itself and not a copy. A
            tensor that it returns takes the place of that one (but see gradients).
        layers: which modules: a module type, a name as in ``model.named_modules()``, several of
            those, or a predicate ``(name, module) -> bool``. Where there are ``functions``, none
            need match.
        functions: PyTorch functions that the model calls by itself, without a module, given as the
            callables. Each stands for its operation in every spelling: ``torch.relu`` also for
            ``F.relu``, ``x.relu()`` and the in-place ones; ``torch.add`` or ``operator.add`` also
            for ``x + y`` and ``x += y``. Such a call is named after the module that makes it and
            the operation, ``layer1.0.add#1``. Not reported are calls made inside a matched module
            or inside another PyTorch function, and additions of a tensor and a number.
        of: ``"outputs"`` of these calls; ``"inputs"``, the first tensor among each call's
            arguments, which for a convolution is what an accelerator reads; or ``"gradients"``,
            those of the outputs, during the backward pass, under the name of the forward call.
            Outputs that require no gradient are passed over, and what the callback returns is
            ignored.

    Raises:
        ValueError: a layer name is unknown, nothing matches, or ``of`` is none of the three.
        TypeError: an argument has the wrong type; during a forward pass, that a matched call's
            output is not a tensor, or that there is no tensor among its arguments.

    Where a call works in place, the replacement of its output is what the call returns:
    ``x = x.relu_()`` gets it, ``x.relu_()`` as a statement does not.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU())
        >>> shapes = {}
        >>> with torch_ebpc.Taps(model, lambda tap, x: shapes.update({tap.name: tuple(x.shape)})):
        ...     y = model(torch.randn(3, 4))
        >>> shapes
        {'1#1': (3, 2)}
    """

    def __init__(
        self,
        model: nn.Module,
        callback: Callable[[Tap, Tensor], Tensor | None],
        layers: LayerSelection = nn.ReLU,
        *,
        functions: Sequence[Callable[..., Any]] = (),
        of: TapKind = "outputs",
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        if not callable(callback):
            raise TypeError(f"callback must be callable, got {type(callback).__name__}")
        if of not in ("outputs", "inputs", "gradients"):
            raise ValueError(f"of must be 'outputs', 'inputs' or 'gradients', got {of!r}")
        if not isinstance(functions, Iterable):
            raise TypeError(f"functions must be a sequence of functions, got {functions!r}")
        self._model = model
        self._callback = callback
        self._operations = frozenset(given_operation(function) for function in functions)
        self._layers = matched_layers(model, layers, may_be_empty=bool(self._operations))
        self._of = of
        self._calls: dict[str, int] = {}
        self._attached: contextlib.ExitStack | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the matched modules."""
        return tuple(self._layers)

    @property
    def operations(self) -> tuple[str, ...]:
        """What ``functions`` stand for, as in the names of calls: ``("add", "relu")``."""
        return tuple(sorted(self._operations))

    @property
    def entered(self) -> bool:
        """Whether the model is tapped at this moment."""
        return self._attached is not None

    # ---- Entering and leaving --------------------------------------------------------------------

    def __enter__(self) -> Taps:
        if self.entered:
            raise RuntimeError("these taps are entered already; make a second object of them")
        with contextlib.ExitStack() as stack:
            stack.callback(self._model.register_forward_pre_hook(self._begin_forward).remove)
            for name, module in self._layers.items():
                if self._of == "inputs":
                    handle = module.register_forward_pre_hook(
                        self._input_hook(name), with_kwargs=True
                    )
                else:
                    handle = module.register_forward_hook(self._output_hook(name))
                stack.callback(handle.remove)
            if self._operations:
                caller = _Caller(self._model, frozenset(self._layers), stack)
                stack.enter_context(_FunctionTaps(self, self._operations, caller))
            self._attached = stack.pop_all()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        attached, self._attached = self._attached, None
        self._calls.clear()
        if attached is not None:
            attached.close()

    def _begin_forward(self, module: nn.Module, arguments: Any) -> None:
        self._calls.clear()

    def _input_hook(self, layer: str) -> Callable[..., _Arguments | None]:
        def hook(
            module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]
        ) -> _Arguments | None:
            return self._tap_input(layer, arguments, keywords)

        return hook

    def _output_hook(self, layer: str) -> Callable[..., Tensor | None]:
        def hook(module: nn.Module, arguments: Any, output: Any) -> Tensor | None:
            return self._tap_output(layer, output)

        return hook

    # ---- One call --------------------------------------------------------------------------------

    def _next_call(self, layer: str) -> Tap:
        call = self._calls[layer] = self._calls.get(layer, 0) + 1
        return Tap(layer, call)

    def _tap_function(
        self, layer: str, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        """Calls ``function``, tapped."""
        if self._of == "inputs":
            arguments, keywords = self._tap_input(layer, arguments, keywords) or (
                arguments,
                keywords,
            )
            return function(*arguments, **keywords)
        output = function(*arguments, **keywords)
        replacement = self._tap_output(layer, output)
        return output if replacement is None else replacement

    def _tap_input(
        self, layer: str, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> _Arguments | None:
        """Returns the arguments with the tapped one replaced, or None if it is not."""
        tap = self._next_call(layer)
        for index, argument in enumerate(arguments):
            if isinstance(argument, Tensor):
                replacement = self._call_back(tap, argument)
                if replacement is None:
                    return None
                return (*arguments[:index], replacement, *arguments[index + 1 :]), keywords
        for key, argument in keywords.items():
            if isinstance(argument, Tensor):
                replacement = self._call_back(tap, argument)
                return None if replacement is None else (arguments, keywords | {key: replacement})
        raise TypeError(f"{tap.name}: one of the inputs must be a tensor, got none")

    def _tap_output(self, layer: str, output: Any) -> Tensor | None:
        """Returns the replacement of the output, if there is one."""
        tap = self._next_call(layer)
        if not isinstance(output, Tensor):
            raise TypeError(f"{tap.name}: the output must be a tensor, got {type(output).__name__}")
        if self._of != "gradients":
            return self._call_back(tap, output)
        if output.requires_grad:
            # A module's own backward hooks do not go with in-place operations; a tensor's do. The
            # hook lives as long as the graph, and so maybe longer than the block.
            attached = self._attached

            def hook(gradient: Tensor) -> None:
                if self._attached is attached:
                    self._call_back(tap, gradient)

            output.register_hook(hook)  # type: ignore[no-untyped-call]
        return None

    def _call_back(self, tap: Tap, tensor: Tensor) -> Tensor | None:
        before = _in_callback.set(True)
        try:
            return self._callback(tap, tensor)
        finally:
            _in_callback.reset(before)


class _Caller:
    """Follows which module of a model is running."""

    def __init__(
        self, model: nn.Module, tapped: frozenset[str], attached: contextlib.ExitStack
    ) -> None:
        self._tapped = tapped
        self._running: list[str] = []
        attached.callback(model.register_forward_pre_hook(self._begin_forward).remove)
        for name, module in model.named_modules():
            begin, end = self._hooks(name)
            attached.callback(module.register_forward_pre_hook(begin).remove)
            # Called as well when the module's forward raises.
            attached.callback(module.register_forward_hook(end, always_call=True).remove)

    @property
    def module(self) -> str | None:
        """The name of the innermost module; None outside of the model and inside tapped modules."""
        if not self._running or not self._tapped.isdisjoint(self._running):
            return None
        return self._running[-1]

    def _begin_forward(self, module: nn.Module, arguments: Any) -> None:
        self._running.clear()

    def _hooks(self, name: str) -> tuple[Callable[..., None], Callable[..., None]]:
        def begin(module: nn.Module, arguments: Any) -> None:
            self._running.append(name)

        def end(module: nn.Module, arguments: Any, output: Any) -> None:
            # Where another hook raised before `begin`, the innermost module is not this one.
            if self._running and self._running[-1] == name:
                self._running.pop()

        return begin, end


class _FunctionTaps(TorchFunctionMode):
    """Sees every PyTorch function that is called from Python, but not what those call inside."""

    def __init__(self, taps: Taps, operations: frozenset[str], caller: _Caller) -> None:
        super().__init__()
        self._taps = taps
        self._operations = operations
        self._caller = caller
        self._operation_of: dict[Any, str | None] = {}

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        module = self._caller.module
        if module is None or _in_callback.get():
            return func(*args, **kwargs)
        operation = self._operation(func)
        if operation is None or (operation == "add" and _tensors(args, kwargs) < 2):
            return func(*args, **kwargs)
        layer = f"{module}.{operation}" if module else operation
        return self._taps._tap_function(layer, func, args, kwargs)

    def _operation(self, function: Any) -> str | None:
        """The operation of a function, if it is one of the wanted."""
        if function not in self._operation_of:
            operation = operation_of(function)
            self._operation_of[function] = operation if operation in self._operations else None
        return self._operation_of[function]


def _tensors(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> int:
    return sum(isinstance(each, Tensor) for each in (*arguments, *keywords.values()))
