"""Which variants a run measures, in named groups, and on how many of the images."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from evaluation.paper.presets import PRESETS, Preset
from evaluation.paper.variants import BASELINES, METHODS, SOFTWARE, TYPES, Variant, variant


@dataclasses.dataclass(frozen=True)
class Extent:
    """How much is measured. ``..._every``: on one image in so many.

    Types and presets always use all images.
    """

    name: str
    images_every: int = 1  # of the whole set: the others are not used at all
    ablations_every: int = 5
    software_every: int = 5
    gradients_every: int = 5
    networks_every: int = 10
    symbols_every: int = 25
    types: tuple[str, ...] = tuple(TYPES)
    block_types: tuple[str, ...] = ("fixed8", "fixed16", "bfloat16")
    block_sizes: tuple[int, ...] = (4, 8, 16, 32, 64)
    zero_runs: tuple[int, ...] = (2, 4, 8, 16, 32, 64, 256)
    compressors: tuple[str, ...] = SOFTWARE
    networks: tuple[str, ...] = ("resnet18", "squeezenet1_1", "mobilenet_v2")


_DEFAULT = Extent("default")
_FULL = Extent("full", 1, 1, 1, 1, 1, symbols_every=5)
# Everything once, for tests: a few images, a few of each.
_QUICK = Extent(
    "quick", images_every=25, networks_every=50, gradients_every=50,
    types=("fixed8", "ufixed8", "fixed16", "float16", "bfloat16"),
    block_types=("fixed8",), block_sizes=(8, 16), zero_runs=(8, 16),
    compressors=("zstd-1", "entropy"), networks=("squeezenet1_1",),
)  # fmt: skip
EXTENTS = {extent.name: extent for extent in (_DEFAULT, _FULL, _QUICK)}

# The setting with the best ratio that still is a small code, beside the published hardware's.
LARGE = "ebpc, N=16, base reused"
LARGE_CODE: dict[str, Any] = {"block_size": 16, "base": "reused"}

Group = dict[str, Variant]  # by what tells it from the others


@dataclasses.dataclass
class Plan:
    """The variants of a run.

    Attributes:
        rule: the preset with flags on top, that all groups but ``presets`` start from.
        types: of the table methods x types.
        groups: each a table of the report.
        every: by variant, on one image in how many it is measured.
    """

    rule: Preset
    types: tuple[str, ...]
    groups: dict[str, Group] = dataclasses.field(default_factory=dict)
    every: dict[Variant, int] = dataclasses.field(default_factory=dict)

    def add(self, name: str, group: Group, every: int = 1) -> None:
        self.groups[name] = group
        for each in group.values():
            self.every[each] = min(every, self.every.get(each, every))

    def by_type(self, type: str, method: str = "ebpc", **changes: object) -> Variant:
        return variant(self.rule, type, method, **changes)

    def types_by(self, *methods: str) -> Group:
        """Every type by every method."""
        pairs = itertools.product(self.types, methods)
        return {f"{type} {method}": self.by_type(type, method) for type, method in pairs}

    def large(self) -> Group:
        return {f"{type} {LARGE}": self.by_type(type, **LARGE_CODE) for type in self.types}

    @property
    def headline(self) -> Variant:
        return self.by_type("fixed8")


def network_plan(rule: Preset, extent: Extent) -> Plan:
    """All that is measured of the main network's maps."""
    plan = Plan(rule.complete(), extent.types)
    by_type, every = plan.by_type, extent.ablations_every
    plan.add("types", plan.types_by(*METHODS))
    plan.add("presets", preset_codes() | _preset_baselines())
    software = plan.types_by("ebpc", *extent.compressors) | plan.large()
    plan.add("software", software, extent.software_every)
    sizes: Group = {}
    for type, size in itertools.product(extent.block_types, extent.block_sizes):
        for base in ("sent", "reused"):
            sizes[f"{type} {base} {size}"] = by_type(type, base=base, block_size=size)
        sizes[f"{type} bpc {size}"] = by_type(type, "bpc", block_size=size)
    plan.add("block size", sizes, every)
    runs = {
        f"{method} {run}": by_type("fixed8", method, max_zero_run=run)
        for method, run in itertools.product(("ebpc", "zero_rle"), extent.zero_runs)
    }
    plan.add("zero run", runs, every)
    plan.add("ablations", _ablations(plan), every)
    plan.add("settings", _settings(plan))
    return plan


def small_plan(rule: Preset, types: tuple[str, ...]) -> Plan:
    """For gradients and for other networks: types and methods only."""
    plan = Plan(rule.complete(), types)
    plan.add("types", plan.types_by("ebpc", "bpc", "zvc", "zero_rle", "csc") | plan.large())
    return plan


def preset_codes() -> Group:
    """EBPC by each preset, with every block size and base that its source describes."""
    group: Group = {}
    for preset in PRESETS.values():
        bases = ("reused", "sent") if preset.base == "reused" else (preset.base,)
        for type, size, base in itertools.product(("fixed8", "fixed16"), preset.block_sizes, bases):
            label = f"{preset.name} {type} ebpc N={size} base {base}"
            group[label] = variant(preset, type, block_size=size, base=base)
    return group


def _preset_baselines() -> Group:
    """The papers' baselines under the same words."""
    group: Group = {}
    for preset, method in itertools.product(PRESETS.values(), BASELINES):
        for size in preset.block_sizes if method == "bpc" else preset.block_sizes[:1]:
            label = f"{method} N={size}" if method == "bpc" else method
            each = variant(preset, "fixed8", method, block_size=size)
            group[f"{preset.name} fixed8 {label}"] = each
    return group


def _ablations(plan: Plan) -> Group:
    """One change at a time, at 8 bit."""
    rule = plan.rule
    scale = "batch" if rule.scale == "calibrated" else "calibrated"
    rounding = "nearest" if rule.rounding == "truncate" else "truncate"
    order = "nhwc" if rule.order == "nchw" else "nchw"
    changes: dict[str, dict[str, Any]] = {
        "as it is": {},
        **{f"headroom {x:g}": {"headroom": x} for x in (0.75, 0.8, 1.0) if x != rule.headroom},
        f"scale: {scale}": {"scale": scale},
        "scale: each image's own": {"scale": "image"},
        f"rounding: {rounding}": {"rounding": rounding},
        "unsigned words": {"type": "ufixed8"},
        f"order: {order}": {"order": order},
        f"order: {order}, base reused": {"order": order, "base": "reused"},
        "one transmission per channel": {"transmission": "channel"},
        "base reused": {"base": "reused"},
        "base reused, N=16": LARGE_CODE,
        "zero-RLE alone": {"method": "zero_rle"},
        f"zero-RLE alone, order: {order}": {"method": "zero_rle", "order": order},
        "BPC alone": {"method": "bpc"},
        f"BPC alone, order: {order}": {"method": "bpc", "order": order},
        "BPC alone, N=16": {"method": "bpc", "block_size": 16},
    }
    return {label: variant(rule, **change) for label, change in changes.items()}


def _settings(plan: Plan) -> Group:
    """Every setting of words and code at 8 bit, with the scale over all images."""
    group: Group = {}
    types = {"signed": "fixed8", "unsigned": "ufixed8"}
    for (sign, type), rounding in itertools.product(types.items(), ("truncate", "nearest")):
        for size, base in itertools.product((8, 16), ("sent", "reused")):
            label = f"{sign}, {rounding}; N = {size}, base {base}"
            group[label] = plan.by_type(
                type,
                rounding=rounding,
                scale="calibrated",
                headroom=0.75,
                block_size=size,
                base=base,
            )
    return group
