"""Models that run as a graph below Python, and which calls a graph makes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from torch_ebpc._selection import operation_named, operation_of

# As in "layer1(Sequential).0(BasicBlock).relu(ReLU)".
_HIERARCHY = re.compile(r"([^.()]+)\(([^()]*)\)")


class Graph:
    """What a graph says about the calls that it makes."""

    def calls(self, operations: frozenset[str]) -> list[tuple[str, str]]:
        """The operation and the layer, as in the names of calls, of each call of ``operations``, in
        the order in which they run; empty where that order is not known."""
        raise NotImplementedError

    def composites(self, operations: frozenset[str]) -> list[str]:
        """Those of ``operations`` that run under their name in inference mode alone: elsewhere
        PyTorch has taken them apart before they can be seen."""
        return []


class _Scripted(Graph):
    def __init__(self, model: torch.jit.ScriptModule) -> None:
        self._graph = model.inlined_graph

    def calls(self, operations: frozenset[str]) -> list[tuple[str, str]]:
        calls = []
        inputs = set()
        for node, depth in _nodes(self._graph, 0):
            name = node.kind().removeprefix("aten::")
            operation = operation_named(name)
            if operation not in operations:
                continue
            # In a branch or a loop it runs never or often; what has no use, or is the same as one
            # before, may be optimized away.
            values = (name, *(value.debugName() for value in node.inputs()))
            pure = not name.endswith("_")
            if depth > 0 or (pure and (not node.output().uses() or values in inputs)):
                return []
            inputs.add(values)
            calls.append((operation, _layer(_module_of(node), operation)))
        return calls

    def composites(self, operations: frozenset[str]) -> list[str]:
        return sorted(
            {
                operation
                for node, _ in _nodes(self._graph, 0)
                if (operation := operation_named(node.kind().removeprefix("aten::"))) in operations
                and torch._C._dispatch_has_kernel_for_dispatch_key(
                    node.schema().partition("(")[0], "CompositeImplicitAutograd"
                )
            }
        )


def _nodes(block: Any, depth: int) -> Iterator[tuple[Any, int]]:
    for node in block.nodes():
        yield node, depth
        for inner in node.blocks():
            yield from _nodes(inner, depth + 1)


def _module_of(node: Any) -> tuple[str, str]:
    """Name and class of the module that a TorchScript node was inlined from; empty if unknown."""
    names = [
        (name, kind)
        for name, kind in _HIERARCHY.findall(node.getModuleHierarchy())
        if name not in ("SELF", "UNKNOWN_INSTANCE")
    ]
    return ".".join(name for name, _ in names), names[-1][1] if names else ""


class _Exported(Graph):
    def __init__(self, model: fx.GraphModule) -> None:
        self._graph = model.graph

    def calls(self, operations: frozenset[str]) -> list[tuple[str, str]]:
        calls = []
        for node in self._graph.nodes:
            if isinstance(node.target, torch._ops.HigherOrderOperator):
                return []  # with branches and loops in it
            operation = operation_of(node.target) if node.op == "call_function" else None
            if operation in operations:
                stack = list(node.meta.get("nn_module_stack", {}).values())
                name, kind = stack[-1] if stack else ("", "")
                kind = kind if isinstance(kind, str) else kind.__name__
                calls.append((operation, _layer((name, kind.rsplit(".", 1)[-1]), operation)))
        return calls


def _layer(module: tuple[str, str], operation: str) -> str:
    """A module that is the operation (a ``ReLU`` that calls ``relu``) has its name, as where it is
    tapped by its hook."""
    name, kind = module
    if name and kind.lower() == operation:
        return name
    return f"{name}.{operation}" if name else operation


def graph_of(model: nn.Module) -> Graph | None:
    """The graph of a TorchScript module or of what :func:`torch.export.export` makes; None for
    modules that run in Python."""
    if isinstance(model, torch.jit.ScriptModule):
        return _Scripted(model)
    if isinstance(model, fx.GraphModule) and _calls_operators_alone(model.graph):
        return _Exported(model)
    return None


def _calls_operators_alone(graph: fx.Graph) -> bool:
    modules = {str(node.target) for node in graph.nodes if node.op == "call_module"}
    return modules <= {"_guards_fn"} and any(
        isinstance(node.target, torch._ops.OpOverload) for node in graph.nodes
    )


def zero_point_of(
    function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> int | None:
    """The zero point that is among the arguments of an operator, such as those that quantize in
    PT2E; None where there is none, or more than one."""
    if isinstance(function, torch._ops.OpOverloadPacket):  # whose overloads agree on its place
        function = getattr(function, function.overloads()[0])  # type: ignore[no-untyped-call]
    if not isinstance(function, torch._ops.OpOverload):
        return None
    for place, argument in enumerate(function._schema.arguments):
        if argument.name == "zero_point":
            given = arguments[place] if place < len(arguments) else keywords.get(argument.name)
            if isinstance(given, Tensor) and given.numel() == 1:
                given = given.item()
            return int(given) if isinstance(given, (int, float)) else None
    return None
