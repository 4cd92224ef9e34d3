"""Which variants a run measures, in named groups, and on how many of the images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from evaluation.paper.presets import PRESETS, Preset
from evaluation.paper.software import COMPRESSORS
from evaluation.paper.variants import BASELINES, METHODS, TYPES, Variant, variant


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
    statistics_every: int = 25
    types: tuple[str, ...] = tuple(TYPES)
    block_types: tuple[str, ...] = ("fixed8", "fixed16", "bfloat16")
    block_sizes: tuple[int, ...] = (4, 8, 16, 32, 64)
    zero_runs: tuple[int, ...] = (2, 4, 8, 16, 32, 64, 256)
    compressors: tuple[str, ...] = (*COMPRESSORS, "entropy")
    networks: tuple[str, ...] = ("resnet18", "squeezenet1_1", "mobilenet_v2")


EXTENTS = {
    extent.name: extent
    for extent in (
        Extent("default"),
        Extent(
            "full",
            ablations_every=1,
            software_every=1,
            gradients_every=1,
            networks_every=1,
            statistics_every=5,
        ),
        # Everything once, for tests: a few images, a few of each.
        Extent(
            "quick",
            images_every=25,
            networks_every=50,
            gradients_every=50,
            types=("fixed8", "ufixed8", "fixed16", "float16", "bfloat16"),
            block_types=("fixed8",),
            block_sizes=(8, 16),
            zero_runs=(8, 16),
            compressors=("zstd-1", "entropy"),
            networks=("squeezenet1_1",),
        ),
    )
}

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

    def add(self, name: str, group: Mapping[str, Variant], every: int) -> None:
        self.groups[name] = dict(group)
        for each in group.values():
            self.every[each] = min(every, self.every.get(each, every))

    def by_type(self, type: str, method: str = "ebpc", **changes: object) -> Variant:
        return variant(self.rule, type, method, **changes)

    @property
    def headline(self) -> Variant:
        return self.by_type("fixed8")


def network_plan(rule: Preset, extent: Extent) -> Plan:
    """All that is measured of the main network's maps."""
    rule = rule.complete()
    plan = Plan(rule, extent.types)
    plan.add(
        "types",
        {
            f"{type} {method}": plan.by_type(type, method)
            for type in extent.types
            for method in METHODS
        },
        1,
    )
    plan.add("presets", _presets(), 1)
    plan.add(
        "software",
        {
            f"{type} {method}": plan.by_type(type, method)
            for type in extent.types
            for method in ("ebpc", *extent.compressors)
        }
        | {f"{type} {LARGE}": plan.by_type(type, **LARGE_CODE) for type in extent.types},
        extent.software_every,
    )
    plan.add(
        "block size",
        {
            f"{type} {base} {size}": plan.by_type(type, base=base, block_size=size)
            for type in extent.block_types
            for base in ("sent", "reused")
            for size in extent.block_sizes
        }
        | {
            f"{type} bpc {size}": plan.by_type(type, "bpc", block_size=size)
            for type in extent.block_types
            for size in extent.block_sizes
        },
        extent.ablations_every,
    )
    plan.add(
        "zero run",
        {
            f"{method} {run}": plan.by_type("fixed8", method, max_zero_run=run)
            for method in ("ebpc", "zero_rle")
            for run in extent.zero_runs
        },
        extent.ablations_every,
    )
    plan.add("ablations", _ablations(plan), extent.ablations_every)
    plan.add("settings", _settings(plan), 1)
    return plan


def _presets() -> Group:
    """Each preset as its source describes it, and the papers' baselines under the same words."""
    group: Group = {}
    for preset in PRESETS.values():
        bases = ("reused", "sent") if preset.base == "reused" else (preset.base,)
        for type in ("fixed8", "fixed16"):
            for size in preset.block_sizes:
                for base in bases:
                    group[f"{preset.name} {type} ebpc N={size} base {base}"] = variant(
                        preset, type, block_size=size, base=base
                    )
        for method in BASELINES:
            for size in preset.block_sizes if method == "bpc" else preset.block_sizes[:1]:
                label = f"{method} N={size}" if method == "bpc" else method
                group[f"{preset.name} fixed8 {label}"] = variant(
                    preset, "fixed8", method, block_size=size
                )
    return group


def _ablations(plan: Plan) -> Group:
    """One change at a time, at 8 bit."""
    rule = plan.rule
    other_scale = "batch" if rule.scale == "calibrated" else "calibrated"
    other_rounding = "nearest" if rule.rounding == "truncate" else "truncate"
    other_order = "nhwc" if rule.order == "nchw" else "nchw"
    group = {"as it is": plan.headline}
    for headroom in (0.75, 0.8, 1.0):
        if headroom != rule.headroom:
            group[f"headroom {headroom:g}"] = plan.by_type("fixed8", headroom=headroom)
    group |= {
        f"scale: {other_scale}": plan.by_type("fixed8", scale=other_scale),
        "scale: each image's own": plan.by_type("fixed8", scale="image"),
        f"rounding: {other_rounding}": plan.by_type("fixed8", rounding=other_rounding),
        "unsigned words": plan.by_type("ufixed8"),
        f"order: {other_order}": plan.by_type("fixed8", order=other_order),
        f"order: {other_order}, base reused": plan.by_type(
            "fixed8", order=other_order, base="reused"
        ),
        "one transmission per channel": plan.by_type("fixed8", transmission="channel"),
        "base reused": plan.by_type("fixed8", base="reused"),
        "base reused, N=16": plan.by_type("fixed8", base="reused", block_size=16),
        "zero-RLE alone": plan.by_type("fixed8", "zero_rle"),
        f"zero-RLE alone, order: {other_order}": plan.by_type(
            "fixed8", "zero_rle", order=other_order
        ),
        "BPC alone": plan.by_type("fixed8", "bpc"),
        f"BPC alone, order: {other_order}": plan.by_type("fixed8", "bpc", order=other_order),
        "BPC alone, N=16": plan.by_type("fixed8", "bpc", block_size=16),
    }
    return group


SETTINGS_WORDS = {
    f"{'signed' if type == 'fixed8' else 'unsigned'}, {rounding}": (type, rounding)
    for type in ("fixed8", "ufixed8")
    for rounding in ("truncate", "nearest")
}
SETTINGS_CODES = {
    f"N = {size}, base {base}": (size, base) for size in (8, 16) for base in ("sent", "reused")
}


def _settings(plan: Plan) -> Group:
    """Every setting of words and code at 8 bit, with the scale over all images."""
    return {
        f"{words}; {code}": plan.by_type(
            type, rounding=rounding, block_size=size, base=base, scale="calibrated", headroom=0.75
        )
        for words, (type, rounding) in SETTINGS_WORDS.items()
        for code, (size, base) in SETTINGS_CODES.items()
    }


def small_plan(rule: Preset, types: tuple[str, ...]) -> Plan:
    """For gradients and for other networks: types and methods only."""
    plan = Plan(rule.complete(), types)
    methods = ("ebpc", "bpc", "zvc", "zero_rle", "csc")
    plan.add(
        "types",
        {f"{type} {method}": plan.by_type(type, method) for type in types for method in methods}
        | {f"{type} {LARGE}": plan.by_type(type, **LARGE_CODE) for type in types},
        1,
    )
    return plan
