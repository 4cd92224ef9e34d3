"""The report's further sections: ablations, software, gradients, other tensors and networks,
statistics of the words."""

from __future__ import annotations

import numpy as np

from evaluation.common.tables import Cell, Picture, Section, Table
from evaluation.paper import published
from evaluation.paper.averages import DEFINITIONS
from evaluation.paper.figures import plane_shares
from evaluation.paper.paper_study import MAPS, Measured, Study
from evaluation.paper.plan import LARGE, SETTINGS_CODES, SETTINGS_WORDS
from evaluation.paper.variants import METHOD_TITLES
from evaluation.paper.word_statistics import BIN, LONGEST_RUN, TILE_WORDS


def ablations_section(study: Study) -> Section:
    main, extent, plan = study.main, study.extent, study.main.plan
    section = Section("Ablations")
    readings = main.readings("ablations")
    base = readings.ratio(plan.headline)
    rows: list[list[Cell]] = []
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

    readings, group = main.readings("settings"), main.group("settings")
    columns = [words for words in SETTINGS_WORDS if any(each.startswith(words) for each in group)]
    section.parts.append(
        Table(
            "All settings at 8 bit, ratio of sums, the maximum over all images at 0.75 of full"
            f" scale; {readings.image_count} images.",
            ["code", *columns],
            [
                [code, *(readings.ratio(group[f"{words}; {code}"]) for words in columns)]
                for code in SETTINGS_CODES
            ],
            digits=3,
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
    main, extent = study.main, study.extent
    readings, group = main.readings("software"), main.group("software")
    types = [type for type in main.plan.types if f"{type} ebpc" in group]
    ratio = {label: readings.ratio(each) for label, each in group.items()}
    beside = main.network.name == "resnet34"
    rows = []
    for method in ("ebpc", LARGE, *extent.compressors):
        row = [_title(method), *(ratio[f"{type} {method}"] for type in types)]
        rows.append([*row, published.SOFTWARE.get(method)] if beside else row)
    section = Section("Software compressors on the same words")
    section.parts = [
        "Not an alternative in such hardware: a general compressor looks back over"
        " kilobytes. Each map of each image is compressed by itself. 4- and 12-bit words are"
        " given to the compressors in 8 and 16 bits, and counted as words of 4 and 12. The"
        " entropy bound is what an ideal code for independent words needs that knows how often"
        " each value occurs in this very map, without the cost of telling the decoder; for"
        " types of many values it is out of reach for that reason.",
        Table(
            f"Ratio of sums against words of the type, {readings.image_count} images.",
            ["method", *types, *(["fixed8, earlier"] if beside else [])],
            rows,
        ),
    ]
    compressors = [method for method in extent.compressors if method != "entropy"]
    ahead: list[str] = []
    behind: list[str] = []
    for type in types:
        best = max(compressors, key=lambda method: ratio[f"{type} {method}"])
        mine = max(("ebpc", LARGE), key=lambda method: ratio[f"{type} {method}"])
        text = (
            f"{type} ({_title(mine)} {ratio[f'{type} {mine}']:.2f}, {best}"
            f" {ratio[f'{type} {best}']:.2f})"
        )
        (ahead if ratio[f"{type} {mine}"] > ratio[f"{type} {best}"] else behind).append(text)
    section.parts += [
        f"- EBPC has the better ratio for: {', '.join(ahead) or 'no type'}.",
        f"- The best of these compressors has it for: {', '.join(behind) or 'no type'}.",
    ]
    return section


def _title(method: str) -> str:
    return METHOD_TITLES.get(method, method.replace("ebpc", "EBPC"))


def _small_table(measured: Measured, caption: str) -> Table:
    """Methods x types of a small plan; unsigned words are left out of maps with negative values."""
    readings, group = measured.readings("types"), measured.group("types")
    labels = [label.split(" ", 1) for label in group]
    types = list(dict.fromkeys(type for type, _ in labels))
    rows = []
    for method in dict.fromkeys(method for _, method in labels):
        rows.append(
            [_title(method), *(readings.ratio(group[f"{type} {method}"]) for type in types)]
        )
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
    coded, bits = stats.coded, stats.variant.words.bits
    section = Section("Statistics of the words")
    planes = sum(coded.planes.values())
    section.parts.append(
        f"Of {stats.variant.words.type} words by the rule above, {stats.image_count} images:"
        f" {coded.words:,} words, {100 * coded.zero_words / max(coded.words, 1):.1f} % of them"
        " zero;"
        f" {coded.blocks:,} blocks of {coded.block_size} with {planes:,} bit planes. Zero stream"
        f" {coded.zero_bits:,} bits, plane stream {coded.plane_bits:,} bits."
    )
    runs = coded.symbols["zero_run"] + coded.symbols["single_zero"]
    counts = {name: (coded.symbols[name], coded.symbol_bits[name]) for name in coded.symbols}
    section.parts += [
        Table(
            f"Bit planes by symbol. Zero planes are in {runs / max(coded.blocks, 1):.2f} symbols a"
            f" block here; in {published.JETCAS_FIGURE_3B}, in"
            f" {1.2 / published.SYMBOL_BLOCKS:.2f}.",
            ["symbol", "% of planes", "published %"],
            [[title, *shares] for title, shares in plane_shares(study).items()],
        ),
        Table(
            "Codes in the plane stream and the bits that they take.",
            ["code", "number", "bits", "% of the plane stream"],
            [
                [name.replace("_", " "), number, size, 100 * size / max(coded.plane_bits, 1)]
                for name, (number, size) in (
                    counts | {"base": (coded.blocks, coded.symbol_bits["base"])}
                ).items()
            ],
        ),
        Picture("symbols", "Bit planes by symbol."),
        Picture("runs-and-deltas", "Zero runs and bursts by length; differences inside of blocks."),
    ]
    zero_runs, bursts = stats.zero_runs, np.array(coded.bursts)
    rows = []
    for low, high in ((1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 32), (33, LONGEST_RUN)):
        label = str(low) if low == high else f"{low} to {high}"
        row: list[Cell] = [label if high < LONGEST_RUN else f"{low} or longer"]
        for histogram in (zero_runs, bursts):
            count = int(histogram[low - 1 : high].sum())
            row += [count, 100 * count / max(int(histogram.sum()), 1)]
        rows.append(row)
    deltas, total = coded.delta_bits, max(sum(coded.delta_bits), 1)
    section.parts += [
        Table(
            "Runs of zero words, and bursts of non-zero words side by side, by length. Zero runs"
            f" are cut at {LONGEST_RUN}.",
            ["words", "zero runs", "% of zero runs", "bursts", "% of bursts"],
            rows,
        ),
        Table(
            "Differences of neighbouring non-zero words in a block, by magnitude.",
            ["magnitude", "differences", "%"],
            [
                [
                    str(i) if i < 2 else f"{1 << (i - 1)} to {(1 << i) - 1}",
                    count,
                    100 * count / total,
                ]
                for i, count in enumerate(deltas)
            ],
        ),
    ]
    rows = []
    for name, histogram in (
        ("row of a map", stats.row_bits),
        (f"tile of {TILE_WORDS} words", stats.tile_bits),
    ):
        share = histogram.cumsum() / max(histogram.sum(), 1)
        cells: list[Cell] = [name, int(histogram.sum())]
        cells += [BIN * float(np.searchsorted(share, q / 100) + 1) for q in (5, 25, 50, 75, 95, 99)]
        cells.append(100 * float(histogram[int(bits / BIN) :].sum()) / max(histogram.sum(), 1))
        rows.append(cells)
    section.parts += [
        Table(
            f"Bits per word of transmissions coded alone, percentiles in steps of {BIN} bit.",
            ["transmission", "count", "5 %", "25 %", "50 %", "75 %", "95 %", "99 %",
             f"% with {bits} bits or more"],
            rows,
        ),
        Picture("bits-per-word", "Bits per word of rows and tiles coded alone."),
    ]  # fmt: skip
    return section
