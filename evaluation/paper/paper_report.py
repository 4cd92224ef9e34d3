"""Writes the report of a study: one HTML file, JSON, and the counts as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from evaluation.common.files import whole_files, write_json
from evaluation.common.machine import peak_memory
from evaluation.common.tables import html_page
from evaluation.paper.claims import verdicts
from evaluation.paper.figures import draw
from evaluation.paper.paper_study import Measured, Study
from evaluation.paper.sections import sections_of
from torch_ebpc.report import software_versions


def write_report(study: Study, folder: Path, run: dict[str, Any]) -> None:
    """Puts all files into ``folder``, as :func:`whole_files` does: an old report stays until the
    new one is complete, and what else is there stays.

    Args:
        run: what may differ between runs of equal figures, as from :func:`run_record`.
    """
    with whole_files(folder) as new:
        draw(study, new)
        sections, warning = sections_of(study, run), study.main.network.warning
        page = html_page(title(study), summary(study), sections, new, warning)
        (new / "report.html").write_text(page, "utf-8")
        counts_table(study).to_csv(new / "counts.csv", index=False, lineterminator="\n")
        write_json(figures_of(study) | {"run": run}, new / "report.json")


def run_record(seconds: float, processes: int) -> dict[str, Any]:
    """Machine, date, time and memory."""
    memory = round(peak_memory() / 2**30, 2)
    record = {"processes": processes, "seconds": round(seconds, 1), "peak_memory_GiB": memory}
    return software_versions() | record


def title(study: Study) -> str:
    return f"{study.main.network.name}: compression ratios, ours beside the published ones"


def summary(study: Study) -> list[str]:
    """What was measured, the total, and a verdict on each claim, in a line each."""
    main = study.main
    lines = [
        f"{main.what.capitalize()} of {main.network.name}; images: {study.images}; weights:"
        f" {main.network.weights}; top-1 {main.top1}.",
        f"EBPC, {main.plan.headline.type}: {main.readings('types').ratio(main.plan.headline):.3f}"
        " (ratio of sums). A ratio is uncompressed / compressed bits, before padding and without"
        " container.",
    ]
    if main.network.name == "resnet34":
        lines += [verdict.in_a_line() for verdict in verdicts(study)]
    lines.append("Images and weights are not those of the papers: theirs would give other figures.")
    return lines


def figures_of(study: Study) -> dict[str, Any]:
    """All averages of all variants, and what else the report states in figures."""

    def measured(each: Measured) -> dict[str, Any]:
        groups: dict[str, Any] = {}
        for name in each.plan.groups:
            readings = each.readings(name)
            groups[name] = {"images": readings.image_count, "variants": {}}
            for label, variant in each.group(name).items():
                bits = int(readings.bits(variant).sum())
                found = {"key": variant.key, "word_bits": variant.bits, "bits": bits}
                groups[name]["variants"][label] = found | readings.averages(variant)
        return {
            "network": each.network.name,
            "weights_sha256": each.network.weights_sha256,
            "tensors": each.what,
            "top1": str(each.top1),
            "groups": groups,
        }

    return {
        "title": title(study),
        "warning": study.main.network.warning,
        "measured": [measured(each) for each in study.all],
        "claims": {
            verdict.claim.name: verdict.readings.to_dict("records") for verdict in verdicts(study)
        },
        "symbols": vars(study.symbols),
        "provenance": study.provenance,
    }


def counts_table(study: Study) -> pd.DataFrame:
    """The plain table: bits of every variant and call, a column per image; empty where not
    measured. ``words`` are of one image."""
    rows = []
    for each in study.all:
        for variant, bits in each.counts.bits.items():
            measured = each.counts.measured[variant]
            for call, row in zip(each.counts.calls, bits, strict=True):
                head = [each.network.name, each.what, variant.key, call.name, call.words]
                rows.append([*head, *pd.Series(row, dtype="Int64").where(measured)])
    names = [file.name for file in study.images.files]
    columns = ["network", "tensors", "variant", "call", "words", *names]
    return pd.DataFrame(rows, columns=columns, dtype="object")
