"""The report's main sections: methods by type, claims, averages, calls, presets."""

from __future__ import annotations

import numpy as np

from evaluation.common.tables import Cell, Picture, Section, Table
from evaluation.paper import published
from evaluation.paper.averages import DEFINITIONS, extremes, ratio_of_sums
from evaluation.paper.claims import (
    REFERENCE_WIDTHS,
    Agreement,
    Verdict,
    agreement,
    explain,
    mixed_gain,
    readings_of,
)
from evaluation.paper.figures import has_published_calls
from evaluation.paper.paper_study import Study
from evaluation.paper.presets import PRESETS
from evaluation.paper.variants import BASELINES, METHOD_TITLES, METHODS, TYPES, variant


def types_table(study: Study) -> Table:
    """Methods x types, with the published figure next to each of ours where there is one."""
    plan, readings = study.main.plan, study.main.readings("types")
    types = [type for type in plan.types if plan.by_type(type) in study.main.counts.bits]
    beside = study.main.network.name == "resnet34"
    rows = []
    for method in METHODS:
        row = [METHOD_TITLES[method]]
        for type in types:
            text = f"{readings.ratio(plan.by_type(type, method)):.2f}"
            known = published.BY_TYPE.get(method, {}).get(type) if beside else None
            row.append(text if known is None else f"{text} [{known:.2f}]")
        rows.append(row)
    return Table(
        f"Ratio of sums against words of the type, {readings.image_count} images"
        + (f"; in brackets: {published.PLOT}." if beside else "."),
        ["method", *types],
        rows,
    )


def types_section(study: Study) -> Section:
    plan, readings = study.main.plan, study.main.readings("types")
    rule = study.rule
    section = Section("Methods and types")
    section.parts = [
        f"Rule: preset {rule.name!r} ({rule.source}): {'signed' if rule.signed else 'unsigned'}"
        f" words unless named ufixed, each call's maximum ({rule.scale}) at {rule.headroom:g} of"
        f" full scale, {rule.rounding}; N = {rule.block_size}, base {rule.base}, zero runs up to"
        f" {rule.max_zero_run}, order {rule.order}, one transmission per image. A signed word of a"
        " map that is never negative has a sign bit that says nothing and that bit-plane coding"
        " removes almost for free, which flatters signed words; ufixed words use it for a bit"
        " of precision more.",
        types_table(study),
        Picture("methods-by-type", "Methods by type (words of 4 bits: in the table only)."),
    ]
    widths = []
    for type in plan.types:
        each = plan.by_type(type)
        if each in study.main.counts.bits:
            widths.append([type, each.words.bits, readings.ratio(each)])
            widths[-1] += [
                readings.ratio(each, width) if width >= each.words.bits else None
                for width in REFERENCE_WIDTHS
            ]
    section.parts.append(
        Table(
            "EBPC against words of other widths: the same bits, another reference.",
            ["type", "bits", "against its own", *(f"against {w} bit" for w in REFERENCE_WIDTHS)],
            widths,
        )
    )
    return section


def verdicts(study: Study) -> list[Verdict]:
    """Each claim with all readings: every preset at 8 bit, and all other types by the rule."""
    main = study.main
    readings = []
    presets = main.readings("presets")
    for preset in PRESETS.values():
        if preset.name == "hardware":
            continue  # the notebook's words and code once more
        bases = ("reused", "sent") if preset.base == "reused" else (preset.base,)
        for size in preset.block_sizes:
            for base in bases:
                readings += readings_of(
                    presets,
                    f"{preset.name}, fixed8, N={size}, base {base}",
                    variant(preset, block_size=size, base=base),
                    {
                        method: variant(preset, "fixed8", method, block_size=size)
                        for method in BASELINES
                    },
                )
    eight_bit = list(readings)
    types = main.readings("types")
    for type in main.plan.types:
        each = main.plan.by_type(type)
        if each in main.counts.bits and type != "fixed8":
            baselines = {method: main.plan.by_type(type, method) for method in BASELINES}
            readings += readings_of(types, f"{study.rule.name}, {type}", each, baselines)
    aicas, jetcas = published.CLAIMS
    return [Verdict(aicas, readings, (0, *REFERENCE_WIDTHS)), Verdict(jetcas, eight_bit, (0,))]


def after_additions(study: Study) -> str | None:
    """Why ResNet-34's averages are where they are: its two kinds of maps."""
    if not has_published_calls(study):
        return None
    readings, headline = study.main.readings("types"), study.main.plan.headline
    bits, words = readings.bits(headline), readings.counts.words
    after = slice(2, None, 2)  # the second call of each residual block
    first = np.ones(len(words), bool)
    first[after] = False
    dense, sparse = (
        ratio_of_sums(bits[chosen], words[chosen], headline.words.bits) for chosen in (after, first)
    )
    share = 100 * words[after].sum() / words.sum()
    return (
        f"Why it is no more: the maps after residual additions are {share:.0f} % of the words and"
        f" compress to {dense:.2f} ({headline.words.type}, ratio of sums); all others together"
        f" reach {sparse:.2f}. The ratio of sums is the harmonic mean of the layer ratios by size;"
        " the size-weighted mean is the arithmetic one, and so never lower."
    )


def claims_section(study: Study) -> Section:
    section = Section("The abstracts' claims")
    alexnet = published.NETWORKS["alexnet"]
    section.parts.append(
        "The released data of ResNet-34 itself averages to "
        + ", ".join(f"{ratio:g} ({name})" for name, ratio in published.RELEASED_AVERAGES.items())
        + " at 8 bit, so no average over its ReLU maps gives 4.4 against 8-bit words; twice these"
        " figures, 8-bit words against 16-bit words, come near it, as does AlexNet's ratio"
        f" ({alexnet.plot:g}, later {alexnet.jetcas:g})."
    )
    why = after_additions(study)
    if why is not None:
        section.parts.append(why)
    for verdict in verdicts(study):
        claim = verdict.claim
        section.parts.append(
            f"Claim: “{claim.text}” ({claim.source}). Left open: {claim.left_open}."
        )
        section.parts += [f"- {line}" for line in explain(verdict)]
        if claim.ratio == published.CLAIMS[0].ratio:
            section.parts.append(f"- {mixed_gain(verdict.readings)}")
        widths = [f"against {width} bit" if width else "own width" for width in verdict.widths]
        rows = []
        for each in verdict.readings:
            row: list[Cell] = [each.rule, each.average]
            for width in verdict.widths:
                if width and width <= each.word_bits:
                    row.append(None)
                else:
                    mark = " ✓" if verdict.ratio_met(each, width) else ""
                    row.append(f"{verdict.ratio(each, width):.2f}{mark}")
            mark = " ✓" if verdict.gain_met(each) else ""
            row += [f"{each.gain_percent:+.0f} %{mark}", METHOD_TITLES[each.best[0]], each.best[1]]
            row.append(f"{100 * (each.ratio / each.zvc - 1):+.0f} %")
            rows.append(row)
        section.parts.append(
            Table(
                f"All readings for {claim.name}; ✓: as high as claimed, or higher.",
                ["rule", "average", *widths, "gain", "over", "its ratio", "over ZVC"],
                rows,
            )
        )
    return section


def averages_section(study: Study) -> Section:
    main = study.main
    readings, plan = main.readings("types"), main.plan
    types = [type for type in plan.types if plan.by_type(type) in main.counts.bits]
    by_type = {type: readings.averages(plan.by_type(type)) for type in types}
    section = Section("All averages")
    section.parts.append(
        Table("Definitions.", ["average", "definition"], list(DEFINITIONS.items()))
    )
    beside = main.network.name == "resnet34"
    rows = []
    for name in DEFINITIONS:
        row = [name, *(by_type[type][name] for type in types)]
        if beside:
            row.append(published.RELEASED_AVERAGES.get(name))
        rows.append(row)
    section.parts.append(
        Table(
            f"EBPC, {readings.image_count} images, against words of the type.",
            ["average", *types, *(["released data, fixed8"] if beside else [])],
            rows,
        )
    )
    for width in REFERENCE_WIDTHS:
        narrow = [type for type in types if TYPES[type].bits < width]
        rows = [
            [name, *(by_type[type][name] * width / TYPES[type].bits for type in narrow)]
            for name in DEFINITIONS
        ]
        section.parts.append(
            Table(f"The same against {width}-bit words.", ["average", *narrow], rows)
        )
    found = extremes(readings, plan.headline)
    section.parts.append(
        f"{plan.headline.words.type}: best layer {found.best_layer}, worst {found.worst_layer};"
        f" best image {found.best_image}, worst {found.worst_image}."
    )
    return section


def call_agreement(study: Study) -> Agreement | None:
    """With the published medians; None where our calls are others."""
    if not has_published_calls(study):
        return None
    table = study.main.readings("types").layers(study.main.plan.headline)
    return agreement(table["median"].tolist(), published.CALL_MEDIANS)


def agreement_text(found: Agreement) -> str:
    return (
        f"Rank correlation of our per-call medians with the published ones: Spearman"
        f" {found.spearman[0]:.3f} (p = {found.spearman[1]:.1e}), Kendall {found.kendall[0]:.3f}"
        f" (p = {found.kendall[1]:.1e}). Saw-tooth (a block's first map compresses better than the"
        f" one after its addition): {found.teeth} of {found.blocks} blocks, published"
        f" {found.published_teeth} of {found.blocks}."
    )


def calls_section(study: Study) -> Section:
    readings, headline = study.main.readings("types"), study.main.plan.headline
    table = readings.layers(headline)
    section = Section("Every call")
    found = call_agreement(study)
    if found is not None:
        table["published median"] = published.CALL_MEDIANS
        section.parts.append(agreement_text(found))
    section.parts += [
        Picture("layers", "Median ratio of every call."),
        Picture("images-per-layer", "Ratios of single images by call."),
        Table(
            f"EBPC, {headline.words.type}, {readings.image_count} images: ratio of sums, and"
            " percentiles of the ratios of single images.",
            list(table.columns),
            table.astype(object).values.tolist(),
        ),
    ]
    return section


def presets_section(study: Study) -> Section:
    main, section = study.main, Section("As they measured: the presets")
    section.parts.append(
        Table(
            "What each source says; where it leaves something open, the notebook's rule is used."
            + (
                ""
                if main.network.batch_statistics
                else " All were measured with the network in evaluation mode."
            ),
            ["preset", "source", "images", "mode", "scale", "headroom", "rounding", "N", "base",
             "notes"],
            [
                [p.name, p.source, p.images, p.network_mode, p.scale,
                 None if p.headroom is None else f"{p.headroom:g}", p.rounding,
                 ", ".join(map(str, p.block_sizes)), p.base, p.notes]
                for p in PRESETS.values()
            ],
        )
    )  # fmt: skip
    readings = main.readings("presets")
    rows = []
    for label, each in main.group("presets").items():
        found = readings.averages(each)
        name, type, rest = label.split(" ", 2)
        rows.append(
            [
                name,
                type,
                METHOD_TITLES.get(rest, rest.replace("ebpc", "EBPC,").replace("bpc", "BPC,")),
            ]
            + [found[average] for average in list(DEFINITIONS)[:3]]
        )
    section.parts.append(
        Table(
            f"{readings.image_count} images, against words of the type.",
            ["preset", "type", "method", *list(DEFINITIONS)[:3]],
            rows,
        )
    )
    return section
