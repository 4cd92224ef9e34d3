"""Writes the report of a study: Markdown, one HTML file, JSON, CSV and pictures."""

from __future__ import annotations

import csv
import datetime
import platform
import resource
from pathlib import Path
from typing import Any

import pandas as pd

from evaluation.common.files import whole_files, write_json
from evaluation.common.tables import Picture, Section, Table
from evaluation.paper import comparison_sections, further_sections, notes
from evaluation.paper.averages import DEFINITIONS
from evaluation.paper.claims import in_a_line
from evaluation.paper.figures import draw
from evaluation.paper.paper_study import Measured, Study
from torch_ebpc import _html
from torch_ebpc.report import software_versions


def write_report(study: Study, folder: Path, run: dict[str, Any]) -> None:
    """Puts all files into ``folder``, as :func:`whole_files` does: an old report stays until the
    new one is complete, and what else is there stays.

    Args:
        run: what may differ between runs of equal figures, as from :func:`run_record`.
    """
    with whole_files(folder) as new:
        draw(study, new)
        all_sections = build_sections(study, run)
        (new / "report.md").write_text(_markdown(study, all_sections), encoding="utf-8")
        (new / "report.html").write_text(_page(study, all_sections, new), encoding="utf-8")
        _write_counts(study, new / "counts.csv")
        _write_layers(study, new / "layers.csv")
        content = figures_of(study) | {"provenance": study.provenance, "run": run}
        write_json(content, new / "report.json")


def run_record(begin: float, end: float, processes: int) -> dict[str, Any]:
    """Machine, date, time and memory; ``begin`` and ``end`` in seconds of the same clock."""
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scale = 1 if platform.system() == "Darwin" else 1024  # bytes there, KiB elsewhere
    return {
        **software_versions(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "processes": processes,
        "seconds": round(end - begin, 1),
        "peak_memory_GiB": round(usage * scale / 2**30, 2),
    }


def build_sections(study: Study, run: dict[str, Any]) -> list[Section]:
    return [
        comparison_sections.types_section(study),
        comparison_sections.claims_section(study),
        comparison_sections.averages_section(study),
        comparison_sections.calls_section(study),
        comparison_sections.presets_section(study),
        further_sections.ablations_section(study),
        further_sections.software_section(study),
        further_sections.gradients_section(study),
        further_sections.others_section(study),
        further_sections.statistics_section(study),
        notes.deviations_section(study),
        notes.provenance_section(study, run),
    ]


def title(study: Study) -> str:
    return f"{study.main.network.name}: compression ratios, ours beside the published ones"


def summary(study: Study) -> list[str]:
    """What was measured, the total, and a verdict on each claim, in a line each."""
    main = study.main
    headline = main.readings("types").averages(main.plan.headline)["ratio of sums"]
    lines = [
        f"{main.what.capitalize()} of {main.network.name}; images: {study.images}; weights:"
        f" {main.network.weights}; top-1 {main.top1}.",
        f"EBPC, {main.plan.headline.words.type}: {headline:.3f} (ratio of sums). A ratio is"
        " uncompressed / compressed bits, before padding and without container.",
    ]
    if main.network.name == "resnet34":
        lines += map(in_a_line, comparison_sections.verdicts(study))
    lines.append("Images and weights are not those of the papers: theirs would give other figures.")
    return lines


def figures_of(study: Study) -> dict[str, Any]:
    """All averages of all variants, and what else the report states in figures."""

    def measured(each: Measured) -> dict[str, Any]:
        groups = {}
        for name in each.plan.groups:
            readings = each.readings(name)
            groups[name] = {
                "images": readings.image_count,
                "variants": {
                    label: {
                        "key": variant.key,
                        "word_bits": variant.words.bits,
                        "bits": int(readings.bits(variant).sum()),
                    }
                    | readings.averages(variant)
                    for label, variant in each.group(name).items()
                },
            }
        return {
            "network": each.network.name,
            "weights_sha256": each.network.weights_sha256,
            "tensors": each.what,
            "top1": str(each.top1),
            "groups": groups,
        }

    found = comparison_sections.call_agreement(study)
    stats = study.statistics
    return {
        "title": title(study),
        "warning": study.main.network.warning,
        "averages": DEFINITIONS,
        "main": measured(study.main),
        "gradients": [measured(each) for each in study.gradients],
        "others": [measured(each) for each in study.others],
        "agreement": None if found is None else vars(found),
        "claims": {
            verdict.claim.name: [vars(each) | {"gain_percent": each.gain_percent}
                                 for each in verdict.readings]
            for verdict in comparison_sections.verdicts(study)
        },
        "statistics": {
            "images": stats.image_count,
            "coded": vars(stats.coded),
            "zero_runs": stats.zero_runs.tolist(),
            "row_bits": stats.row_bits.tolist(),
            "tile_bits": stats.tile_bits.tolist(),
        },
    }  # fmt: skip


def _markdown(study: Study, all_sections: list[Section]) -> str:
    lines = [f"# {title(study)}"]
    if study.main.network.warning:
        lines.append(f"**{study.main.network.warning}**")
    lines.append("\n".join(f"- {line}" for line in summary(study)))
    for section in all_sections:
        lines.append(f"## {section.title}")
        for part in section.parts:
            if isinstance(part, Table):
                lines.append(part.markdown())
            elif isinstance(part, Picture):
                lines.append(f"![{part.caption}]({part.name}.png)")
            else:
                lines.append(part)
    return "\n\n".join(lines) + "\n"


def _page(study: Study, all_sections: list[Section], folder: Path) -> str:
    """All of it in one file: the summary, the pictures, and the sections, folded."""
    pictures = [
        ((folder / f"{part.name}.svg").read_bytes(), part.caption)
        for section in all_sections
        for part in section.parts
        if isinstance(part, Picture)
    ]
    folded = [
        _html.folded(
            section.title,
            [
                _html.table(part.text("html"), part.caption)
                if isinstance(part, Table)
                else _html.paragraph(part)
                for part in section.parts
                if not isinstance(part, Picture)
            ],
        )
        for section in all_sections
    ]
    warning = study.main.network.warning
    return _html.page(title(study), summary(study), [_html.pictures(pictures), *folded], warning)


def _write_counts(study: Study, path: Path) -> None:
    """The plain table: bits of every variant and call, a column per image; empty where not
    measured. ``words`` are of one image."""
    names = [file.name for file in study.images.files]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["network", "tensors", "variant", "call", "words", *names])
        for each in [study.main, *study.gradients, *study.others]:
            for variant, bits in each.counts.bits.items():
                measured = each.counts.measured[variant].tolist()
                head = [each.network.name, each.what, variant.key]
                for call, row in zip(each.counts.calls, bits.tolist(), strict=True):
                    cells = [x if known else "" for x, known in zip(row, measured, strict=True)]
                    writer.writerow([*head, call.name, call.words, *cells])


def _write_layers(study: Study, path: Path) -> None:
    """Ratios and percentiles of every call, for all types by EBPC."""
    main, readings = study.main, study.main.readings("types")
    variants = {type: main.plan.by_type(type) for type in main.plan.types}
    tables = {
        type: readings.layers(each) for type, each in variants.items() if each in main.counts.bits
    }
    table = pd.concat(tables, names=["type"]).reset_index("type")
    table.to_csv(path, index=False, lineterminator="\n")
