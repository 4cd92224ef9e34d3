"""The report's further sections: ablations, software, gradients, other tensors and networks,
statistics of the words."""

from __future__ import annotations

import numpy as np

from evaluation import published
from evaluation.paper.averages import DEFINITIONS
from evaluation.paper.statistics import BIN, BURST_WORDS, LONGEST_RUN
from evaluation.paper.study import MAPS, Measured, Study
from evaluation.paper.symbols import symbol_bits
from evaluation.paper.tables import Picture, Section, Table
from evaluation.paper.variants import METHOD_TITLES


def ablations_section(study: Study) -> Section:
    main, extent, plan = study.main, study.extent, study.main.plan
    section = Section("Ablations")
    readings = main.readings("ablations")
    base = readings.ratio(plan.headline)
    rows = []
    for label, each in main.group("ablations").items():
        found = readings.averages(each)
        change = (
            None if each == plan.headline else f"{100 * (found['ratio of sums'] / base - 1):+.1f} %"
        )
        rows.append([label, *(found[name] for name in list(DEFINITIONS)[:3]), change])
    rule = study.rule
    section.parts.append(
        Table(
            f"One change at a time to {plan.headline.words.type}, EBPC, N = {rule.block_size}, base"
            f" {rule.base}, {rule.rounding}, {rule.scale} scale, headroom {rule.headroom:g}, order"
            f" {rule.order}; {readings.image_count} images. A batch has {rule.batch_size} images.",
            ["change", *list(DEFINITIONS)[:3], "change of the ratio of sums"],
            rows,
        )
    )

    readings = main.readings("block size")
    rows = []
    for type in extent.block_types:
        for label, method, base_rule in (
            ("EBPC, base sent", "ebpc", "sent"),
            ("EBPC, base reused", "ebpc", "reused"),
            ("BPC alone", "bpc", "sent"),
        ):
            rows.append([type, label])
            rows[-1] += [
                readings.ratio(plan.by_type(type, method, base=base_rule, block_size=size))
                for size in extent.block_sizes
            ]
    section.parts += [
        Table(
            f"Block size, ratio of sums, {readings.image_count} images.",
            ["type", "method", *(f"N={size}" for size in extent.block_sizes)],
            rows,
        ),
        Picture("block-sizes", "Ratio by block size."),
    ]

    readings = main.readings("zero run")
    rows = [
        [METHOD_TITLES[method]]
        + [readings.ratio(plan.by_type("fixed8", method, max_zero_run=r)) for r in extent.zero_runs]
        for method in ("ebpc", "zero_rle")
    ]
    section.parts.append(
        Table(
            "Longest zero run of one symbol, fixed8, ratio of sums,"
            f" {readings.image_count} images.",
            ["method", *(f"R={run}" for run in extent.zero_runs)],
            rows,
            digits=3,
        )
    )
    return section


def software_section(study: Study) -> Section:
    main, extent, plan = study.main, study.extent, study.main.plan
    readings = main.readings("software")
    types = [type for type in plan.types if plan.by_type(type) in main.counts.bits]
    rows = []
    for method in ("ebpc", *extent.compressors):
        row = [METHOD_TITLES[method]]
        row += [readings.ratio(plan.by_type(type, method)) for type in types]
        if main.network.name == "resnet34":
            row.append(published.SOFTWARE.get(method))
        rows.append(row)
    wins = [
        type
        for type in types
        if readings.ratio(plan.by_type(type))
        > max(
            readings.ratio(plan.by_type(type, method))
            for method in extent.compressors
            if method != "entropy"
        )
    ]
    beside = ["fixed8, earlier measurement"] if main.network.name == "resnet34" else []
    return Section(
        "Software compressors on the same words",
        [
            "Not an alternative for a few hundred gates: a general compressor looks back over"
            " kilobytes. Each map of each image is compressed by itself. 4- and 12-bit words are"
            " given to the compressors in 8 and 16 bits, and counted as words of 4 and 12. The"
            " entropy bound is what an ideal code for independent words needs that knows how often"
            " each value occurs in this very map, without the cost of telling the decoder; for"
            " types of many values it is out of reach for that reason.",
            Table(
                f"Ratio of sums against words of the type, {readings.image_count} images.",
                ["method", *types, *beside],
                rows,
            ),
            "EBPC is ahead of all software compressors here for: "
            + (", ".join(wins) if wins else "no type")
            + ".",
        ],
    )


def _small_table(measured: Measured, caption: str) -> Table:
    """Methods x types of a small plan; unsigned words are left out of maps with negative values."""
    readings, group = measured.readings("types"), measured.group("types")
    labels = [label.split(" ", 1) for label in group]
    types = list(dict.fromkeys(type for type, _ in labels))
    rows = []
    for method in dict.fromkeys(method for _, method in labels):
        title = METHOD_TITLES.get(method, method.replace("ebpc", "EBPC"))
        rows.append([title, *(readings.ratio(group[f"{type} {method}"]) for type in types)])
    return Table(f"{caption} {readings.image_count} images.", ["method", *types], rows)


def gradients_section(study: Study) -> Section:
    section = Section("Gradients")
    if not study.gradients:
        section.parts.append("Not measured: no image has a label.")
        return section
    section.parts.append(
        "Gradients of the cross entropy, the mean over a batch of"
        f" {study.rule.batch_size} labelled images, in evaluation mode. Of the outputs: what comes"
        " back to the activation. Of the inputs: what it hands on, zero wherever it let nothing"
        " through. Words are signed; the scale follows the largest magnitude."
    )
    for each in study.gradients:
        section.parts.append(_small_table(each, f"Gradients {each.what}: ratio of sums,"))
    if study.main.network.name == "resnet34":
        types = list(dict.fromkeys(t for row in published.GRADIENTS.values() for t in row))
        section.parts.append(
            Table(
                f"Published ({published.PLOT}, to about 0.1).",
                ["method", *types],
                [
                    [METHOD_TITLES[method], *(row.get(type) for type in types)]
                    for method, row in published.GRADIENTS.items()
                ],
            )
        )
    return section


def others_section(study: Study) -> Section:
    section = Section("Other tensors, other networks")
    rows = []
    for each in [study.main, *study.others]:
        readings, plan = each.readings("types"), each.plan
        figures = published.NETWORKS.get(each.network.name) if each.what == MAPS else None
        row = [each.network.name, each.what, readings.image_count]
        for type, method in (
            ("fixed8", "ebpc"), ("fixed8", "bpc"), ("fixed8", "zvc"), ("fixed8", "zero_rle"),
            ("ufixed8", "ebpc"), ("bfloat16", "ebpc"),
        ):  # fmt: skip
            variant = plan.by_type(type, method)
            row.append(readings.ratio(variant) if variant in each.counts.bits else None)
        row += [figures.plot, figures.jetcas] if figures else [None, None]
        rows.append(row)
    section.parts.append(
        Table(
            "Ratio of sums. Published: EBPC at fixed8, from the plot and from JETCAS's conclusion.",
            ["network", "tensors", "images", "fixed8 EBPC", "fixed8 BPC", "fixed8 ZVC",
             "fixed8 zero-RLE", "ufixed8 EBPC", "bfloat16 EBPC", "plot", "JETCAS"],
            rows,
        )
    )  # fmt: skip
    networks = dict.fromkeys(
        (each.network.name, each.network.weights, each.network.warning, str(each.top1))
        for each in [study.main, *study.others]
        if each.what == MAPS
    )
    section.parts.append(
        Table("", ["network", "weights", "warning", "top-1 on these images"], list(networks))
    )
    return section


def statistics_section(study: Study) -> Section:
    stats = study.statistics
    found, bits, size = stats.symbols, stats.variant.words.bits, stats.variant.code.block_size
    planes = found["blocks"] * (bits + 1)
    zero_planes = found["zero planes in runs"] + found["single zero planes"]
    runs = found["zero runs"] + found["single zero planes"]
    section = Section("Statistics of the words")
    section.parts.append(
        f"Of {stats.variant.words.type} words by the rule above, {stats.image_count} images,"
        f" {found['blocks']:,} blocks of {size} with {planes:,} bit planes; these symbols make"
        f" {symbol_bits(found, bits, size):,} bits of plane stream."
    )
    theirs = {
        "uncompressed": published.SYMBOL_PLANES["uncompressed"],
        "zero": published.SYMBOL_PLANES["zero planes (in 1.2 million runs)"],
        "single one": published.SYMBOL_PLANES["single one"],
        "two adjacent ones": published.SYMBOL_PLANES["two adjacent ones"],
    }
    their_planes = published.SYMBOL_BLOCKS * (8 + 1)
    rows = []
    for name, count in (
        ("uncompressed", found["uncompressed"]),
        ("zero", zero_planes),
        ("single one", found["single one"]),
        ("two adjacent ones", found["two adjacent ones"]),
        ("all ones", found["all ones"]),
        ("zero before XOR", found["plane zero before XOR"]),
    ):
        share = 100 * theirs[name] / their_planes if name in theirs else None
        rows.append([name, count, 100 * count / max(planes, 1), share])
    section.parts += [
        Table(
            f"Bit planes by symbol. Zero planes are in {runs:,} symbols here"
            f" ({runs / max(found['blocks'], 1):.2f} a block); in {published.JETCAS_FIGURE_3B}, in"
            f" 1.2 million ({1.2 / published.SYMBOL_BLOCKS:.2f} a block).",
            ["symbol", "planes", "% of planes", "published %"],
            rows,
        ),
        Picture("symbols", "Bit planes by symbol."),
        Picture("runs-and-deltas", "Zero runs by length; differences inside of blocks."),
    ]
    lengths = stats.zero_runs
    total = max(int(lengths.sum()), 1)
    rows = []
    for low, high in ((1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 32), (33, LONGEST_RUN)):
        count = int(lengths[low : high + 1].sum())
        label = f"{low}" if low == high else f"{low} to {high}"
        rows.append(
            [label if high < LONGEST_RUN else f"{low} or longer", count, 100 * count / total]
        )
    section.parts.append(Table("Zero runs.", ["length, words", "runs", "% of runs"], rows))
    middle = len(stats.deltas) // 2
    magnitude = stats.deltas[middle:].copy()
    magnitude[1:] += stats.deltas[:middle][::-1]
    rows, low = [["0", int(magnitude[0]), 100 * magnitude[0] / max(magnitude.sum(), 1)]], 1
    while low < len(magnitude):
        count = int(magnitude[low : 2 * low].sum())
        share = 100 * count / max(int(magnitude.sum()), 1)
        rows.append([f"{low}" if low == 1 else f"{low} to {2 * low - 1}", count, share])
        low *= 2
    section.parts.append(
        Table(
            "Differences of neighbouring non-zero words in full blocks, by magnitude.",
            ["magnitude", "differences", "%"],
            rows,
        )
    )
    rows = []
    for name, histogram in (
        ("row of a map", stats.row_bits),
        (f"burst of {BURST_WORDS} words", stats.burst_bits),
    ):
        share = histogram.cumsum() / max(histogram.sum(), 1)
        rows.append([name, int(histogram.sum())])
        rows[-1] += [
            BIN * float(np.searchsorted(share, q / 100) + 1) for q in (5, 25, 50, 75, 95, 99)
        ]
        rows[-1].append(100 * float(histogram[int(bits / BIN) :].sum()) / max(histogram.sum(), 1))
    section.parts += [
        Table(
            f"Bits per word of transmissions coded alone, percentiles in steps of {BIN} bit.",
            ["transmission", "count", "5 %", "25 %", "50 %", "75 %", "95 %", "99 %",
             f"% with {bits} bits or more"],
            rows,
        ),
        Picture("bits-per-word", "Bits per word of rows and bursts coded alone."),
    ]  # fmt: skip
    return section
