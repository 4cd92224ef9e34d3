"""A study's report folder, and its exports for other tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from evaluation.common.files import whole_files, write_json
from evaluation.common.tables import html_page, provenance_section
from evaluation.hardware import simulators, zigzag
from evaluation.hardware.hardware_study import Study
from evaluation.hardware.layer_tables import PICTURES, sections_of
from torch_ebpc.report import save_figure


def write(study: Study, title: str, warning: str, provenance: dict[str, Any], folder: Path) -> None:
    """report.html, report.json and the pictures, as :func:`whole_files` does."""
    total = study.total
    summary = [
        f"{int(total['words']):,} words of {study.images} image(s) decoded, with and without"
        " back-pressure: the same bits.",
        f"Encoder: {total['encoder_words_per_cycle']:.4f} words per cycle, decoder:"
        f" {total['decoder_words_per_cycle']:.4f}.",
        f"Ratio of streams {total['stream_ratio']:.2f}, of memory traffic"
        f" {total['traffic_ratio']:.2f}.",
    ]
    with whole_files(folder) as new:
        for name, plot in PICTURES.items():
            size = (max(6.0, 0.32 * len(study.layers) + 2), 4.8)
            figure = Figure(figsize=size, layout="constrained")
            axes = figure.add_subplot()
            plot(study, axes)
            axes.set_xticks(range(len(study.layers)), study.layers.index, rotation=90)
            axes.set_xlabel("call of a layer")
            axes.set_title(title, fontsize="medium", wrap=True)
            axes.legend(fontsize="small")
            save_figure(figure, new / f"{name}.svg", "svg")
        sections = [*sections_of(study), provenance_section(provenance)]
        page = html_page(title, summary, sections, new, warning)
        (new / "report.html").write_text(page, encoding="utf-8")
        content = {
            "title": title,
            "provenance": provenance,
            "layers": json.loads(study.layers.to_json(orient="index")),
            "total": json.loads(total.to_json()),
            "tiles": json.loads(study.tiles.reset_index().to_json(orient="records")),
            "lanes": study.lanes.to_dict("records"),
            "chunks": study.chunks.to_dict("records"),
        }
        write_json(content, new / "report.json")


def export_simulators(study: Study, name: str, folder: Path) -> str | None:
    """AccelForge's input, ZigZag's workload and ratios, and SCALE-Sim's topology and table.

    Returns:
        Why SCALE-Sim's files are left out; None where they are written.
    """
    files = {
        f"accelforge/{name}.yaml": simulators.accelforge(study, name),
        f"zigzag/{name}.yaml": zigzag.workload(study),
        f"zigzag/{name}_ratios.json": json.dumps(zigzag.ratios(study), indent=1),
    }
    left_out = None
    try:
        topology = simulators.scale_sim_topology(study.convolutions.values())
        files[f"scale-sim/{name}.csv"] = topology
        files[f"scale-sim/{name}_compression.csv"] = simulators.scale_sim_compression(study)
    except ValueError as error:
        left_out = f"no files for SCALE-Sim: {error}"
    with whole_files(folder) as new:
        for path, text in files.items():
            (new / path).parent.mkdir(exist_ok=True)
            (new / path).write_text(text)
    return left_out
