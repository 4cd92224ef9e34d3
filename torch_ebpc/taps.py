"""Callbacks on a model's feature maps and gradients, each named after the call that makes it."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from torch_ebpc._caller import Caller
from torch_ebpc._compiled import bypass_compiled_code, named_layers, require_python_layers
from torch_ebpc._graphs import Graph, graph_of
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
    operation: str | None = dataclasses.field(default=None, compare=False)
    """Of a functional call, such as ``"add"``; None for a module's."""

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
        whole: hands over each output as the call returns it, whatever it is, and ignores what the
            callback returns. For ``of="outputs"`` alone.

    Raises:
        ValueError: a layer name is unknown, nothing matches, hooks do not run in a matched layer,
            or ``of`` is none of the three.
        TypeError: an argument has the wrong type, or hooks do not run in the model; during a
            forward pass, that a matched call's output is not a tensor, or that there is no tensor
            among its arguments.

    **Compiled models.** Compiled code does not run hooks. So while the block is entered, what
    torch.compile has compiled runs as plain Python, with a warning if that is the model or part of
    it. Layers have the names that they had before.

    **Graphs.** A TorchScript module or exported program (``torch.export.load(...).module()``) runs
    below Python, where modules have no hooks: ``functions`` are tapped in the dispatcher. Names
    are those of the same model in Python with hooks on its modules, ``layer1.0.relu#1``, if the
    graph still says which module a call is from and has no such call in a branch or loop; else
    ``relu#1``, ``relu#2`` in the order of execution. A replacement also takes effect in place. An
    exception of the callback leaves TorchScript as a RuntimeError, but this block as itself. Parts
    of a model that are TorchScript are left out, with a warning.

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
        whole: bool = False,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        if not callable(callback):
            raise TypeError(f"callback must be callable, got {type(callback).__name__}")
        if of not in ("outputs", "inputs", "gradients"):
            raise ValueError(f"of must be 'outputs', 'inputs' or 'gradients', got {of!r}")
        if whole and of != "outputs":
            raise ValueError(f"of must be 'outputs' with whole=True, got {of!r}")
        if not isinstance(functions, Iterable):
            raise TypeError(f"functions must be a sequence of functions, got {functions!r}")
        self._model = model
        self._callback = callback
        self._operations = frozenset(given_operation(function) for function in functions)
        self._graph = graph_of(model)
        if self._graph is not None and not self._operations:
            raise TypeError(
                "model must not be a TorchScript module or a graph of torch.export, in which hooks"
                " do not run, without functions to tap in it, such as functions=[torch.relu]; or"
                " use the module that it was made of"
            )
        if self._graph is not None and of == "gradients":
            raise ValueError(
                "of must be 'outputs' or 'inputs' for a TorchScript module or a graph of"
                " torch.export, which is tapped below autograd, got 'gradients'"
            )
        self._layers = matched_layers(model, layers, may_be_empty=bool(self._operations))
        if self._graph is None:
            require_python_layers(model, self._layers)
        elif self._layers:
            raise ValueError(
                "layers must be () for a TorchScript module or a graph of torch.export, in which"
                f" hooks do not run, got {', '.join(self._layers)}: give functions alone"
            )
        self._of = of
        self._whole = whole
        self._calls: dict[str, int] = {}
        self._attached: contextlib.ExitStack | None = None
        self._failure: Exception | None = None  # of the callback, in the last forward pass

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
            if self._graph is not None:
                stack.enter_context(_GraphTaps(self, self._model, self._graph, self._operations))
                self._attached = stack.pop_all()
                return self
            stack.enter_context(bypass_compiled_code(self._model))
            modules = named_layers(self._model)
            root = modules[""]
            stack.callback(root.register_forward_pre_hook(self._begin_forward).remove)
            for name, module in self._layers.items():
                if self._of == "inputs":
                    handle = module.register_forward_pre_hook(
                        self._input_hook(name), with_kwargs=True
                    )
                else:
                    handle = module.register_forward_hook(self._output_hook(name))
                stack.callback(handle.remove)
            if self._operations:
                caller = Caller(root, modules, stack)
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
        failure, self._failure = self._failure, None
        if failure is not None and "TorchScript interpreter" in str(exception):
            raise failure from exception  # which has lost its type and its message there

    def _begin_forward(self, module: nn.Module, arguments: Any) -> None:
        self._calls.clear()
        self._failure = None

    def _input_hook(self, layer: str) -> Callable[..., _Arguments | None]:
        def hook(
            module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]
        ) -> _Arguments | None:
            return self._tap_input(self._next_call(layer), arguments, keywords)

        return hook

    def _output_hook(self, layer: str) -> Callable[..., Tensor | None]:
        def hook(module: nn.Module, arguments: Any, output: Any) -> Tensor | None:
            return self._tap_output(self._next_call(layer), output)

        return hook

    # ---- One call --------------------------------------------------------------------------------

    def _next_call(self, layer: str, operation: str | None = None) -> Tap:
        call = self._calls[layer] = self._calls.get(layer, 0) + 1
        return Tap(layer, call, operation)

    def _tap_function(
        self,
        layer: str,
        operation: str,
        function: Any,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
    ) -> Any:
        """Calls ``function``, tapped."""
        tap = self._next_call(layer, operation)
        if self._of == "inputs":
            arguments, keywords = self._tap_input(tap, arguments, keywords) or (arguments, keywords)
            return function(*arguments, **keywords)
        output = function(*arguments, **keywords)
        replacement = self._tap_output(tap, output)
        return output if replacement is None else replacement

    def _tap_input(
        self, tap: Tap, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> _Arguments | None:
        """Returns the arguments with the tapped one replaced, or None if it is not."""
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

    def _tap_output(self, tap: Tap, output: Any) -> Tensor | None:
        """Returns the replacement of the output, if there is one."""
        if self._whole:
            self._call_back(tap, output)
            return None
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
        except Exception as error:
            self._failure = error if self._graph is not None else None
            raise
        finally:
            _in_callback.reset(before)


class _FunctionTaps(TorchFunctionMode):
    """Sees every PyTorch function that is called from Python, but not what those call inside."""

    def __init__(self, taps: Taps, operations: frozenset[str], caller: Caller) -> None:
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
        running = self._caller.modules
        # Outside of the model, and inside of tapped modules, nothing is tapped.
        if not running or _in_callback.get() or not self._taps._layers.keys().isdisjoint(running):
            return func(*args, **kwargs)
        module = running[-1]
        operation = self._operation(func)
        if operation is None or _adds_number(operation, args, kwargs):
            return func(*args, **kwargs)
        layer = f"{module}.{operation}" if module else operation
        return self._taps._tap_function(layer, operation, func, args, kwargs)

    def _operation(self, function: Any) -> str | None:
        """The operation of a function, if it is one of the wanted."""
        if function not in self._operation_of:
            operation = operation_of(function)
            self._operation_of[function] = operation if operation in self._operations else None
        return self._operation_of[function]


class _GraphTaps(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator that runs while a model that is a graph does: neither modules' hooks nor
    function modes see those."""

    def __init__(
        self, taps: Taps, model: nn.Module, graph: Graph, operations: frozenset[str]
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._taps = taps
        self._model = model
        self._operations = operations
        self._calls = graph.calls(operations)
        self._operation_of: dict[Any, str | None] = {}
        self._running = False
        self._count = 0  # of calls in this forward pass
        self._hooks = contextlib.ExitStack()

    def __enter__(self) -> _GraphTaps:
        # A ScriptModule takes no hooks of its own.
        self._hooks.callback(register_module_forward_pre_hook(self._begin).remove)
        self._hooks.callback(register_module_forward_hook(self._end, always_call=True).remove)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        self._hooks.close()
        super().__exit__(*exception)  # type: ignore[no-untyped-call]

    def _begin(self, module: nn.Module, arguments: Any) -> None:
        if module is self._model:
            self._taps._begin_forward(module, arguments)
            self._running, self._count = True, 0

    def _end(self, module: nn.Module, arguments: Any, output: Any) -> None:
        if module is self._model:
            self._running = False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        operation = self._operation(func) if self._running else None
        if operation is None or _in_callback.get() or _adds_number(operation, args, kwargs):
            return func(*args, **kwargs)
        layer = self._layer(operation)
        output = self._taps._tap_function(layer, operation, func, args, kwargs)
        if func._schema.is_mutable and output is not args[0]:
            # Whoever reads the tensor that was changed in place reads the replacement.
            return args[0].copy_(output)
        return output

    def _operation(self, function: Any) -> str | None:
        """The operation of a function, if it is one of the wanted."""
        if function not in self._operation_of:
            operation = operation_of(function)
            self._operation_of[function] = operation if operation in self._operations else None
        return self._operation_of[function]

    def _layer(self, operation: str) -> str:
        self._count += 1
        if not self._calls:
            return operation
        expected, layer = self._calls[min(self._count, len(self._calls)) - 1]
        if self._count > len(self._calls) or expected != operation:
            raise RuntimeError(
                f"call {self._count} of the graph is {operation}, where its text has {expected}:"
                " the names of its calls are not known. Report this with the model"
            )
        return layer


def _adds_number(operation: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    """Whether a call adds a tensor and a number, which is no addition of feature maps."""
    operands = (*arguments, *keywords.values())
    return operation == "add" and sum(isinstance(each, Tensor) for each in operands) < 2
