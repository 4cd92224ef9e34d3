"""A study's plots: readable in black and white."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from evaluation.hardware.hardware_study import Study
from evaluation.hardware.layer_tables import LARGEST_ENCODER_BITS, PUBLISHED_WORDS_PER_CYCLE
from torch_ebpc import hardware

_GREYS = ("0.15", "0.55", "0.85", "1.0")


def registers(study: Study) -> Figure:
    """Register bits by unit, encoder and decoder."""
    w, n, r = study.options.code()
    figure = Figure(figsize=(8, 5), layout="constrained")
    for column, design in enumerate(("encoder", "decoder")):
        found = hardware.inventory(design, w, n, r)
        units = found.bits_by_unit()
        axes = figure.add_subplot(1, 2, column + 1)
        bars = axes.barh(
            list(units), list(units.values()), color=_GREYS[1], edgecolor="black", linewidth=0.6
        )
        axes.bar_label(bars, padding=3)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_xlabel("register bits")
        axes.set_title(f"{design}: {found.total_bits} bits in total")
    claim = f"; published claim: under {LARGEST_ENCODER_BITS} bits" if (w, n) == (8, 8) else ""
    figure.suptitle(f"Sequential cells, W = {w}, N = {n}, R = {r}{claim}")
    return figure


def _layer_figure(study: Study) -> tuple[Figure, Any, list[int]]:
    count = len(study.layers)
    figure = Figure(figsize=(max(6.0, 0.32 * count + 2), 4.8), layout="constrained")
    axes = figure.add_subplot()
    positions = list(range(count))
    axes.set_xticks(positions, list(study.layers), rotation=90)
    axes.set_xlabel("call of a layer")
    return figure, axes, positions


def words_per_cycle(study: Study, title: str) -> Figure:
    figure, axes, x = _layer_figure(study)
    layers = list(study.layers.values())
    width = study.options.design.memory.bits_per_cycle
    series = (
        ("encoder", "o-", [layer.cycles.encoder.words_per_cycle for layer in layers]),
        ("decoder", "x", [layer.cycles.decoder.words_per_cycle for layer in layers]),
        (
            f"encoder, memory port of {width} bits a cycle",
            "s--",
            [layer.cycles.encoder_memory.words_per_cycle for layer in layers],
        ),
        (
            "encoder, schedule of the published RTL",
            "^:",
            [layer.published_words_per_cycle for layer in layers],
        ),
    )
    for label, style, y in series:
        axes.plot(x, y, style, color="black", fillstyle="none", markersize=5, label=label)
    low, high = PUBLISHED_WORDS_PER_CYCLE
    axes.axhspan(low, high, color="0.92", label=f"published: {low} to {high:g}")
    axes.set_ylim(top=1.02)
    axes.set_ylabel("uncompressed words per clock cycle")
    axes.set_title(title, fontsize="medium", wrap=True)
    axes.legend(fontsize="small")
    return figure


def traffic(study: Study, title: str) -> Figure:
    figure, axes, x = _layer_figure(study)
    layers = list(study.layers.values())

    def kilobytes(num_bytes: int) -> float:
        return num_bytes / study.images / 1000

    axes.bar(
        [at - 0.2 for at in x],
        [kilobytes(layer.traffic.before_bytes) for layer in layers],
        0.4, color=_GREYS[2], edgecolor="black", linewidth=0.5, label="uncompressed",
    )  # fmt: skip
    found = [layer.traffic for layer in layers]
    parts = {
        "streams": [each.stream_bytes for each in found],
        "padding to bursts": [each.padded_bytes - each.stream_bytes for each in found],
        "address table": [each.table_bytes for each in found],
    }
    bottom = [0.0] * len(layers)
    looks = ((_GREYS[0], ""), (_GREYS[3], "///"), (_GREYS[1], "xxx"))
    for (label, values), (color, hatch) in zip(parts.items(), looks, strict=True):
        heights = [kilobytes(value) for value in values]
        axes.bar(
            [at + 0.2 for at in x], heights, 0.4, bottom, color=color, hatch=hatch,
            edgecolor="black", linewidth=0.5, label=f"compressed: {label}",
        )  # fmt: skip
        bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
    i = study.options.interface
    axes.set_ylabel("kB (1000 bytes) of an image's map")
    axes.set_title(
        f"{title}; tiles of {i.buffer_bytes} bytes, bursts of {i.burst_bytes} bytes",
        fontsize="medium",
        wrap=True,
    )
    axes.legend(fontsize="small")
    return figure
