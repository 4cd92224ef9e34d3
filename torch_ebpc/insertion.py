"""Compression as part of a model: put into it, and what it has counted."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from torch_ebpc import ops
from torch_ebpc._compiled import is_compiled, layer_name
from torch_ebpc._compressed_layer import COLUMNS, COUNTS, CompressedLayer, LayerCall, check_output
from torch_ebpc._graphs import graph_of
from torch_ebpc._selection import LayerSelection, matched_layers
from torch_ebpc.layer_row import LayerRow
from torch_ebpc.quantizer import Quantizer
from torch_ebpc.report import Report, software_versions
from torch_ebpc.taps import Tap, Taps

_METHODS = ("ebpc", "zvc")


def insert_compression(
    model: nn.Module,
    layers: LayerSelection = nn.ReLU,
    *,
    example_inputs: Tensor | Sequence[Any] | None = None,
    quantizer: Quantizer | None = None,
    block_size: int = 8,
    max_zero_run: int = 16,
    base: str = "sent",
    inplace: bool = False,
) -> nn.Module:
    """A copy of the model that has compression and decompression behind some of its layers.

    What :class:`CompressionMeter` does by hooks, for where hooks do not run: the result works under
    torch.jit.script and trace, torch.compile, torch.export and AOTInductor, and in C++. Each chosen
    layer is wrapped in a module, and the layers behind it run on what the decoder returns: without
    a quantizer, the same bits. Gradients pass through unchanged.

    The wrappers count what they see, in buffers that are saved with the model;
    :func:`compression_report` makes a report of them.

    Args:
        model: any module that runs in Python.
        layers: which layers: a module type, a name as in ``model.named_modules()``, several of
            those, or a predicate ``(name, module) -> bool``. Each takes one tensor and returns one.
        example_inputs: the arguments of one forward pass, or its only tensor. They are run once,
            without gradients and on another copy, to see how many times each layer is called in a
            pass. The report then has a row for each call, as the meter's has; without them, one for
            each layer. Models that call a layer a varying number of times need None.
        quantizer: turns floating-point maps into fixed-point words, as in the meter; but
            ``scale="calibrated"`` takes the largest magnitudes from ``example_inputs``.
        block_size, max_zero_run, base: as for :func:`torch_ebpc.compress`.
        inplace: change and return ``model`` itself.

    Raises:
        ValueError: a layer name is unknown, nothing matches, an argument is out of range, a matched
            layer has compression behind it already, or the model is compiled.
        TypeError: an argument, or an output of a matched layer, has the wrong type.

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
    nothing = torch.empty(0, dtype=torch.int8, device="cpu")
    ops.count_bits(nothing, "ebpc", None, block_size, max_zero_run, base)
    if isinstance(model, nn.Module) and any(map(is_compiled, model.modules())):
        raise ValueError("model must not be compiled yet: compile what insert_compression returns")
    if isinstance(model, nn.Module) and graph_of(model) is not None:
        raise TypeError(
            "model must not be a TorchScript module or a graph of torch.export: script or export"
            " what insert_compression returns"
        )
    taps = Taps(model, lambda tap, x: None, layers)  # checks both
    calls: dict[str, list[LayerCall]] = {}
    if example_inputs is not None:
        calls = _example_calls(model, layers, example_inputs, quantizer)
        if quantizer is not None and quantizer.scale == "calibrated":
            for name in taps.layers:
                if name not in calls:
                    raise ValueError(f"example_inputs: {name} is not called, so not calibrated")

    result = model if inplace else copy.deepcopy(model)
    matched = matched_layers(result, layers)
    if inplace and "" in matched:
        raise ValueError("inplace must be False where the model itself is a matched layer")
    for name in matched:
        if any(isinstance(module, CompressedLayer) for module in _path(result, name)):
            raise ValueError(f"layers: {name!r} has compression behind it already")
    with torch.inference_mode(False):  # buffers that can be changed in every mode
        compressed: dict[nn.Module | None, nn.Module] = {
            layer: CompressedLayer(
                layer, name, calls.get(name, ()), quantizer, block_size, max_zero_run, base
            )
            for name, layer in matched.items()
        }
    held = [  # a layer may be held by several modules, or by one under several names
        (parent, attribute, child)
        for parent in result.modules()
        for attribute, child in parent._modules.items()
        if child in compressed
    ]
    for parent, attribute, child in held:
        setattr(parent, attribute, compressed[child])
    return compressed.get(result, result)


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
    calls: list[tuple[str, dict[str, int], tuple[int, ...]]] = []
    never_called = []
    provenance: dict[str, Any] = {"model": type(model).__name__, "mode": "inserted"}
    for layer, module in _inserted(model).items():
        called = [call for call in module.ebpc_calls.tolist() if any(call[:COUNTS])]
        if not called:
            never_called.append(layer)
        for call in called:
            shape = tuple(size for size in call[len(COLUMNS) :] if size != -1)
            calls.append((layer, dict(zip(COLUMNS, call, strict=False)), shape))
        for key in ("block_size", "max_zero_run", "base", "quantizer"):
            if hasattr(module, key):
                provenance[key] = getattr(module, key)
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
    example_inputs: Tensor | Sequence[Any],
    quantizer: Quantizer | None,
) -> dict[str, list[LayerCall]]:
    """The calls of all matched layers, by their name, in a run on the example inputs."""
    if isinstance(example_inputs, Tensor):
        example_inputs = (example_inputs,)
    elif not isinstance(example_inputs, Sequence) or isinstance(example_inputs, str):
        raise TypeError(
            "example_inputs must be a tensor or a sequence of arguments, got"
            f" {type(example_inputs).__name__}"
        )
    calls: dict[str, list[LayerCall]] = {}

    def note(tap: Tap, x: Tensor) -> None:
        check_output(tap.name, x, quantizer is not None)
        largest = 0.0
        if quantizer is not None and x.numel() > 0:
            largest = x.abs().max().item()
            if not math.isfinite(largest):
                raise ValueError(f"{tap.name}: the output must be finite, got {largest}")
        position = 1 + sum(map(len, calls.values()))
        calls.setdefault(tap.layer, []).append(
            LayerCall(position, tap.call, tuple(x.shape[1:]), largest)
        )

    # Neither the model (batch statistics) nor the inputs (in-place layers) are changed.
    probe = copy.deepcopy(model)
    inputs = [x.detach().clone() if isinstance(x, Tensor) else x for x in example_inputs]
    with torch.no_grad(), torch.random.fork_rng(devices=[]), Taps(probe, note, layers):
        probe(*inputs)
    return calls


def _path(model: nn.Module, name: str) -> Iterator[nn.Module]:
    """The modules on the way from ``model`` to its module of that name, both among them."""
    yield model
    for part in filter(None, name.split(".")):
        model = getattr(model, part)
        yield model


def _inserted(model: nn.Module) -> dict[str, Any]:
    """The modules that have the buffers of a CompressedLayer, whatever they have become, by their
    layers' names."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    found = {}
    seen = set()
    for name, module in model.named_modules():
        if hasattr(module, "ebpc_calls") and hasattr(module, "ebpc_next_call"):
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


def _row(layer: str, call: dict[str, int], shape: tuple[int, ...]) -> LayerRow:
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
        position_bits={"ebpc": call["zero_stream_bits"], "zvc": values},
        value_bits={"ebpc": call["plane_stream_bits"], "zvc": call["nonzero_values"] * word_bits},
        container_bytes=call["container_bytes"],
        container_values=values,
    )
