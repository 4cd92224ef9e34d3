"""``torch-ebpc measure``: a model's feature maps on a folder of images."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from torch_ebpc.cli.images import ImageSet, images_in
from torch_ebpc.cli.inputs import Inputs, read_inputs
from torch_ebpc.cli.measurement import fitted, selection, unmeasured_activations
from torch_ebpc.cli.measurement import measure as measured
from torch_ebpc.cli.networks import (
    LoadedModel,
    load_file,
    load_torchvision,
    no_images,
    prepared_as,
)
from torch_ebpc.cli.reports import check_report_files, write_report
from torch_ebpc.cli.settings import settings_from
from torch_ebpc.cli.streams import named


def measure(options: argparse.Namespace) -> int:
    check_report_files(options)
    settings = settings_from(options)
    settings.words()
    if (options.images is None) == (options.inputs is None):
        raise ValueError(
            "give either --images, a folder of photographs, or --inputs, a file with the model's"
            " arguments (ratios of noise say nothing)"
        )
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    inputs: ImageSet | Inputs
    if options.inputs is None:
        inputs = images_in(options.images).first(options.limit)
    else:
        inputs = read_inputs(options.inputs)
    network = _network(options)
    selection(network, settings)
    if isinstance(inputs, ImageSet):
        inputs, settings = fitted(network, inputs.readable(), settings)
    kind = "images" if isinstance(inputs, ImageSet) else "inputs"
    print(f"weights: {network.weights}\n{kind}: {inputs}", file=sys.stderr)
    others = unmeasured_activations(network, settings)
    if others:
        names = " ".join(["ReLU", *others])
        print(f"not measured: {', '.join(others)}; --layers {names} does", file=sys.stderr)
    if network.warning:
        print(f"\n*** {network.warning} ***\n", file=sys.stderr)

    measurement = measured(network, inputs, settings)
    if not measurement.report.rows:
        why = measurement.report.footing().replace("\n", "; ")
        hint = "; a traced file's convolutions are _convolution" if network.is_graph else ""
        raise ValueError(f"nothing was measured: {why}{hint}")
    write_report(measurement.report, options)
    if measurement.top1.known:
        print(f"top-1: {measurement.top1}", end="", file=sys.stderr)
        plain = measurement.plain_top1
        print("" if plain is None else f"; without compression: {plain}", file=sys.stderr)
    return 0


def _network(options: argparse.Namespace) -> LoadedModel:
    path = Path(options.model)
    if path.is_file():
        if options.weights is not None or options.untrained:
            raise ValueError("--weights and --untrained are for TorchVision's networks, not files")
        transform = no_images if options.inputs else prepared_as(options.prepare_as)
        with named(options.model):
            return load_file(path, transform)
    if path.suffix:
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return load_torchvision(options.model, options.weights, untrained=options.untrained)
    except OSError as error:
        if options.weights is not None:
            raise
        raise OSError(
            f"the weights of {options.model} are neither in PyTorch's cache nor can they be"
            f" downloaded ({error}): give --weights FILE, or --untrained"
        ) from error
