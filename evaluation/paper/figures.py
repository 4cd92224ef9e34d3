"""The report's pictures: readable in black and white, the same bytes for the same figures."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.paper import published
from evaluation.paper.paper_study import Study
from evaluation.paper.sections import by_last_word, by_type, calls_table, ratios
from evaluation.paper.variants import TYPES
from torch_ebpc.report import METHOD_TITLES, save_figure


def layers(study: Study, axes: Axes) -> None:
    """Bars of each call's median ratio, the published medians over them."""
    table = calls_table(study)
    spread = [table["median"] - table["5 %"], table["95 %"] - table["median"]]
    table.plot.bar(
        "call", "median", yerr=spread, ax=axes, color="0.75", edgecolor="black", linewidth=0.5,
        label="ours", error_kw={"elinewidth": 0.8, "capsize": 2},
    )  # fmt: skip
    if "published median" in table:
        medians = table["published median"]
        axes.plot(medians, "kD", markerfacecolor="white", label="published (plot)")
    axes.set_title("Median over images (whiskers: 5 % and 95 %)", fontsize="medium")
    axes.set_xlabel("call of a layer")
    axes.legend()


def methods_by_type(study: Study, axes: Axes) -> None:
    """Groups of bars: each type, each method; published figures as diamonds."""
    table = ratios(study.main, "types", by_type).drop("none")
    # At 4 bits most words are zero; their ratios would leave no room for the others.
    table = table[[type for type in table if TYPES[type].bits > 4]]
    table.rename(METHOD_TITLES).T.plot.bar(
        ax=axes, width=0.85, rot=0, edgecolor="black", linewidth=0.5,
        color=["0.15", "0.45", "0.65", "0.8", "0.92"],
    )  # fmt: skip
    for bars, hatch in zip(axes.containers, ("", "///", "...", "xx", "--"), strict=True):
        for bar in bars:
            bar.set_hatch(hatch)
    if study.main.network.name == "resnet34":
        for bars, method in zip(axes.containers, table.index, strict=True):
            known = published.BY_TYPE.get(method, {})
            at = [bar.get_x() + bar.get_width() / 2 for bar in bars]
            theirs = [known.get(type, np.nan) for type in table]
            axes.plot(at, theirs, "kD", markerfacecolor="white")
    axes.set_xlabel("type of the words (diamonds: published)")
    axes.legend(ncols=3, fontsize="small")
    axes.set_ylim(top=1.25 * axes.get_ylim()[1])


def block_sizes(study: Study, axes: Axes) -> None:
    """Lines over the block size, for each type with the base sent or re-used, and BPC alone."""
    table = ratios(study.main, "block size", by_last_word).T
    styles = map("".join, itertools.product("os^Dvx", ("-", "--", ":")))
    table.plot(ax=axes, style=list(itertools.islice(styles, table.shape[1])), color="black")
    axes.set_xticks(range(len(table)), table.index)
    axes.set_xlabel("block size N (non-zero words)")
    axes.grid(axis="y", linewidth=0.3)
    axes.legend(fontsize="x-small", ncols=2)


FIGURES: dict[str, Callable[[Study, Axes], None]] = {
    "layers": layers,
    "methods-by-type": methods_by_type,
    "block-sizes": block_sizes,
}


def draw(study: Study, folder: Path) -> None:
    """Writes every figure as SVG into a folder."""
    with matplotlib.rc_context({"hatch.linewidth": 0.5, "lines.markersize": 4.5}):
        for name, plot in FIGURES.items():
            wide = 0.3 * len(study.main.counts.calls) + 2 if plot is layers else 9
            figure = Figure(figsize=(max(6.5, wide), 4.5), layout="constrained")
            axes = figure.add_subplot()
            plot(study, axes)
            axes.set_ylabel("ratio against words of the type")
            if study.main.network.warning:
                figure.suptitle(study.main.network.warning, fontsize="small", weight="bold")
            save_figure(figure, folder / f"{name}.svg", "svg")
