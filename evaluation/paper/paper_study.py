"""All measurements of a run: the network, its gradients, other tensors of it, other networks."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import torch

import evaluation
import torch_ebpc
from evaluation.common.networks import NoWeightsError, load_model
from evaluation.paper.counts import Counts, Readings
from evaluation.paper.passes import UNIT_IMAGES, Ranks, Runner
from evaluation.paper.plan import Extent, Group, Plan, network_plan, small_plan
from evaluation.paper.presets import Preset
from evaluation.paper.sweep import Sweep
from evaluation.paper.tap_selection import TapSelection, default_selection, only_relu
from torch_ebpc.cli.images import ImageSet
from torch_ebpc.cli.measurement import Accuracy
from torch_ebpc.cli.networks import LoadedModel, with_batch_statistics
from torch_ebpc.statistics import SymbolStatistics

MAPS = "activation maps"
GRADIENT_TYPES = ("fixed8", "fixed16", "float16", "bfloat16", "float32")
# Of the compressors, and of what makes tensors of images.
_PACKAGES = ("zstandard", "lz4", "blosc2", "torchvision", "pillow", "numpy")
# All of it is what counts depend on: a changed program never resumes.
PROGRAM = (Path(torch_ebpc.__file__).parent, Path(evaluation.__file__).parent)


class NothingToMeasureError(ValueError):
    """What is to be measured does not occur in the network."""


@dataclasses.dataclass
class Measured:
    """The counts of one network's tensors, and what the report has to say about it."""

    what: str
    network: LoadedModel
    plan: Plan
    counts: Counts
    top1: Accuracy
    negative: bool  # some value is, so unsigned words do not apply

    def group(self, name: str) -> Group:
        """The variants of a group that apply."""
        return {k: v for k, v in self.plan.groups[name].items() if v in self.counts.bits}

    def readings(self, group: str) -> Readings:
        """Ratios of a group's variants, on the images on which all of them are measured."""
        return Readings(self.counts, list(self.group(group).values()))


@dataclasses.dataclass
class Study:
    """Everything that the report is made of."""

    extent: Extent
    rule: Preset
    images: ImageSet
    main: Measured
    symbols: SymbolStatistics  # of the headline's words
    gradients: list[Measured]  # of outputs and of inputs; empty where no image has a label
    others: list[Measured]  # other tensors of the main network, and other networks
    provenance: dict[str, Any]  # what determines the figures

    @property
    def all(self) -> list[Measured]:
        return [self.main, *self.gradients, *self.others]


def run_study(
    network: LoadedModel,
    images: ImageSet,
    rule: Preset,
    extent: Extent,
    work: Path,
    ranks: Ranks,
    taps: TapSelection | None = None,
    *,
    untrained: bool = False,
) -> Study:
    """Measures everything, on every rank alike; results of units are kept in ``work``.

    Args:
        taps: what is measured of the network, by default the outputs of all activations.
        untrained: whether the other networks are. Else one without weights is left out, which is
            printed.

    Raises:
        NothingToMeasureError: the network calls nothing of what ``taps`` select.
    """
    rule = rule.complete()
    images = dataclasses.replace(images, files=images.files[:: extent.images_every])
    what = MAPS if taps is None else "chosen tensors"
    taps = taps or default_selection(network.model)
    images_sha256 = images.sha256()

    def sweep(loaded: LoadedModel, selection: TapSelection, plan: Plan, every: int = 1) -> Sweep:
        description = {
            "network": [loaded.name, loaded.weights_sha256, loaded.batch_statistics],
            "images": images_sha256,
            "taps": dataclasses.asdict(selection),
            "variants": {each.key: every for each, every in plan.every.items()},
            "every": [every, extent.symbols_every],
            "batch_size": rule.batch_size,
            "unit": UNIT_IMAGES,
            "threads": torch.get_num_threads(),  # convolutions may differ in the last bits
            "versions": _versions(),
            "program": program_sha256(),
        }
        digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
        runner, name = Runner(work, digest, ranks), f"{loaded.name} {selection.of}"
        return Sweep(loaded, images, selection, runner, rule.batch_size or 1, every, name)

    def measured(
        what: str, loaded: LoadedModel, selection: TapSelection, plan: Plan, every: int = 1
    ) -> list[Measured]:
        """Nothing where the network has no such tensors, or no image qualifies."""
        each = sweep(loaded, selection, plan, every)
        if not each.chosen or not selection.applies(loaded.model):
            return []
        ranges, top1 = each.ranges()
        if not ranges.calls:
            return []
        counts = each.counts(ranges, plan.every)
        return [Measured(what, loaded, plan, counts, top1, ranges.negative)]

    def in_mode(loaded: LoadedModel) -> LoadedModel:
        wanted = rule.network_mode == "batch statistics"
        return with_batch_statistics(loaded) if wanted else loaded

    network, plan = in_mode(network), network_plan(rule, extent)
    main = measured(what, network, taps, plan)
    if not main:
        raise NothingToMeasureError(f"{network.name} calls nothing of {taps}")
    whole = sweep(network, taps, plan)
    symbols = whole.symbols(whole.ranges()[0], plan.headline, extent.symbols_every)

    plan = small_plan(rule, tuple(t for t in GRADIENT_TYPES if t in extent.types))
    every = extent.gradients_every
    outputs = dataclasses.replace(taps, of="gradients")
    gradients = measured("of the outputs", network, outputs, plan, every)
    if only_relu(network.model, taps):
        inputs = dataclasses.replace(taps, of="input gradients")
        gradients += measured("of the inputs", network, inputs, plan, every)

    plan, every = small_plan(rule, ("fixed8", "bfloat16")), extent.networks_every
    read, sums = TapSelection(("Conv2d",), of="inputs"), TapSelection((), ("add",))
    others = measured("inputs of convolutions", network, read, plan, every)
    others += measured("sums of residual additions", network, sums, plan, every)
    plan = small_plan(rule, ("fixed8", "ufixed8", "bfloat16"))
    for name in extent.networks:
        if name == network.name:
            continue
        try:
            loaded = in_mode(load_model(name, untrained=untrained))
        except NoWeightsError as error:
            if ranks.first:
                print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        others += measured(MAPS, loaded, default_selection(loaded.model), plan, every)

    provenance = {
        "network": network.name,
        "weights": network.weights,
        "weights_sha256": network.weights_sha256,
        "images": str(images),
        "images_sha256": images_sha256,
        "extent": extent.name,
        "rule": dataclasses.asdict(rule),
        "taps": dataclasses.asdict(taps),
        "network_mode": "batch statistics" if network.batch_statistics else "evaluation",
        "versions": _versions(),
        "program_sha256": program_sha256(),
    }
    return Study(extent, rule, images, main[0], symbols, gradients, others, provenance)


def _versions() -> dict[str, str]:
    return {
        "torch_ebpc": torch_ebpc.__version__,
        "torch": str(torch.__version__),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def program_sha256() -> str:
    """Of all compiled libraries and all sources, with their names."""
    digest = hashlib.sha256()
    for folder in PROGRAM:
        for path in sorted([*folder.glob("lib/*.so"), *folder.rglob("*.py")]):
            digest.update(f"{path.relative_to(folder)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
