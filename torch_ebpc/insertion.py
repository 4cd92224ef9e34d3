"""Compression as part of a model: put into it, and what it has counted."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from torch_ebpc._arguments import check_int
from torch_ebpc._compiled import is_compiled, layer_name
from torch_ebpc._compressed_layer import (
    COLUMNS,
    COUNTS,
    LayerCall,
    has_compression,
    put_compression,
    warn_left_alone,
    why_left_alone,
)
from torch_ebpc._graphs import graph_of
from torch_ebpc._selection import LayerSelection, matched_layers
from torch_ebpc.code import Code
from torch_ebpc.layer_row import LayerRow
from torch_ebpc.quantizer import Quantizer
from torch_ebpc.report import Report, software_versions
from torch_ebpc.taps import Taps

_METHODS = ("ebpc", "zvc")


def insert_compression(
    model: nn.Module,
    layers: LayerSelection = nn.ReLU,
    *,
    example_inputs: Tensor | Sequence[Any] | Mapping[str, Any] | None = None,
    quantizer: Quantizer | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    zero: int = 0,
    inplace: bool = False,
) -> nn.Module:
    """A copy of the model that compresses and decompresses what some of its layers return.

    What :class:`CompressionMeter` does by hooks of its own, for where those do not run: the result
    works under torch.jit.script and trace, torch.compile, torch.export and AOTInductor, and in C++.
    The layers that follow a chosen one run on what the decoder returns: without a quantizer, the
    same bits. Gradients pass through unchanged. Layers keep their classes, names and parameters.

    The layers count what they return, in buffers that are saved with the model;
    :func:`compression_report` makes a report of them.

    Args:
        model: any module that runs in Python.
        layers: which layers: a module type, a name as in ``model.named_modules()``, several of
            those, or a predicate ``(name, module) -> bool``. Those whose output cannot be
            compressed, such as a tuple, are left alone, with a warning.
        example_inputs: the arguments of one forward pass: its only tensor, a sequence, or a mapping
            of arguments by keyword. They are run once, without gradients and on another copy, to
            see how many times each layer is called in a pass. The report then has a row for each
            call, as the meter's has; without them, one for each layer. Models that call a layer a
            varying number of times need None.
        quantizer: turns floating-point maps into fixed-point words, as in the meter; but
            ``scale="calibrated"`` takes the largest magnitudes from ``example_inputs``, and leaves
            layers that these do not call alone, with a warning.
        block_size, max_zero_run, base: as for :func:`torch_ebpc.compress`.
        zero: the zero point, where the layers return the integers of an affine quantizer. With
            another than 0, layers that return floating point are left alone, with a warning.
        inplace: change and return ``model`` itself.

    Raises:
        ValueError: a layer name is unknown, nothing matches or all that matches is left alone, an
            argument is out of range, a matched layer has compression already, or the model is
            compiled.
        TypeError: an argument has the wrong type.

    Outputs may be computed in several threads at once; counts are only right in one.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> images = torch.randn(2, 3, 16, 16)
        >>> compressed = torch_ebpc.insert_compression(model, example_inputs=images)
        >>> torch.equal(compressed(images), model(images))
        True
        >>> torch_ebpc.compression_report(compressed).rows[0].name
        '1#1'
    """
    if quantizer is not None and not isinstance(quantizer, Quantizer):
        raise TypeError(f"quantizer must be a Quantizer or None, got {type(quantizer).__name__}")
    if quantizer is not None and quantizer.scale == "calibrated" and example_inputs is None:
        raise ValueError("example_inputs must be given to calibrate the quantizer, got None")
    if quantizer is not None and quantizer.affine:
        raise ValueError(
            "quantizer must be symmetric: in a graph, the zero word is a constant and no zero point"
            " of the data"
        )
    check_int("zero", zero)
    if quantizer is not None and zero != 0:
        raise ValueError(f"zero must be 0 with a quantizer, whose words have no other, got {zero}")
    Code(None, block_size, max_zero_run, base)  # which says now what is wrong with them
    if isinstance(model, nn.Module) and any(map(is_compiled, model.modules())):
        raise ValueError("model must not be compiled yet: compile what insert_compression returns")
    if isinstance(model, nn.Module) and graph_of(model) is not None:
        raise TypeError(
            "model must not be a TorchScript module or a graph of torch.export: script or export"
            " what insert_compression returns"
        )
    Taps(model, lambda tap, x: None, layers)  # checks both
    for name, layer in matched_layers(model, layers).items():
        if has_compression(layer):
            raise ValueError(f"layers: {name!r} has compression already")
    calls: dict[str, list[LayerCall]] = {}
    left_alone: dict[str, str] = {}
    if example_inputs is not None:
        calls, left_alone = _example_calls(model, layers, example_inputs, quantizer, zero)

    result = model if inplace else copy.deepcopy(model)
    matched = matched_layers(result, layers)
    if left_alone.keys() == matched.keys():
        reasons = "; ".join(f"{name!r} {reason}" for name, reason in left_alone.items())
        raise ValueError(f"layers: nothing is left to be compressed: {reasons}")
    for name, layer in matched.items():
        if name in left_alone:
            warn_left_alone(name, left_alone[name], 2)
            continue
        with torch.inference_mode(False):  # buffers that can be changed in every mode
            put_compression(
                layer, name, calls.get(name, ()), quantizer, block_size, max_zero_run, base, zero
            )
    _keep_from_other_ranks(result)
    return result


def compression_report(model: nn.Module) -> Report:
    """What the compression that :func:`insert_compression` has put into a model has counted so far.

    Rows are those of :class:`CompressionMeter` without times and single transmissions: each image
    is a transmission, and zero-value compression stands beside EBPC.

    Args:
        model: what :func:`insert_compression` returned, or has become: scripted, traced, saved and
            loaded, compiled, or the module of an exported program (which has lost the shapes).

    Raises:
        TypeError: ``model`` is not a module.
        ValueError: there is no compression in it.
    """
    calls: list[tuple[str, dict[str, int], tuple[int, ...], int]] = []
    never_called = []
    provenance: dict[str, Any] = {"model": type(model).__name__, "mode": "inserted"}
    for layer, module in _inserted(model).items():
        called = [call for call in module.ebpc_calls.tolist() if any(call[:COUNTS])]
        if not called:
            never_called.append(layer)
        for call in called:
            shape = tuple(size for size in call[len(COLUMNS) :] if size != -1)
            zero = getattr(module, "ebpc_zero", 0)  # which the module of a program has lost
            calls.append((layer, dict(zip(COLUMNS, call, strict=False)), shape, zero))
        for key in ("block_size", "max_zero_run", "base", "zero", "quantizer"):
            if hasattr(module, f"ebpc_{key}"):
                provenance[key] = getattr(module, f"ebpc_{key}")
    calls.sort(key=lambda call: call[1]["position"])
    rows = [_row(*call) for call in calls]
    return Report(rows, _METHODS, never_called, provenance | software_versions())


def reset_compression(model: nn.Module) -> None:
    """Sets all counts of the compression in a model to zero, and begins a new forward pass: after
    tracing, which runs the model, before saving it, or after an exception inside the model.

    Args:
        model: as for :func:`compression_report`.

    Raises:
        TypeError, ValueError: as :func:`compression_report`.

    Example:
        >>> compressed = torch_ebpc.insert_compression(torch.nn.ReLU())
        >>> y = compressed(torch.zeros(1, 8))
        >>> len(torch_ebpc.compression_report(compressed).rows)
        1
        >>> torch_ebpc.reset_compression(compressed)
        >>> len(torch_ebpc.compression_report(compressed).rows)
        0
    """
    for module in _inserted(model).values():
        module.ebpc_calls[:, :COUNTS] = 0
        module.ebpc_next_call.zero_()


def _example_calls(
    model: nn.Module,
    layers: LayerSelection,
    example_inputs: Tensor | Sequence[Any] | Mapping[str, Any],
    quantizer: Quantizer | None,
    zero: int,
) -> tuple[dict[str, list[LayerCall]], dict[str, str]]:
    """The calls of all matched layers, by their name, in a run on the example inputs; and which
    layers are to be left alone, and why."""
    positional: Sequence[Any] = ()
    keywords: Mapping[str, Any] = {}
    if isinstance(example_inputs, Tensor):
        positional = (example_inputs,)
    elif isinstance(example_inputs, Mapping):
        keywords = example_inputs
    elif isinstance(example_inputs, Sequence) and not isinstance(example_inputs, str):
        positional = example_inputs
    else:
        raise TypeError(
            "example_inputs must be a tensor, a sequence of arguments or a mapping of arguments by"
            f" keyword, got {type(example_inputs).__name__}"
        )
    calls: dict[str, list[LayerCall]] = {}
    left_alone: dict[str, str] = {}

    def note(name: str, x: Any) -> None:
        reason = why_left_alone(x, quantizer is not None, zero)
        if reason is not None:
            left_alone[name] = reason
            return
        position = 1 + sum(map(len, calls.values()))
        called = calls.setdefault(name, [])
        number = len(called) + 1
        largest = 0.0
        if quantizer is not None and x.numel() > 0:
            largest = x.abs().max().item()
            if not math.isfinite(largest):
                raise ValueError(f"{name}#{number}: the output must be finite, got {largest}")
        called.append(LayerCall(position, number, tuple(x.shape[1:]), largest))

    # Neither the model (batch statistics) nor the inputs (in-place layers) are changed.
    probe = copy.deepcopy(model)
    matched = matched_layers(probe, layers)
    for name, layer in matched.items():
        layer.register_forward_hook(lambda layer, inputs, x, name=name: note(name, x))
    positional, keywords = tree_map_only(
        Tensor, lambda x: x.detach().clone(), (list(positional), dict(keywords))
    )
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        probe(*positional, **keywords)
    if quantizer is not None and quantizer.scale == "calibrated":
        for name in matched.keys() - calls.keys() - left_alone.keys():
            left_alone[name] = "is not called on example_inputs, so not calibrated"
    return calls, left_alone


def _keep_from_other_ranks(model: nn.Module) -> None:
    """Has DistributedDataParallel leave each rank its own counts, where ``model`` is what it wraps,
    compiled or not."""
    names = [name for name, _ in model.named_buffers() if name.split(".")[-1].startswith("ebpc_")]
    ignored = [*getattr(model, "_ddp_params_and_buffers_to_ignore", ())]
    ignored += [f"{prefix}{name}" for prefix in ("", "_orig_mod.") for name in names]
    model._ddp_params_and_buffers_to_ignore = list(dict.fromkeys(ignored))  # type: ignore[assignment]


def _inserted(model: nn.Module) -> dict[str, Any]:
    """The layers that have compression, whatever they have become, by their names."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    found = {}
    seen = set()
    for name, module in model.named_modules():
        if has_compression(module):
            # Of a module that is held twice, TorchScript makes two with the same buffers.
            address = module.ebpc_calls.data_ptr()
            if address not in seen:
                found[layer_name(name)] = module
            seen.add(address)
    if not found:
        raise ValueError(
            "model has no compression in it: torch_ebpc.insert_compression returns one that has"
        )
    return found


def _row(layer: str, call: dict[str, int], shape: tuple[int, ...], zero: int) -> LayerRow:
    values = call["values"]
    word_bits, remainder = divmod(call["uncompressed_bits"], max(1, values))
    if remainder:
        raise ValueError(
            f"{layer}: maps of different dtypes were counted together; reset_compression between"
        )
    return LayerRow(
        f"{layer}#{call['number']}" if call["number"] else layer,
        layer,
        call["number"],
        shape,
        word_bits,
        _METHODS,
        images=call["images"],
        values=values,
        zeros=values - call["nonzero_values"],
        zero=zero,
        position_bits={"ebpc": call["zero_stream_bits"], "zvc": values},
        value_bits={"ebpc": call["plane_stream_bits"], "zvc": call["nonzero_values"] * word_bits},
        container_bytes=call["container_bytes"],
        container_values=values,
    )
