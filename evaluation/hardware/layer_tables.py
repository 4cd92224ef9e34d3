"""A study's results as tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from evaluation.common.tables import Table
from evaluation.hardware import traffic
from evaluation.hardware.cycles import Tally
from evaluation.hardware.energy import MEMORIES
from evaluation.hardware.hardware_study import Layer, Study
from evaluation.hardware.wide import ADDRESS_BITS
from torch_ebpc import hardware
from torch_ebpc._hardware_registers import growth_law, growth_table

LARGEST_ENCODER_BITS = 300  # claimed for W = 8, N = 8 in the abstract of arXiv 1810.03979
PUBLISHED_WORDS_PER_CYCLE = (0.8, 1.0)  # arXiv 1908.11645, table II


def all_tables(study: Study) -> list[Table]:
    return [
        *inventories(study),
        growth(study),
        words_per_cycle(study),
        *stalls(study),
        stalls_by_layer(study),
        widths(study),
        lanes(study),
        bursts(study),
        interface(study),
        energy_and_bandwidth(study),
        tiles(study),
        chunks(study),
        energies(study),
    ]


# ---- Registers -----------------------------------------------------------------------------------


def inventories(study: Study) -> list[Table]:
    w, n, r = study.options.code()
    tables = []
    for design in ("encoder", "decoder"):
        found = hardware.inventory(design, w, n, r)
        units = found.bits_by_unit()
        rows = []
        for group in found.groups:
            bits_of_unit = units.pop(group.unit, None)
            rows.append(
                [
                    group.unit if bits_of_unit is not None else "",
                    group.name,
                    str(group.count),
                    str(group.bits),
                    str(group.total_bits),
                    "" if bits_of_unit is None else str(bits_of_unit),
                ]
            )
        rows.append(["total", "", "", "", str(found.total_bits), str(found.total_bits)])
        headers = ["unit", "register", "registers", "bits of each", "bits", "bits of the unit"]
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
    rows = [
        [str(value) for value in dataclasses.astuple(row)] for row in growth_table(max_zero_run=r)
    ]
    headers = ["W", "N", "encoder bits", "decoder bits"]
    law = growth_law()
    return Table(f"Register bits by W and N, R = {r}", headers, rows, law, note_is_code=True)


# ---- Cycles --------------------------------------------------------------------------------------


def _by_layer(study: Study, cells: Callable[[Layer], list[str]]) -> list[list[str]]:
    return [cells(layer) for layer in [*study.layers.values(), study.total()]]


def words_per_cycle(study: Study) -> Table:
    memory = study.options.design.memory

    def cells(layer: Layer) -> list[str]:
        c = layer.cycles
        tallies = (c.encoder, c.decoder, c.encoder_memory, c.decoder_memory)
        row = [layer.name, "x".join(map(str, c.shape)), f"{100 * c.zero_share:.1f}"]
        row += [f"{tally.words_per_cycle:.4f}" for tally in tallies]
        row += [f"{depth:,}" for depth in c.encoder_unbounded.fifo_high_water]
        return [*row, f"{layer.published_words_per_cycle:.4f}"]

    headers = ["layer", "shape", "zeros %", "encoder", "decoder", "encoder, port"]
    headers += ["decoder, port", "zero FIFO", "plane FIFO", "published schedule"]
    total = study.total()
    error = total.scheduled_cycles / total.cycles.encoder.cycles - 1
    low, high = PUBLISHED_WORDS_PER_CYCLE
    note = (
        f"Uncompressed words per clock cycle; 'port' is behind a memory port of"
        f" {memory.bits_per_cycle} bits a cycle, bursts of {memory.burst_bytes} bytes, FIFOs of"
        f" {memory.fifo_words} words. 'zero FIFO' and 'plane FIFO' are the depths in words that"
        f" would never stall the encoder at that port.\n\n"
        f"Published: {low} to {high:g} (JETCAS 2019, table II; W = 8, N = 8). The difference is the"
        f" symbol coder: the published RTL's visits every bit plane, W + 2 cycles a block of N"
        f" non-zero words and one more for each run of zero planes in front of"
        f" another plane; ours writes a whole run in one cycle, 2 to W + 2 cycles a block. The last"
        f" column is the published schedule on these maps, by a recurrence that gives our own"
        f" schedule's cycles with an error of {100 * error:+.3f} %. Blocks of dense maps fill"
        f" faster than W + 2 cycles; sparse maps hide both schedules behind the zeros."
    )
    return Table("Words per cycle", headers, _by_layer(study, cells), note)


_RUNS = {
    "encoder": "encoder, no back-pressure",
    "encoder_memory": "encoder, port",
    "decoder": "decoder, no back-pressure",
    "decoder_memory": "decoder, port",
}


def stalls(study: Study) -> list[Table]:
    tables = []
    tallies = study.total().cycles.tallies()
    for design, causes in (
        ("encoder", hardware.ENCODER_STALLS),
        ("decoder", hardware.DECODER_STALLS),
    ):
        rows = []
        for key in (design, f"{design}_memory"):
            tally = tallies[key][0]
            row = [_RUNS[key], f"{tally.cycles:,}", f"{tally.words:,}"]
            rows.append(row + [f"{tally.stalls[cause]:,}" for cause in causes])
        headers = ["run", "cycles", "words", *(cause.replace("_", " ") for cause in causes)]
        note = (
            "Cycles in which no uncompressed word moved, by cause; with the words they sum to all."
        )
        tables.append(Table(f"Stall causes of the {design}", headers, rows, note))
    return tables


_SHOWN_STALLS = {
    "encoder_memory": ("zero_packer", "symbol_coder", "plane_packer"),
    "decoder_memory": ("zero_unpacker", "symbol_decoder", "plane_unpacker"),
}


def stalls_by_layer(study: Study) -> Table:
    def cells(layer: Layer) -> list[str]:
        tallies = layer.cycles.tallies()
        row = [layer.name]
        for key, causes in _SHOWN_STALLS.items():
            tally = tallies[key][0]
            row += [f"{100 * tally.stalls[cause] / tally.cycles:.1f}" for cause in causes]
        return row

    causes = [cause.replace("_", " ") for shown in _SHOWN_STALLS.values() for cause in shown]
    note = (
        "Per cent of a layer's cycles behind the port; all causes, with and without the port, are"
        " in layers.csv."
    )
    return Table("Stalls by layer", ["layer", *causes], _by_layer(study, cells), note)


def widths(study: Study) -> Table:
    rows = []
    for row in study.widths:
        figures = [f"{row.encoder.words_per_cycle:.4f}", f"{row.decoder.words_per_cycle:.4f}"]
        rows.append([f"{row.bits_per_cycle}", *figures, *(f"{depth:,}" for depth in row.depth)])
    headers = ["bits a cycle", "encoder", "decoder", "zero FIFO", "plane FIFO"]
    memory = study.options.design.memory
    note = (
        f"All layers of one image: words per cycle with FIFOs of {memory.fifo_words} words, and the"
        f" FIFO depths in words that would never stall the encoder. Bursts of {memory.burst_bytes}"
        " bytes. A port slower than a layer's streams needs a FIFO as long as the layer."
    )
    return Table("Memory width", headers, rows, note)


def lanes(study: Study) -> Table:
    rows = []
    for row in study.lanes:
        figures = [row.words / each for each in (row.map_cycles, row.tile_cycles)]
        cells = [f"{row.lanes}", f"{row.wide_bits:,}", *(f"{each:.3f}" for each in figures)]
        rows.append([*cells, f"{row.narrow_bits:,}", f"{row.words / row.narrow_cycles:.3f}"])
    headers = ["words a cycle at most", "one wide: bits", "maps", "tiles"]
    headers += ["narrow ones: bits", "a tile each"]
    note = (
        "All layers of one image, without back-pressure: words per cycle of one encoder that takes"
        " so many words of one transmission, each map or each tile a transmission, and of so many"
        " encoders of one word, which take the tiles in turn. Register bits of each, without logic."
        " Every transmission is counted until its last beat has left."
    )
    return Table("Several words a cycle", headers, rows, note)


_BINS = ((1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 32), (33, 63), (64, 64))


def bursts(study: Study) -> Table:
    cycles = study.total().cycles
    columns: list[tuple[str, Tally, int]] = []
    for name, tally in (
        ("encoder", cycles.encoder),
        ("encoder, port", cycles.encoder_memory),
        ("decoder", cycles.decoder),
        ("decoder, port", cycles.decoder_memory),
    ):
        columns += [(f"{name}, zero", tally, 0), (f"{name}, plane", tally, 1)]
    rows = []
    for low, high in _BINS:
        label = f"{low}" if low == high else f"{low} to {high}"
        if low == hardware.LONGEST_BURST:
            label = f"{low} and more"
        counts = [sum(tally.bursts[i][low : high + 1]) for _, tally, i in columns]
        rows.append([label, *(f"{count:,}" for count in counts)])
    headers = ["cycles", *(name for name, _, _ in columns)]
    note = "Bursts of consecutive cycles in which a stream's word moved between design and FIFO."
    return Table("Burst histogram", headers, rows, note)


# ---- Memory interface ----------------------------------------------------------------------------


def interface(study: Study) -> Table:
    def cells(layer: Layer) -> list[str]:
        t = layer.traffic
        values = (t.before_bytes, t.stream_bytes, t.padded_bytes, t.table_bytes, t.after_bytes)
        row = [layer.name, f"{t.tiles:,}", *(f"{value:,}" for value in values)]
        return [*row, f"{t.stream_ratio:.2f}", f"{t.ratio:.2f}", f"{t.grown_tiles:,}"]

    headers = ["layer", "tiles", "uncompressed", "streams", "padded", "table", "moved"]
    headers += ["ratio of streams", "ratio of traffic", "tiles grown"]
    i = study.options.interface
    note = (
        f"Bytes of {study.images} image(s) written; each is read {i.reads} time(s), the same bytes."
        f" A tile is what fits uncompressed into {i.buffer_bytes:,} bytes of on-chip buffer: rows"
        f" of a channel, or whole channels. Each is a transmission of its own, and each of its two"
        f" streams starts at a burst boundary ({i.burst_bytes} bytes). The address table has"
        f" {i.entry_bytes} bytes for each tile. The uncompressed map is contiguous, padded once."
    )
    return Table("Memory interface", headers, _by_layer(study, cells), note)


def energy_and_bandwidth(study: Study) -> Table:
    memory = MEMORIES[study.options.memory]
    clock = study.options.clock_hz
    moves = 1 + study.options.interface.reads

    def cells(layer: Layer) -> list[str]:
        t = layer.traffic
        cycles = layer.cycles.encoder.cycles
        before, after = t.before_bytes, t.after_bytes
        energies = [memory.microjoule(moves * each) / study.images for each in (before, after)]
        rates = [traffic.megabytes_per_second(each, cycles, clock) for each in (before, after)]
        row = [layer.name, *(f"{each:.1f}" for each in energies)]
        return [*row, f"{100 * (1 - after / before):.1f}", *(f"{each:.0f}" for each in rates)]

    headers = ["layer", "before uJ", "after uJ", "saved %", "before MB/s", "after MB/s"]
    note = (
        f"Energy of writing once and reading {moves - 1} time(s) for one image at"
        f" {memory.pj_per_bit:.4g} pJ/bit ({memory.name}: {memory.source}); the codec's own is not"
        f" included. Bandwidth (10^6 bytes a second) is the mean while the encoder runs without"
        f" back-pressure at {clock / 1e6:g} MHz."
    )
    return Table("Energy and bandwidth", headers, _by_layer(study, cells), note)


def tiles(study: Study) -> Table:
    bursts = sorted({burst for _, burst in study.tiles})
    rows = []
    for buffer in sorted({buffer for buffer, _ in study.tiles}):
        found = [study.tiles[buffer, burst] for burst in bursts]
        row = [f"{buffer:,}", f"{found[0].tiles:,}", f"{found[0].stream_ratio:.3f}"]
        rows.append(row + [f"{each.ratio:.3f}" for each in found])
    headers = ["buffer bytes", "tiles", "ratio of streams"]
    headers += [f"traffic, {burst}-byte bursts" for burst in bursts]
    note = (
        "Uncompressed / compressed bytes of one image. Two streams of a tile waste about a burst"
        " together, so small tiles lose to padding what the code gains."
    )
    return Table("What small transmissions cost", headers, rows, note)


def chunks(study: Study) -> Table:
    word_bits = study.options.design.word_bits
    rows = []
    for row in study.chunks:
        addresses = row.chunk_words > 0
        ratios = [row.ratio(), row.ratio(fallback=True)]
        ratios.append(row.ratio(fallback=True, addresses=addresses))
        cells = [f"{row.chunk_words:,}" if row.chunk_words else "a map", f"{row.chunks:,}"]
        cells += [f"{each:.3f}" for each in ratios] + [f"{100 * row.raw_chunks / row.chunks:.1f}"]
        rows.append([*cells, f"{row.chunk_words * word_bits:,}" if row.chunk_words else ""])
    headers = ["words of a chunk", "chunks", "ratio of streams", "raw fallback"]
    headers += ["and addresses", "chunks raw %", "fallback's buffer, bits"]
    blocks = study.raw_blocks
    note = (
        "One image, every chunk a transmission that can be decoded by itself, its two streams in"
        " whole words one after the other. 'raw fallback' stores a chunk as it is where that is"
        " smaller, with a flag of one bit; an encoder knows only at the chunk's end, so it keeps"
        f" the chunk until then. 'and addresses' has {ADDRESS_BITS} bits more for each chunk."
    )
    if blocks is not None:
        note += (
            f" A fallback within the plane stream, a flag and, if shorter, the words of each block"
            f" of {blocks.chunk_words} as they are, takes the maps' ratio from"
            f" {blocks.ratio():.3f} to {blocks.ratio(fallback=True):.3f}:"
            f" {100 * blocks.raw_chunks / max(blocks.chunks, 1):.1f} % of the blocks are raw."
        )
    return Table("Random access and raw fallback", headers, rows, note)


def energies(study: Study) -> Table:
    total = study.total().traffic
    moves = (1 + study.options.interface.reads) / study.images
    rows = []
    for memory in MEMORIES.values():
        values = [memory.microjoule(moves * b) for b in (total.before_bytes, total.after_bytes)]
        row = [memory.name, f"{memory.pj_per_bit:.4g}", *(f"{value:.1f}" for value in values)]
        rows.append([*row, f"{values[0] - values[1]:.1f}", memory.source])
    headers = ["memory", "pJ/bit", "before uJ", "after uJ", "saved uJ", "source"]
    note = "All layers of one image, written once and read as above."
    return Table("Energy by memory", headers, rows, note)
