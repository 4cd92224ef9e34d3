"""The report's sections: tables of ratios beside the published ones, every call, symbols, and where
it all comes from. Those on the claims are in :mod:`evaluation.paper.claims`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from scipy import stats

from evaluation.common.tables import Cell, Picture, Section, Table, provenance_section
from evaluation.paper import published
from evaluation.paper.claims import claims_section
from evaluation.paper.counts import DEFINITIONS
from evaluation.paper.paper_study import MAPS, Measured, Study
from evaluation.paper.presets import PRESETS
from torch_ebpc.report import METHOD_TITLES

Split = Callable[[str], tuple[str, str]]  # of a variant's label in its group: row and column


def by_type(label: str) -> tuple[str, str]:
    type, method = label.split(" ", 1)
    return method, type


def by_last_word(label: str) -> tuple[str, str]:
    row, column = label.rsplit(" ", 1)
    return row, column


def by_code(label: str) -> tuple[str, str]:
    words, code = label.split("; ")
    return code, words


def ratios(measured: Measured, group: str, split: Split) -> pd.DataFrame:
    """The ratio of sums of every variant of a group."""
    readings, cells = measured.readings(group), dict[str, dict[str, float]]()
    for label, variant in measured.group(group).items():
        row, column = split(label)
        cells.setdefault(row, {})[column] = readings.ratio(variant)
    return pd.DataFrame.from_dict(cells, orient="index")


def ratio_table(
    measured: Measured,
    group: str,
    split: Split,
    caption: str,
    known: Mapping[str, Mapping[str, float]] | None = None,
    digits: int = 2,
) -> Table:
    """Ratios of sums, with the published figure next to each of ours where there is one."""
    frame, rows = ratios(measured, group, split), []
    for name, values in frame.iterrows():
        row: list[Cell] = [METHOD_TITLES.get(str(name), name)]
        for column, value in values.items():
            theirs = (known or {}).get(str(name), {}).get(str(column))
            beside = "" if theirs is None else f" [{theirs:.2f}]"
            row.append(None if pd.isna(value) else f"{value:.{digits}f}{beside}")
        rows.append(row)
    caption = f"{caption} Ratio of sums, {measured.readings(group).image_count} images"
    caption += f"; in brackets: {published.PLOT}." if known else "."
    return Table(caption.strip(), ["", *map(str, frame.columns)], rows)


def averages_table(
    measured: Measured, group: str, caption: str, known: Mapping[str, float] | None = None
) -> Table:
    """Every average of each variant of a group."""
    readings = measured.readings(group)
    rows: list[list[Cell]] = [
        [label, *readings.averages(variant).values()]
        for label, variant in measured.group(group).items()
    ]
    if known:
        rows.append(["released data, fixed8 ebpc", *(known.get(name) for name in DEFINITIONS)])
    caption = f"{caption} {readings.image_count} images, against words of the type."
    return Table(caption, ["", *DEFINITIONS], rows)


def _known(measured: Measured) -> Mapping[str, Mapping[str, float]] | None:
    """What is published of these tensors, by method and type."""
    name = measured.network.name
    if name in published.NETWORKS and measured.what == MAPS:
        return {"ebpc": {"fixed8": published.NETWORKS[name]}}
    if name != "resnet34":
        return None
    return {
        MAPS: published.BY_TYPE,
        "of the outputs": published.GRADIENTS,
        "of the inputs": published.GRADIENTS,
    }.get(measured.what)


def has_published_calls(study: Study) -> bool:
    """Whether the calls are those of the published medians."""
    main = study.main
    return main.network.name == "resnet34" and len(main.counts.calls) == len(published.CALL_MEDIANS)


def calls_table(study: Study) -> pd.DataFrame:
    """Each call's ratio, its percentiles over images, and the published median, if there is one."""
    table = study.main.readings("types").layers(study.main.plan.headline)
    if has_published_calls(study):
        table["published median"] = published.CALL_MEDIANS
    return table


def call_agreement(study: Study) -> str:
    """How far our calls follow the published ones; nothing where they are others."""
    if not has_published_calls(study):
        return ""
    found = stats.spearmanr(calls_table(study)["median"], published.CALL_MEDIANS)
    return (
        "Rank correlation of our per-call medians with the published ones: Spearman"
        f" {found.statistic:.3f} (p = {found.pvalue:.1e})."
    )


def types_table(study: Study) -> Table:
    main = study.main
    return ratio_table(main, "types", by_type, "Against words of the type.", _known(main))


SOFTWARE = (
    "Not an alternative in such hardware: a general compressor looks back over kilobytes. Each map"
    " of each image is compressed by itself, 4- and 12-bit words in 8 and 16 bits. The entropy is"
    " what an ideal code for independent words needs that knows how often each occurs in this very"
    " map."
)
GRADIENTS = (
    "Of the cross entropy, the mean over a batch of labelled images, in evaluation mode. Of the"
    " outputs: what comes back to the activation. Of the inputs: what it hands on, zero wherever it"
    " let nothing through; which of them the plot shows is not stated. The scale follows the"
    " largest magnitude."
)


def sections_of(study: Study, run: dict[str, Any]) -> list[Section]:
    """All, in the order of the report.

    Args:
        run: what may differ between runs of equal figures: machine, date, time, memory.
    """
    main = study.main
    software = ratio_table(main, "software", by_type, "Against words of the type.")
    return [
        _types_section(study),
        claims_section(study),
        _averages_section(main),
        _calls_section(study),
        _presets_section(main),
        _ablations_section(study),
        Section("Software compressors on the same words", [SOFTWARE, software]),
        Section("Gradients", [GRADIENTS, *map(_small_table, study.gradients)]),
        Section("Other tensors, other networks", [*map(_small_table, study.others)]),
        _symbols_section(study),
        provenance_section(study.provenance | run),
    ]


def _types_section(study: Study) -> Section:
    rule = study.rule
    text = (
        f"Rule: preset {rule.name!r} ({rule.source}): signed words unless named ufixed, each call's"
        f" maximum ({rule.scale}) at {rule.headroom:g} of full scale, {rule.rounding}; N ="
        f" {rule.block_size}, base {rule.base}, zero runs up to {rule.max_zero_run}, order"
        f" {rule.order}, one transmission per image. A signed word of a map that is never negative"
        " has a sign bit that says nothing and that bit-plane coding removes almost for free, which"
        " flatters signed words; ufixed words use it for a bit of precision more."
    )
    picture = Picture("methods-by-type", "Methods by type (words of 4 bits: in the table only).")
    return Section("Methods and types", [text, types_table(study), picture])


def _averages_section(main: Measured) -> Section:
    definitions = Table("Definitions.", ["average", "definition"], list(DEFINITIONS.items()))
    released = published.RELEASED_AVERAGES if main.network.name == "resnet34" else None
    return Section("All averages", [definitions, averages_table(main, "types", "", released)])


def _calls_section(study: Study) -> Section:
    calls, main = calls_table(study), study.main
    caption = (
        f"EBPC, {main.plan.headline.type}: ratio of sums, and percentiles of the ratios of"
        f" {main.readings('types').image_count} single images."
    )
    table = Table(caption, list(calls.columns), calls.astype(object).values.tolist())
    picture = Picture("layers", "Median ratio of every call.")
    return Section("Every call", [call_agreement(study), picture, table])


def _presets_section(main: Measured) -> Section:
    headers = ["preset", "source", "images", "mode", "scale", "headroom", "rounding", "N", "base"]
    rows = [
        [p.name, p.source, p.images, p.network_mode, p.scale, p.headroom, p.rounding,
         ", ".join(map(str, p.block_sizes)), p.base, p.notes]
        for p in PRESETS.values()
    ]  # fmt: skip
    sources = Table("What each source says.", [*headers, "notes"], rows)
    mode = "batch statistics" if main.network.batch_statistics else "evaluation"
    text = (
        f"All were measured with the network in this mode: {mode}. Where a source leaves something"
        " open, the notebook's rule is used."
    )
    table = averages_table(main, "presets", "Each preset and its baselines.")
    return Section("As they measured: the presets", [sources, text, table])


def _ablations_section(study: Study) -> Section:
    main = study.main
    changes = f"One change at a time. A batch has {study.rule.batch_size} images."
    settings = "All settings at 8 bit, the maximum over all images at 0.75 of full scale."
    runs = "By the longest zero run of a symbol."
    section = Section("Ablations")
    section.parts = [
        averages_table(main, "ablations", changes),
        ratio_table(main, "settings", by_code, settings, digits=3),
        ratio_table(main, "block size", by_last_word, "By block size N."),
        Picture("block-sizes", "Ratio by block size."),
        ratio_table(main, "zero run", by_last_word, runs, digits=3),
    ]
    return section


def _small_table(each: Measured) -> Table:
    parts = (each.network.name, each.what, f"weights: {each.network.weights}", each.network.warning)
    caption = "; ".join(filter(None, (*parts, f"top-1 {each.top1}.")))
    return ratio_table(each, "types", by_type, caption, _known(each))


def _symbols_section(study: Study) -> Section:
    coded = study.symbols
    planes = {name.replace("_", " "): count for name, count in coded.planes.items()}
    planes["zero"] = planes.pop("zero run") + planes.pop("single zero")
    planes["two adjacent ones"] = planes.pop("two ones")
    shares = {name: 100 * each / max(sum(planes.values()), 1) for name, each in planes.items()}
    text = (
        f"{coded.words:,} words of {study.main.plan.headline.type},"
        f" {100 * coded.zero_words / max(coded.words, 1):.1f} % of them zero, in {coded.blocks:,}"
        f" blocks of {coded.block_size}. Zero stream {coded.zero_bits:,} bits, plane stream"
        f" {coded.plane_bits:,} bits. Published: {published.JETCAS_FIGURE_3B}."
    )
    rows = [[name, x, published.SYMBOL_PLANES.get(name)] for name, x in shares.items()]
    caption = "Bit planes by the symbol that codes them."
    table = Table(caption, ["symbol", "% of planes", "published %"], rows)
    return Section("Symbols", [text, table])
