"""The report's pictures: readable in black and white, the same bytes for the same figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.paper import published
from evaluation.paper.averages import PERCENTILES, map_ratios
from evaluation.paper.paper_study import Study
from evaluation.paper.variants import METHOD_TITLES, TYPES
from evaluation.paper.word_statistics import BIN, TILE_WORDS
from torch_ebpc.report import save_figure

GREYS = ("0.15", "0.45", "0.65", "0.8", "0.92")
HATCHES = ("", "///", "...", "xx", "--")
LINES = (("o", "-"), ("s", "--"), ("^", "-."), ("D", ":"), ("v", (0, (5, 1))), ("x", (0, (1, 1))))


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _grouped_bars(axes: Axes, groups: list[str], series: dict[str, list[float]]) -> None:
    width = 0.85 / len(series)
    for i, (name, values) in enumerate(series.items()):
        x = np.arange(len(groups)) + (i - (len(series) - 1) / 2) * width
        axes.bar(
            x, values, width, label=name, color=GREYS[i % len(GREYS)],
            hatch=HATCHES[i % len(HATCHES)], edgecolor="black", linewidth=0.5,
        )  # fmt: skip
    axes.set_xticks(range(len(groups)), groups)


def layers(study: Study) -> Figure:
    """Bars of each call's median ratio, the published medians over them."""
    readings, headline = study.main.readings("types"), study.main.plan.headline
    table = readings.layers(headline)
    figure, axes = _axes(max(6.5, 0.3 * len(table) + 2), 4.6)
    x = np.arange(len(table))
    axes.bar(
        x, table["median"], color="0.75", edgecolor="black", linewidth=0.5, label="ours",
        yerr=[table["median"] - table["5 %"], table["95 %"] - table["median"]],
        error_kw={"elinewidth": 0.8, "capsize": 2},
    )  # fmt: skip
    if has_published_calls(study):
        axes.plot(x, published.CALL_MEDIANS, "kD", markersize=4.5, markerfacecolor="white",
                  label="published (plot)")  # fmt: skip
    axes.axhline(1, color="black", linewidth=0.6)
    axes.set_xlim(-0.8, len(table) - 0.2)
    axes.set_xticks(x, table["call"], rotation=90, fontsize="small")
    axes.set_xlabel("call of a layer")
    axes.set_ylabel(f"EBPC ratio, against {headline.words.bits}-bit words")
    axes.set_title("Median over images (whiskers: 5 % and 95 %)", fontsize="medium")
    axes.legend()
    return figure


def images_per_layer(study: Study) -> Figure:
    """A box per call: quartiles over images, whiskers at 5 % and 95 %, extreme images as dots."""
    readings, headline = study.main.readings("types"), study.main.plan.headline
    ratios = map_ratios(readings.bits(headline), readings.counts.words, headline.words.bits)
    figure, axes = _axes(max(6.5, 0.3 * len(ratios) + 2), 4.6)
    axes.boxplot(
        list(ratios), whis=(PERCENTILES[0], PERCENTILES[-1]), widths=0.65,
        flierprops={"marker": ".", "markersize": 3},
        medianprops={"color": "black", "linewidth": 1.6},
    )  # fmt: skip
    axes.set_xticks(
        range(1, len(ratios) + 1), [call.name for call in readings.counts.calls],
        rotation=90, fontsize="small",
    )  # fmt: skip
    axes.set_xlabel("call of a layer")
    axes.set_ylabel(f"EBPC ratio, against {headline.words.bits}-bit words")
    axes.set_title(
        f"{readings.image_count} images; box: quartiles, whiskers: 5 % and 95 %", fontsize="medium"
    )
    return figure


def methods_by_type(study: Study) -> Figure:
    """Groups of bars: each type, each method; published figures as diamonds."""
    readings, plan = study.main.readings("types"), study.main.plan
    methods = ("ebpc", "bpc", "zvc", "zero_rle", "csc")
    # At 4 bits most words are zero; their ratios would leave no room for the others.
    types = [
        type
        for type in plan.types
        if plan.by_type(type) in readings.counts.bits and TYPES[type].bits > 4
    ]
    figure, axes = _axes(max(6.5, 0.95 * len(types) + 1.5), 4.4)
    _grouped_bars(
        axes,
        types,
        {METHOD_TITLES[m]: [readings.ratio(plan.by_type(t, m)) for t in types] for m in methods},
    )
    axes.axhline(1, color="black", linewidth=0.6)
    label: str | None = "published (plot)"
    for i, method in enumerate(methods) if study.main.network.name == "resnet34" else ():
        for type, ratio in published.BY_TYPE.get(method, {}).items():
            if type in types:
                axes.plot(
                    types.index(type) + (i - 2) * 0.17, ratio, "kD", markerfacecolor="white",
                    markersize=4.5, label=label,
                )  # fmt: skip
                label = None
    axes.set_xlabel("type of the words")
    axes.set_ylabel("ratio of sums, against words of the type")
    axes.legend(ncols=3, fontsize="small")
    axes.set_ylim(top=1.25 * axes.get_ylim()[1])
    return figure


def block_sizes(study: Study) -> Figure:
    """Lines over the block size, for each type with the base sent or re-used, and BPC alone."""
    readings, plan = study.main.readings("block size"), study.main.plan
    figure, axes = _axes(6.5, 4.4)
    extent = study.extent
    series = [
        (type, method, base)
        for type in extent.block_types
        for method, base in (("ebpc", "sent"), ("ebpc", "reused"), ("bpc", "sent"))
    ]
    for i, (type, method, base) in enumerate(series):
        name = f"{METHOD_TITLES[method]}, base {base}" if method == "ebpc" else "BPC alone"
        marker, _ = LINES[extent.block_types.index(type) % len(LINES)]
        variants = [plan.by_type(type, method, base=base, block_size=n) for n in extent.block_sizes]
        axes.plot(
            extent.block_sizes, [readings.ratio(each) for each in variants],
            color=("0.0", "0.35", "0.6")[i % 3], marker=marker, linestyle=LINES[i % 3][1],
            label=f"{type} {name}",
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_xticks(extent.block_sizes, [str(n) for n in extent.block_sizes])
    axes.set_xlabel("block size N (non-zero words)")
    axes.set_ylabel("ratio of sums, against words of the type")
    axes.grid(axis="y", linewidth=0.3)
    axes.legend(fontsize="x-small", ncols=2)
    return figure


def plane_shares(study: Study) -> dict[str, tuple[float, float | None]]:
    """Bit planes by symbol, in per cent of all: ours, and JETCAS 2019's (figure 3b)."""
    planes = study.statistics.coded.planes
    total = max(sum(planes.values()), 1)
    theirs = published.SYMBOL_PLANES
    all_theirs = published.SYMBOL_BLOCKS * (8 + 1)
    return {
        title: (
            100 * sum(planes[symbol] for symbol in symbols) / total,
            100 * theirs[known] / all_theirs if known else None,
        )
        for title, symbols, known in (
            ("uncompressed", ("uncompressed",), "uncompressed"),
            ("zero", ("single_zero", "zero_run"), "zero planes (in 1.2 million runs)"),
            ("single one", ("single_one",), "single one"),
            ("two adjacent ones", ("two_ones",), "two adjacent ones"),
            ("all ones", ("all_ones",), None),
            ("zero before XOR", ("plane_zero",), None),
        )
    }


def symbols(study: Study) -> Figure:
    """Bit planes by the symbol that codes them, ours beside JETCAS 2019's figure 3b."""
    shares = plane_shares(study)
    figure, axes = _axes(6.8, 4.0)
    _grouped_bars(
        axes,
        [title.replace(" ", "\n", 1) for title in shares],
        {
            "ours": [ours for ours, _ in shares.values()],
            published.JETCAS_FIGURE_3B: [theirs or 0.0 for _, theirs in shares.values()],
        },
    )
    axes.set_xlabel("symbol of the bit plane")
    axes.set_ylabel("share of all bit planes, %")
    axes.legend()
    return figure


def runs_and_deltas(study: Study) -> Figure:
    """Zero runs and bursts of non-zero words by length, and differences inside of blocks."""
    stats = study.statistics
    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    longest = len(stats.coded.bursts)
    for counts, name, style in (
        (stats.zero_runs[:longest], "zero words", "-"),
        (np.array(stats.coded.bursts), "non-zero words", "--"),
    ):
        share = 100 * counts / max(counts.sum(), 1)
        left.plot(range(1, longest + 1), share, color="black", linestyle=style, label=name)
    left.set_yscale("log")
    left.set_xlabel(f"length of a run, words ({longest}: non-zero words, or longer)")
    left.set_ylabel("share of runs, %")
    left.legend()
    deltas = np.array(stats.coded.delta_bits)
    right.bar(
        range(len(deltas)), 100 * deltas / max(deltas.sum(), 1), color="0.6", edgecolor="black",
        linewidth=0.5,
    )  # fmt: skip
    labels = ["0", "1", *(f"{1 << (i - 1)}–{(1 << i) - 1}" for i in range(2, len(deltas)))]
    right.set_xticks(range(len(deltas)), labels, rotation=45, ha="right")
    right.set_xlabel("magnitude of the difference of neighbours in a block")
    right.set_ylabel("share of differences, %")
    return figure


def bits_per_word(study: Study) -> Figure:
    """Rows and tiles, each coded alone: how many need at most so many bits per word."""
    stats = study.statistics
    figure, axes = _axes(6.5, 3.8)
    for histogram, name, style in (
        (stats.row_bits, "row of a map", "-"),
        (stats.tile_bits, f"tile of {TILE_WORDS} words", "--"),
    ):
        shown = histogram[: int(1.75 * stats.variant.words.bits / BIN)]
        axes.plot(
            BIN * np.arange(1, len(shown) + 1), 100 * shown.cumsum() / max(histogram.sum(), 1),
            color="black", linestyle=style, label=name,
        )  # fmt: skip
    axes.axvline(stats.variant.words.bits, color="0.5", linewidth=0.8, label="uncompressed")
    axes.set_xlabel("bits per word")
    axes.set_ylabel("share that needs no more, %")
    axes.legend()
    return figure


FIGURES: dict[str, Callable[[Study], Figure]] = {
    "layers": layers,
    "images-per-layer": images_per_layer,
    "methods-by-type": methods_by_type,
    "block-sizes": block_sizes,
    "symbols": symbols,
    "runs-and-deltas": runs_and_deltas,
    "bits-per-word": bits_per_word,
}


def has_published_calls(study: Study) -> bool:
    """Whether the calls are those of the published medians."""
    main = study.main
    return main.network.name == "resnet34" and len(main.counts.calls) == len(published.CALL_MEDIANS)


def draw(study: Study, folder: Path) -> None:
    """Writes every figure as PNG and SVG into a folder."""
    with matplotlib.rc_context({"hatch.linewidth": 0.5}):
        for name, make in FIGURES.items():
            figure = make(study)
            if study.main.network.warning:
                figure.suptitle(study.main.network.warning, fontsize="small", weight="bold")
            for suffix in ("png", "svg"):
                save_figure(figure, folder / f"{name}.{suffix}", suffix, dpi=150)
