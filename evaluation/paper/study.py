"""All measurements of a run: the network, its gradients, other tensors of it, other networks."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import torch

import torch_ebpc
from evaluation.images import ImageSet
from evaluation.measurement import Accuracy
from evaluation.models import LoadedModel, load_model, with_batch_statistics
from evaluation.paper import software
from evaluation.paper.averages import Readings
from evaluation.paper.counts import Counts
from evaluation.paper.passes import UNIT_IMAGES, Runner, Store
from evaluation.paper.plan import Extent, Plan, network_plan, small_plan
from evaluation.paper.ranks import Ranks
from evaluation.paper.statistics import Statistics, measure_statistics
from evaluation.paper.sweep import Sweep
from evaluation.paper.taps import TapSelection, only_relu
from evaluation.presets import Preset
from torch_ebpc._library import LIBRARY_PATH

GRADIENT_TYPES = ("fixed8", "fixed16", "float16", "bfloat16", "float32")
# What counts depend on besides the compiled library, so that a changed program never resumes.
_SOURCES = (
    "images", "models", "presets", "paper/passes", "paper/plan", "paper/software",
    "paper/statistics", "paper/study", "paper/sweep", "paper/symbols", "paper/taps",
    "paper/variants",
)  # fmt: skip


@dataclasses.dataclass
class Measured:
    """The counts of one network's tensors, and what the report has to say about it."""

    what: str
    network: LoadedModel
    plan: Plan
    counts: Counts
    top1: Accuracy
    negative: bool  # some value is, so unsigned words do not apply

    def readings(self, group: str, images: Any = None) -> Readings:
        """Averages of a group's variants, on the images on which all of them are measured."""
        variants = [each for each in self.plan.groups[group].values() if each in self.counts.bits]
        return Readings(self.counts, variants, images)

    def group(self, name: str) -> dict[str, Any]:
        """The variants of a group that apply."""
        return {k: v for k, v in self.plan.groups[name].items() if v in self.counts.bits}


@dataclasses.dataclass
class Study:
    """Everything that the report is made of."""

    extent: Extent
    rule: Preset
    images: ImageSet
    main: Measured
    statistics: Statistics
    gradients: list[Measured]  # of outputs and of inputs; empty where no image has a label
    others: list[Measured]  # other tensors of the main network, and other networks
    provenance: dict[str, Any]  # what determines the figures


def run_study(
    network: LoadedModel,
    images: ImageSet,
    rule: Preset,
    extent: Extent,
    work: Path,
    ranks: Ranks,
    taps: TapSelection | None = None,
    batch_size: int | None = None,
    main_network_only: bool = False,
) -> Study:
    """Measures everything, on every rank alike; results of units are kept in ``work``.

    Args:
        batch_size: images that share a scale where it is "batch", by default as in the preset.
        main_network_only: without the extent's other networks.
    """
    rule = rule.complete()
    if batch_size is not None:
        rule = dataclasses.replace(rule, batch_size=batch_size)
    images = dataclasses.replace(images, files=images.files[:: extent.images_every])
    taps = taps or TapSelection()
    images_sha256 = images.sha256()
    wants_statistics = rule.network_mode == "batch statistics"

    def sweep(loaded: LoadedModel, selection: TapSelection, plan: Plan, every: int) -> Sweep:
        description = {
            "network": [loaded.name, loaded.weights_sha256, loaded.batch_statistics],
            "images": images_sha256,
            "taps": dataclasses.asdict(selection),
            "variants": {each.key: every for each, every in plan.every.items()},
            "every": [every, extent.statistics_every],
            "batch_size": rule.batch_size,
            "unit": UNIT_IMAGES,
            "versions": _versions(),
            "program": _program_sha256(),
        }
        digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
        runner = Runner(Store(work / digest[:16]), ranks, len(images.files))
        return Sweep(
            loaded,
            images,
            selection,
            runner,
            rule.batch_size or 1,
            every,
            f"{loaded.name} {selection.of}",
        )

    def measured(what: str, each: Sweep, plan: Plan) -> Measured:
        ranges, top1 = each.ranges()
        counts = each.counts(ranges, plan.every)
        return Measured(what, each.network, plan, counts, top1, ranges.negative)

    if wants_statistics:
        network = with_batch_statistics(network)
    plan = network_plan(rule, extent)
    main_sweep = sweep(network, taps, plan, 1)
    main = measured("ReLU maps" if taps == TapSelection() else "chosen tensors", main_sweep, plan)
    statistics = measure_statistics(main_sweep, plan.headline, extent.statistics_every)

    gradients = []
    plan = small_plan(rule, tuple(t for t in GRADIENT_TYPES if t in extent.types))
    for what, of in (("of the outputs", "gradients"), ("of the inputs", "input gradients")):
        selection = dataclasses.replace(taps, of=of)
        each = sweep(network, selection, plan, extent.gradients_every)
        if each.chosen and (of == "gradients" or only_relu(network.model, taps)):
            gradients.append(measured(what, each, plan))

    others = []
    plan = small_plan(rule, ("fixed8", "bfloat16"))
    for what, selection in (
        ("inputs of convolutions", TapSelection(("Conv2d",), of="inputs")),
        ("sums of residual additions", TapSelection((), ("add",))),
    ):
        each = sweep(network, selection, plan, extent.networks_every)
        others.append(measured(what, each, plan))
    for name in () if main_network_only else extent.networks:
        if name != network.name:
            loaded = load_model(name)
            if wants_statistics:
                loaded = with_batch_statistics(loaded)
            types = ("fixed8", "ufixed8", "bfloat16")
            plan = small_plan(rule, types)
            each = sweep(loaded, TapSelection(), plan, extent.networks_every)
            others.append(measured("activation maps", each, plan))

    provenance = {
        "network": network.name,
        "weights": network.weights,
        "weights_sha256": network.weights_sha256,
        "images": f"{images.origin}, {len(images.files)}",
        "images_sha256": images_sha256,
        "extent": extent.name,
        "rule": dataclasses.asdict(rule),
        "taps": dataclasses.asdict(taps),
        "network_mode": "batch statistics" if network.batch_statistics else "evaluation",
        "versions": _versions(),
        "program_sha256": _program_sha256(),
    }
    return Study(extent, rule, images, main, statistics, gradients, others, provenance)


def _versions() -> dict[str, str]:
    return {
        "torch_ebpc": torch_ebpc.__version__,
        "torch": str(torch.__version__),
        **software.versions(),
    }


def _program_sha256() -> str:
    """Of the compiled library and of the sources that counts depend on."""
    digest = hashlib.sha256(LIBRARY_PATH.read_bytes())
    folder = Path(__file__).resolve().parents[1]
    for name in _SOURCES:
        digest.update((folder / f"{name}.py").read_bytes())
    return digest.hexdigest()
