"""All measurements of a run: the network, its gradients, other tensors of it, other networks."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch

import evaluation
import torch_ebpc
from evaluation.common.networks import NoWeightsError, load_model
from evaluation.paper import software
from evaluation.paper.averages import Readings
from evaluation.paper.counts import Counts
from evaluation.paper.passes import UNIT_IMAGES, Runner
from evaluation.paper.plan import Extent, Plan, network_plan, small_plan
from evaluation.paper.presets import Preset
from evaluation.paper.ranks import Ranks
from evaluation.paper.sweep import Sweep
from evaluation.paper.tap_selection import Of, TapSelection, default_selection, only_relu
from evaluation.paper.word_statistics import Statistics, measure_statistics
from torch_ebpc.cli.images import ImageSet
from torch_ebpc.cli.measurement import Accuracy
from torch_ebpc.cli.networks import LoadedModel, with_batch_statistics

MAPS = "activation maps"
GRADIENT_TYPES = ("fixed8", "fixed16", "float16", "bfloat16", "float32")
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
    chosen_tensors = taps is not None
    taps = taps or default_selection(network.model)
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
            "threads": torch.get_num_threads(),  # convolutions may differ in the last bits
            "versions": _versions(),
            "program": program_sha256(),
        }
        digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
        name = f"{loaded.name} {selection.of}"
        runner = Runner(work, digest, ranks)
        return Sweep(loaded, images, selection, runner, rule.batch_size or 1, every, name)

    def measured(what: str, each: Sweep, plan: Plan) -> Measured | None:
        """None where the network has no such tensors, or no image qualifies."""
        if not each.chosen or not each.taps.applies(each.network.model):
            return None
        ranges, top1 = each.ranges()
        if not ranges.calls:
            return None
        counts = each.counts(ranges, plan.every)
        return Measured(what, each.network, plan, counts, top1, ranges.negative)

    if wants_statistics:
        network = with_batch_statistics(network)
    plan = network_plan(rule, extent)
    main_sweep = sweep(network, taps, plan, 1)
    main = measured("chosen tensors" if chosen_tensors else MAPS, main_sweep, plan)
    if main is None:
        raise NothingToMeasureError(f"{network.name} calls nothing of {taps}")
    statistics = measure_statistics(main_sweep, plan.headline, extent.statistics_every)

    gradients = []
    plan = small_plan(rule, tuple(t for t in GRADIENT_TYPES if t in extent.types))
    of_what: tuple[tuple[str, Of], ...] = (
        ("of the outputs", "gradients"),
        ("of the inputs", "input gradients"),
    )
    for what, of in of_what:
        selection = dataclasses.replace(taps, of=of)
        each = sweep(network, selection, plan, extent.gradients_every)
        if of == "gradients" or only_relu(network.model, taps):
            gradients.append(measured(what, each, plan))

    others = []
    plan = small_plan(rule, ("fixed8", "bfloat16"))
    for what, selection in (
        ("inputs of convolutions", TapSelection(("Conv2d",), of="inputs")),
        ("sums of residual additions", TapSelection((), ("add",))),
    ):
        each = sweep(network, selection, plan, extent.networks_every)
        others.append(measured(what, each, plan))
    for name in extent.networks:
        if name != network.name:
            try:
                loaded = load_model(name, untrained=untrained)
            except NoWeightsError as error:
                if ranks.first:
                    print(f"{name} is left out: {error}", file=sys.stderr)
                continue
            if wants_statistics:
                loaded = with_batch_statistics(loaded)
            types = ("fixed8", "ufixed8", "bfloat16")
            plan = small_plan(rule, types)
            each = sweep(loaded, default_selection(loaded.model), plan, extent.networks_every)
            others.append(measured(MAPS, each, plan))

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
    return Study(
        extent,
        rule,
        images,
        main,
        statistics,
        [each for each in gradients if each is not None],
        [each for each in others if each is not None],
        provenance,
    )


def _versions() -> dict[str, str]:
    return {
        "torch_ebpc": torch_ebpc.__version__,
        "torch": str(torch.__version__),
        **software.versions(),
    }


def program_sha256() -> str:
    """Of all compiled libraries and all sources, with their names."""
    digest = hashlib.sha256()
    for folder in PROGRAM:
        for path in sorted([*folder.glob("lib/*.so"), *folder.rglob("*.py")]):
            digest.update(f"{path.relative_to(folder)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
