"""Callbacks on a model's feature maps and gradients, each named after the call that makes it."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from torch_ebpc._caller import Caller, Hook, in_backward
from torch_ebpc._compiled import (
    bypass_compiled_code,
    python_layers,
    require_python_layers,
    warn_of_unfused_layers,
)
from torch_ebpc._graphs import graph_of, zero_point_of
from torch_ebpc._modes import FunctionTaps, ScriptTaps
from torch_ebpc._parts import map_parts
from torch_ebpc._recomputed import Recomputed
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
    call: int  #: of this layer in this pass, from 1
    operation: str | None = dataclasses.field(default=None, compare=False)
    """Of a functional call, such as ``"add"``; None for a module's."""
    zero_point: int | None = dataclasses.field(default=None, compare=False)
    """Of a call that makes quantized integers or reads them, such as
    ``quantized_decomposed.quantize_per_tensor`` of PT2E: its one zero point, the word of 0."""
    part: str = ""
    """Which tensor of a tuple, list, dict or dataclass it is, such as ``"[0]"`` or
    ``"[logits][1]"``; empty where the output is a tensor."""

    @property
    def name(self) -> str:
        """``layer#call``, for example ``layer1.0.relu#1`` or ``layer1.0.add#1``; with a part,
        ``lstm[0]#1``."""
        return f"{self.layer}{self.part}#{self.call}"


class Taps:
    """A context manager that hands the tensors of chosen calls in a model to a callback.

    Everything is removed when the block is left, also by an exception. A copy or pickle of the
    model that is made inside of it has none of it. No tensor is kept. Several may be entered at
    once, in any order and threads.

    Args:
        model: any module.
        callback: called as ``callback(tap, tensor)``, with the tensor itself and not a copy. A
            tensor that it returns takes the place of that one (but see gradients).
        layers: which modules: a module type, a name as in ``model.named_modules()`` (of a shared
            module, any of its names), several of those, or a predicate ``(name, module) -> bool``.
            Where there are ``functions``, none need match.
        functions: PyTorch functions that the model calls by itself, without a module, given as the
            callables. Each stands for its operation in every spelling: ``torch.relu`` also for
            ``F.relu``, ``x.relu()`` and the in-place ones; ``torch.add`` or ``operator.add`` also
            for ``x + y`` and ``x += y``; ``torch.cat`` also for its alias ``torch.concat``. Such a
            call is named after the module that makes it and the operation, ``layer1.0.add#1``. Not
            reported are calls made inside a matched module or inside another PyTorch function, and
            additions of a tensor and a number.
        of: ``"outputs"`` of these calls; ``"inputs"``, the first tensor among each call's
            arguments, which for a convolution is what an accelerator reads; or ``"gradients"``,
            those of the outputs, during the backward pass, under the name of the forward call.
            Outputs that require no gradient are passed over, and what the callback returns is
            ignored.
        whole: hands over each output as the call returns it, whatever it is, and ignores what the
            callback returns. For ``of="outputs"`` alone.

    Tensors come as they are, of any dtype and layout (nested ones too). Of an output that is a
    tuple, list, dict or dataclass, each tensor in it is handed by itself, under its place in it:
    ``lstm[0]#1``, ``lstm[1][0]#1``, ``backbone[feat1]#1``. A call that has no tensor to hand over
    is left out, and named in :attr:`left_out`.

    Raises:
        ValueError: a layer name is unknown, nothing matches, hooks do not run in a matched layer,
            or ``of`` is none of the three.
        TypeError: an argument has the wrong type, or hooks do not run in the model.

    **Passes.** Each pass counts its calls from 1, and each thread its own. A pass is a call of
    ``model``, or of a module of it that is called by itself, such as ``model.encoder(x)``; what
    runs inside of it belongs to it, the model itself too if it calls itself. A method that is not
    ``forward``, such as ``model.encode(x)``, is therefore as many passes as it calls modules, and
    functions are seen inside of those alone. What a backward pass computes again, for a checkpoint,
    is no call; gradients have the name of the call that is repeated (with ``use_reentrant=True``,
    those of functions only inside of modules).

    **Fused attention.** What PyTorch computes by one fused kernel, as it does in evaluation in
    nn.MultiheadAttention and nn.TransformerEncoder, makes no calls that could be tapped, and taps
    do not change that: outputs stay the same to the last bit. But a matched module that is or is in
    a nn.TransformerEncoderLayer has a hook, with which PyTorch runs that layer call by call, so
    that outputs may differ in the last bits; a warning names it.

    **Compiled models.** Compiled code does not run hooks. So while the block is entered, what
    torch.compile has compiled runs as plain Python, with a warning if that is the model or part of
    it. Layers have the names that they had before.

    **Graphs.** A TorchScript module or exported program (``torch.export.load(...).module()``) runs
    without modules that have hooks: ``functions`` alone are tapped. Names are those of the same
    model in Python with hooks on its modules, ``layer1.0.relu#1``, if the graph still says which
    module a call is from and has no such call in a branch or loop; else ``relu#1``, ``relu#2`` in
    the order of execution. A replacement also takes effect in place. In TorchScript, operations
    that PyTorch has composed of others (convolutions, linear, pools, norms, softmax) must run in
    torch.inference_mode(), or a ValueError says so, and an exception of the callback leaves the
    model as a RuntimeError, but this block as itself. Parts of a model that are TorchScript are
    left out, with a warning.

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
        self._is_script = isinstance(model, torch.jit.ScriptModule)
        if self._is_script and of == "gradients":
            raise ValueError(
                "of must be 'outputs' or 'inputs' for a TorchScript module, which is tapped below"
                " autograd, got 'gradients'"
            )
        self._layers = matched_layers(model, layers, may_be_empty=bool(self._operations))
        if self._graph is None:
            require_python_layers(model, self._layers)
            warn_of_unfused_layers(model, self._layers)
        elif self._layers:
            raise ValueError(
                "layers must be () for a TorchScript module or a graph of torch.export, in which"
                f" hooks do not run, got {list(self._layers)}: give functions alone"
            )
        self._of = of
        self._graph_calls: list[tuple[str, str]] = []
        if self._graph is not None:
            self._graph_calls = self._graph.calls(self._operations)
        self._operation_of: dict[Any, str | None] = {}
        self._left_out: dict[str, str] = {}
        self._caller: Caller | None = None
        self._recomputed = Recomputed()
        self._on_leaves: dict[str, RemovableHandle] = {}
        self._whole = whole
        self._attached: contextlib.ExitStack | None = None
        self._failure: Exception | None = None  # in TorchScript, which loses it

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the matched modules."""
        return tuple(self._layers)

    @property
    def operations(self) -> tuple[str, ...]:
        """What ``functions`` stand for, as in the names of calls: ``("add", "relu")``."""
        return tuple(sorted(self._operations))

    @property
    def left_out(self) -> dict[str, str]:
        """Why calls that have no tensor to hand over were left out, by their names."""
        return dict(self._left_out)

    @property
    def entered(self) -> bool:
        """Whether the model is tapped at this moment."""
        return self._attached is not None

    # ---- Entering and leaving --------------------------------------------------------------------

    def __enter__(self) -> Taps:
        if self.entered:
            raise RuntimeError("these taps are entered already; make a second object of them")
        with contextlib.ExitStack() as stack:
            stack.enter_context(bypass_compiled_code(self._model))
            self._caller = Caller(self._followed(), stack, self._mode())
            for name, module in self._layers.items():
                if self._of == "inputs":
                    handle = module.register_forward_pre_hook(
                        Hook(self._input_hook(name)), with_kwargs=True
                    )
                else:
                    handle = module.register_forward_hook(Hook(self._output_hook(name)))
                stack.callback(handle.remove)
            self._attached = stack.pop_all()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        attached, self._attached = self._attached, None
        if attached is not None:
            attached.close()
        while self._on_leaves:
            self._on_leaves.popitem()[1].remove()
        failure, self._failure = self._failure, None
        if failure is not None and "TorchScript interpreter" in str(exception):
            raise failure from exception  # which has lost its type and its message there

    def _followed(self) -> dict[str, nn.Module]:
        """The modules that have to be followed to know passes and callers."""
        if self._graph is not None:
            return {"": self._model}
        modules = python_layers(self._model)
        if self._operations:
            return modules
        matched = set(self._layers.values())
        return {
            name: module
            for name, module in modules.items()
            if not matched.isdisjoint(module.modules())
        }

    def _mode(self) -> FunctionTaps | ScriptTaps | None:
        if not self._operations:
            return None
        if not self._is_script or self._graph is None:
            return FunctionTaps(self._call_function)
        composites = self._graph.composites(self._operations)
        return ScriptTaps(self._call_function, self._note_failure, composites)

    def _note_failure(self, failure: Exception | None) -> None:
        self._failure = failure

    def _input_hook(self, layer: str) -> Callable[..., _Arguments | None]:
        def hook(
            module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]
        ) -> _Arguments | None:
            tap = self._next_call(layer)
            return None if tap is None else self._tap_inputs(tap, arguments, keywords)

        return hook

    def _output_hook(self, layer: str) -> Callable[..., Any]:
        def hook(module: nn.Module, arguments: Any, output: Any) -> Any:
            tap = self._next_call(layer)
            return None if tap is None else self._tap_outputs(tap, output)

        return hook

    # ---- One call --------------------------------------------------------------------------------

    def _next_call(self, layer: str, operation: str | None = None) -> Tap | None:
        """The call of ``layer`` that is to be reported, if it is."""
        if self._caller is None or _in_callback.get():
            return None
        if in_backward():  # it is known later which call is repeated
            return Tap(layer, 0, operation) if self._of == "gradients" else None
        calls = self._caller.calls
        calls[layer] = calls.get(layer, 0) + 1
        return Tap(layer, calls[layer], operation)

    def _call_function(
        self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        """Calls a PyTorch function, tapped if it is one of the wanted."""
        tap = self._next_function(function, arguments, keywords)
        if tap is None:
            return function(*arguments, **keywords)
        tap = dataclasses.replace(tap, zero_point=zero_point_of(function, arguments, keywords))
        target: Tensor | None = None
        if self._graph is not None and function._schema.is_mutable:
            target = arguments[0]
            if torch.is_grad_enabled() and target.requires_grad:
                # What autograd saves of the call must not be changed by the replacement.
                arguments = (target.clone(), *arguments[1:])
        if self._of == "inputs":
            arguments, keywords = self._tap_inputs(tap, arguments, keywords)
            output = function(*arguments, **keywords)
        else:
            output = self._tap_outputs(tap, function(*arguments, **keywords))
        if target is not None and output is not target:
            # Later readers of the tensor that was changed in place have to see the replacement.
            return target.copy_(output)
        return output

    def _next_function(
        self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Tap | None:
        if function not in self._operation_of:
            operation = operation_of(function)
            self._operation_of[function] = operation if operation in self._operations else None
        operation = self._operation_of[function]
        if operation is None or _in_callback.get() or _adds_number(operation, arguments, keywords):
            return None
        # Outside of the model, and inside of tapped modules, nothing is tapped.
        caller = self._caller
        if caller is None or caller.closed or not caller.modules:
            return None
        if not self._layers.keys().isdisjoint(caller.modules):
            return None
        if self._graph is not None:
            return self._next_call(self._layer_in_graph(operation), operation)
        module = caller.modules[-1]
        return self._next_call(f"{module}.{operation}" if module else operation, operation)

    def _layer_in_graph(self, operation: str) -> str:
        if self._caller is None or not self._graph_calls:
            return operation
        calls = self._caller.calls
        count = calls["calls of the graph"] = calls.get("calls of the graph", 0) + 1
        expected, layer = self._graph_calls[min(count, len(self._graph_calls)) - 1]
        if count > len(self._graph_calls) or expected != operation:
            raise RuntimeError(
                f"{operation}: PyTorch runs other calls than the graph's text has, so that it is"
                " not known which layer this is from: torch.jit.freeze makes a graph whose calls"
                " are numbered as they run"
            )
        return layer

    def _tap_inputs(
        self, tap: Tap, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> _Arguments:
        """Returns the arguments, with the first tensor among them replaced where it is."""
        found = False

        def first(part: str, tensor: Tensor) -> Tensor | None:
            nonlocal found
            if found:
                return None
            found = True
            return self._call_back(tap, tensor)

        arguments, keywords = map_parts((arguments, keywords), first)
        if not found:
            self._left_out[tap.name] = "there is no tensor among its inputs"
        return arguments, keywords

    def _tap_outputs(self, tap: Tap, output: Any) -> Any:
        """Returns the output, with what is replaced in it."""
        if self._whole:
            self._call_back(tap, output)
            return output
        found = False

        def each(part: str, tensor: Tensor) -> Tensor | None:
            nonlocal found
            found = True
            tap_of_part = dataclasses.replace(tap, part=part)
            if self._of != "gradients":
                return self._call_back(tap_of_part, tensor)
            self._tap_gradient(tap_of_part, tensor)
            return None

        output = map_parts(output, each)
        if not found:
            self._left_out[tap.name] = f"its output has no tensor, it is {type(output).__name__}"
        return output

    def _tap_gradient(self, tap: Tap, output: Tensor) -> None:
        layer = f"{tap.layer}{tap.part}"
        if not output.requires_grad:
            self._recomputed.note(layer, tap.call)
            return
        # A module's own backward hooks do not go with in-place operations; a tensor's do. The hook
        # lives as long as the graph, and so maybe longer than the block.
        attached = self._attached
        number = self._recomputed.repeat(layer) if tap.call == 0 else lambda: tap.call

        def hook(gradient: Tensor) -> None:
            call = number()
            if self._attached is attached and call is not None:
                self._call_back(dataclasses.replace(tap, call=call), gradient)

        handle = output.register_hook(hook)  # type: ignore[no-untyped-call]
        if output.is_leaf:  # a parameter, which stays: one hook is enough
            if tap.name in self._on_leaves:
                self._on_leaves[tap.name].remove()
            self._on_leaves[tap.name] = handle

    def _call_back(self, tap: Tap, tensor: Tensor) -> Tensor | None:
        before = _in_callback.set(True)
        try:
            return self._callback(tap, tensor)
        finally:
            _in_callback.reset(before)


def _adds_number(operation: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    """Whether a call adds a tensor and a number, which is no addition of feature maps."""
    operands = (*arguments, *keywords.values())
    return operation == "add" and sum(isinstance(each, Tensor) for each in operands) < 2
