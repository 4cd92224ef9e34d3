"""A study's results as tables and pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from evaluation.common.tables import Part, Picture, Section, Table
from evaluation.hardware import wide
from evaluation.hardware.cycles import RUNS
from evaluation.hardware.energy import MEMORIES
from evaluation.hardware.hardware_study import Study
from torch_ebpc import hardware
from torch_ebpc._hardware_registers import growth_table

LARGEST_ENCODER_BITS = 300  # claimed for W = 8, N = 8 in the abstract of arXiv 1810.03979
PUBLISHED_WORDS_PER_CYCLE = (0.8, 1.0)  # arXiv 1908.11645, table II


def sections_of(study: Study) -> list[Section]:
    speed = Picture("words_per_cycle", "Words per clock cycle.")
    moved = Picture("traffic", "Bytes of each map, before and after.")
    cycles: list[Part] = [*_stalls(study), *_lanes(study)]
    small: list[Part] = [*_tiles(study), *_chunks(study)]
    return [
        Section("Registers", [*inventories(study), growth(study)]),
        Section("Cycles", [*_words_per_cycle(study), speed, *cycles]),
        Section("Memory interface", [*_interface(study), moved, *_energy(study), *small]),
    ]


def inventories(study: Study) -> list[Table]:
    w, n, r = study.options.design.code
    tables = []
    for design in ("encoder", "decoder"):
        found = hardware.inventory(design, w, n, r)
        rows = [[x.unit, x.name, x.count, x.bits, x.total_bits] for x in found.groups]
        rows.append(["total", "", None, None, found.total_bits])
        headers = ["unit", "register", "registers", "bits of each", "bits"]
        tables.append(Table(f"Registers of the {design}, W = {w}, N = {n}, R = {r}", headers, rows))
    return tables


def check_inventory() -> None:
    """The claim of the papers, counted.

    Raises:
        AssertionError: the encoder at W = 8, N = 8 takes 300 bits or more.
    """
    bits = hardware.inventory("encoder", 8, 8).total_bits
    if bits >= LARGEST_ENCODER_BITS:
        raise AssertionError(f"the encoder takes {bits} bits, {LARGEST_ENCODER_BITS} are claimed")


def growth(study: Study) -> Table:
    r = study.options.design.max_zero_run
    rows = [list(vars(row).values()) for row in growth_table(max_zero_run=r)]
    headers = ["W", "N", "encoder bits", "decoder bits"]
    return Table(f"Register bits by W and N, R = {r}", headers, rows)


def _by_layer(study: Study, caption: str, columns: dict[str, tuple[Any, str]]) -> Table:
    """A table of every layer and the total.

    Args:
        columns: by header, a column of the study's records or a function of them, and the format.
    """
    total: pd.Series = study.total
    rows = []
    for name, record in [*study.layers.iterrows(), ("total", total)]:
        values = [(x(record) if callable(x) else record[x], form) for x, form in columns.values()]
        rows.append([name, *(format(value, form) for value, form in values)])
    return Table(caption, ["layer", *columns], rows)


def _words_per_cycle(study: Study) -> tuple[Table, str]:
    memory, total = study.options.design.memory, study.total
    table = _by_layer(
        study,
        "Words per cycle",
        {
            "shape": ("shape", ""),
            "zeros %": (lambda record: 100 * record["zeros"] / record["words"], ".1f"),
            "encoder": ("encoder_words_per_cycle", ".4f"),
            "decoder": ("decoder_words_per_cycle", ".4f"),
            "encoder, port": ("encoder_memory_words_per_cycle", ".4f"),
            "decoder, port": ("decoder_memory_words_per_cycle", ".4f"),
            "zero FIFO": ("encoder_unbounded_zero_fifo_high_water", ","),
            "plane FIFO": ("encoder_unbounded_plane_fifo_high_water", ","),
            "published schedule": ("published_words_per_cycle", ".4f"),
        },
    )
    error = total["scheduled_cycles"] / total["encoder_cycles"] - 1
    low, high = PUBLISHED_WORDS_PER_CYCLE
    return table, (
        "Uncompressed words per clock cycle; 'port' is with a memory port of"
        f" {memory.bits_per_cycle} bits a cycle, bursts of {memory.burst_bytes} bytes, FIFOs of"
        f" {memory.fifo_words} words. 'zero FIFO' and 'plane FIFO' are the depths in words that"
        f" would never stall the encoder at that port. Published: {low} to {high:g} (JETCAS 2019,"
        " table II; W = 8, N = 8). The last column is the schedule of the published RTL on these"
        " maps, whose symbol coder visits every bit plane where ours writes a run of zero planes in"
        " one cycle; by a recurrence that gives our own schedule's cycles with an error of"
        f" {100 * error:+.3f} %."
    )


def _stalls(study: Study) -> list[Part]:
    total = study.total
    tables: list[Part] = []
    for design, causes in (
        ("encoder", hardware.ENCODER_STALLS),
        ("decoder", hardware.DECODER_STALLS),
    ):
        rows = [
            [RUNS[run], int(total[f"{run}_cycles"]), int(total["words"])]
            + [int(total[f"{run}_stall_{cause}"]) for cause in causes]
            for run in (design, f"{design}_memory")
        ]
        headers = ["run", "cycles", "words", *(cause.replace("_", " ") for cause in causes)]
        tables.append(Table(f"Stall causes of the {design}", headers, rows))
    note = "Cycles in which no uncompressed word moved, by cause; with the words they sum to all."
    return [*tables, f"{note} Those of each layer are in report.json."]


def _lanes(study: Study) -> tuple[Table, str]:
    rows = []
    for row in study.lanes.itertuples():
        maps, tiles = row.words / row.map_cycles, row.words / row.tile_cycles
        narrow = row.words / row.narrow_cycles
        rows.append([row.lanes, row.wide_bits, maps, tiles, row.narrow_bits, narrow])
    headers = ["words a cycle at most", "one wide: bits", "maps", "tiles"]
    headers += ["narrow ones: bits", "a tile each"]
    return Table("Several words a cycle", headers, rows, digits=3), (
        "All layers of one image, without back-pressure: words per cycle of one encoder that takes"
        " so many words of one transmission, each map or each tile a transmission, and of so many"
        " encoders of one word, which take the tiles in turn. Register bits of each, without logic."
        " Every transmission is counted until its last beat has left."
    )


def _interface(study: Study) -> tuple[Table, str]:
    table = _by_layer(
        study,
        "Memory interface",
        {
            "tiles": ("tiles", ","),
            "uncompressed": ("before_bytes", ","),
            "streams": ("stream_bytes", ","),
            "padded": ("padded_bytes", ","),
            "table": ("table_bytes", ","),
            "moved": ("after_bytes", ","),
            "ratio of streams": ("stream_ratio", ".2f"),
            "ratio of traffic": ("traffic_ratio", ".2f"),
            "tiles grown": ("grown_tiles", ","),
        },
    )
    i = study.options.interface
    return table, (
        f"Bytes of {study.images} image(s) written; each is read {i.reads} time(s), the same bytes."
        f" A tile is what fits uncompressed into {i.buffer_bytes:,} bytes of on-chip buffer: rows"
        f" of a channel, or whole channels. Each is a transmission of its own, and each of its two"
        f" streams starts at a burst boundary ({i.burst_bytes} bytes). The address table has"
        f" {i.entry_bytes} bytes for each tile. The uncompressed map is contiguous, padded once."
    )


def _energy(study: Study) -> tuple[Table, str]:
    memory, clock = MEMORIES[study.options.memory], study.options.clock_hz
    moves = 1 + study.options.interface.reads

    def energy(column: str) -> Callable[[Any], float]:
        return lambda record: memory.microjoule(moves * record[column]) / study.images

    def rate(column: str) -> Callable[[Any], float]:
        return lambda record: record[column] / record["encoder_cycles"] * clock * 1e-6

    table = _by_layer(
        study,
        "Energy and bandwidth",
        {
            "before uJ": (energy("before_bytes"), ".1f"),
            "after uJ": (energy("after_bytes"), ".1f"),
            "saved %": (lambda record: 100 * (1 - 1 / record["traffic_ratio"]), ".1f"),
            "before MB/s": (rate("before_bytes"), ".0f"),
            "after MB/s": (rate("after_bytes"), ".0f"),
        },
    )
    return table, (
        f"Energy of writing once and reading {moves - 1} time(s) for one image at"
        f" {memory.pj_per_bit:.4g} pJ/bit ({memory.name}: {memory.source}); the codec's own is not"
        f" included. Bandwidth (10^6 bytes a second) is the mean while the encoder runs without"
        f" back-pressure at {clock / 1e6:g} MHz."
    )


def _tiles(study: Study) -> tuple[Table, str]:
    ratios = study.tiles["traffic_ratio"].unstack()
    others = study.tiles.groupby("buffer_bytes").first()
    rows = [
        [buffer, int(others["tiles"][buffer]), float(others["stream_ratio"][buffer]), *row.tolist()]
        for buffer, row in ratios.iterrows()
    ]
    headers = ["buffer bytes", "tiles", "ratio of streams"]
    headers += [f"traffic, {burst}-byte bursts" for burst in ratios.columns]
    return Table("What small transmissions cost", headers, rows, digits=3), (
        "Uncompressed / compressed bytes of one image. Two streams of a tile waste about a burst"
        " together, so small tiles lose to padding what the code gains."
    )


def _chunks(study: Study) -> tuple[Table, str]:
    rows, ratio = [], wide.ratio
    for _, row in study.chunks.iterrows():
        words, chunks = int(row["chunk_words"]), int(row["chunks"])
        ratios = [ratio(row), ratio(row, fallback=True)]
        ratios.append(ratio(row, fallback=True, addresses=words > 0))
        raw = f"{100 * row['raw_chunks'] / chunks:.1f}"
        buffer = words * study.options.design.word_bits or None
        rows.append([words or "a map", chunks, *ratios, raw, buffer])
    headers = ["words of a chunk", "chunks", "ratio of streams", "raw fallback"]
    headers += ["and addresses", "chunks raw %", "fallback's buffer, bits"]
    blocks = study.raw_blocks
    note = (
        "One image, every chunk a transmission that can be decoded by itself, its two streams in"
        " whole words one after the other. 'raw fallback' stores a chunk as it is where that is"
        " smaller, with a flag of one bit; an encoder knows only at the chunk's end, so it keeps"
        f" the chunk until then. 'and addresses' has {wide.ADDRESS_BITS} bits more for each chunk."
        " A fallback within the plane stream, a flag and, if shorter, the words of each block of"
        f" {study.options.design.block_size} as they are, takes the maps' ratio from"
        f" {ratio(blocks):.3f} to {ratio(blocks, fallback=True):.3f}:"
        f" {100 * blocks['raw_chunks'] / max(blocks['chunks'], 1):.1f} % of the blocks are raw."
    )
    return Table("Random access and raw fallback", headers, rows, digits=3), note


# ---- Pictures ------------------------------------------------------------------------------------


def plot_words_per_cycle(study: Study, axes: Axes) -> None:
    port = f"memory port of {study.options.design.memory.bits_per_cycle} bits a cycle"
    series = {
        "encoder": "encoder",
        "decoder": "decoder",
        "encoder_memory": f"encoder, {port}",
        "published": "encoder, schedule of the published RTL",
    }
    table = study.layers[[f"{run}_words_per_cycle" for run in series]]
    table.set_axis(series.values(), axis=1).plot(
        ax=axes, style=["o-", "x", "s--", "^:"], color="black", fillstyle="none", markersize=5
    )
    low, high = PUBLISHED_WORDS_PER_CYCLE
    axes.axhspan(low, high, color="0.92", label=f"published: {low} to {high:g}")
    axes.set_ylim(top=1.02)
    axes.set_ylabel("uncompressed words per clock cycle")


def plot_traffic(study: Study, axes: Axes) -> None:
    table = study.layers.filter(like="bytes") / (1000 * study.images)
    parts = pd.DataFrame(
        {
            "compressed: streams": table["stream_bytes"],
            "compressed: padding to bursts": table["padded_bytes"] - table["stream_bytes"],
            "compressed: address table": table["table_bytes"],
        }
    )
    look = {"ax": axes, "width": 0.4, "edgecolor": "black", "linewidth": 0.5}
    table["before_bytes"].plot.bar(position=1, color="0.85", label="uncompressed", **look)
    parts.plot.bar(stacked=True, position=0, color=["0.15", "1.0", "0.55"], **look)
    for bars, hatch in zip(axes.containers[-2:], ("///", "xxx"), strict=True):
        for bar in bars:
            bar.set_hatch(hatch)
    axes.set_xlim(-0.7, len(table) - 0.3)
    axes.set_ylabel("kB (1000 bytes) of an image's map")


PICTURES = {"words_per_cycle": plot_words_per_cycle, "traffic": plot_traffic}
