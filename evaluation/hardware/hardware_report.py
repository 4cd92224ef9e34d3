"""A study's report folder, and its exports for other tools."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from evaluation.common.files import whole_files, write_json
from evaluation.common.tables import Table
from evaluation.hardware import plots, simulators, zigzag
from evaluation.hardware.energy import MEMORIES
from evaluation.hardware.hardware_study import Study
from evaluation.hardware.layer_tables import all_tables
from torch_ebpc import hardware
from torch_ebpc._hardware_registers import growth_table
from torch_ebpc.report import csv_text, save_figure


def write(study: Study, title: str, provenance: dict[str, Any], folder: Path) -> None:
    """report.md, layers.csv, report.json and the plots, as :func:`whole_files` does."""
    figures = {
        "registers": plots.registers(study),
        "words_per_cycle": plots.words_per_cycle(study, title),
        "traffic": plots.traffic(study, title),
    }
    records = [layer.as_dict(study.options) for layer in [*study.layers.values(), study.total()]]
    with whole_files(folder) as new:
        for name, figure in figures.items():
            for suffix in ("png", "svg"):
                save_figure(figure, new / f"{name}.{suffix}", suffix, dpi=150)
        (new / "report.md").write_text(markdown(study, title, provenance, list(figures)))
        write_json(as_dict(study, title, provenance), new / "report.json")
        (new / "layers.csv").write_text(csv_text(records))


def markdown(study: Study, title: str, provenance: dict[str, Any], figures: list[str]) -> str:
    parts = [f"# {title}"]
    for table in all_tables(study):
        parts.append(f"## {table.markdown()}")
    parts += ["## Plots", *(f"![{name}]({name}.png)" for name in figures)]
    rows = [(key, json.dumps(value) if isinstance(value, dict) else str(value))
            for key, value in provenance.items()]  # fmt: skip
    parts += ["## Provenance", Table("", ["", ""], rows).text("github")]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_dict(study: Study, title: str, provenance: dict[str, Any]) -> dict[str, Any]:
    w, n, r = study.options.code()
    designs = ("encoder", "decoder")
    return {
        "title": title,
        "provenance": provenance,
        "registers": {
            design: [
                dataclasses.asdict(group) for group in hardware.inventory(design, w, n, r).groups
            ]
            for design in designs
        },
        "growth": [dataclasses.asdict(row) for row in growth_table(max_zero_run=r)],
        "layers": [layer.as_dict(study.options) for layer in study.layers.values()],
        "total": study.total().as_dict(study.options),
        "bursts": {
            name: {
                design: dict(zip(("zero", "plane"), getattr(cycles, design).bursts, strict=True))
                for design in (*designs, *(f"{design}_memory" for design in designs))
            }
            for name, cycles in (
                (layer.name, layer.cycles) for layer in [*study.layers.values(), study.total()]
            )
        },
        "memory_widths": [
            {
                "bits_per_cycle": row.bits_per_cycle,
                "encoder_words_per_cycle": row.encoder.words_per_cycle,
                "decoder_words_per_cycle": row.decoder.words_per_cycle,
                "zero_fifo_words": row.depth[0],
                "plane_fifo_words": row.depth[1],
            }
            for row in study.widths
        ],
        "tiles": [
            {"buffer_bytes": buffer, "burst_bytes": burst, **found.as_dict(study.options.interface)}
            for (buffer, burst), found in study.tiles.items()
        ],
        "lanes": [dataclasses.asdict(row) for row in study.lanes],
        "chunks": [dataclasses.asdict(row) for row in study.chunks],
        "energies": {key: dataclasses.asdict(memory) for key, memory in MEMORIES.items()},
    }


def export_simulators(study: Study, name: str, folder: Path) -> str | None:
    """AccelForge's input, ZigZag's workload and ratios, and SCALE-Sim's topology and table.

    Returns:
        Why SCALE-Sim's files are left out; None where they are written.
    """
    with whole_files(folder) as new:
        (new / "accelforge").mkdir()
        (new / "accelforge" / f"{name}.yaml").write_text(simulators.accelforge(study, name))
        (new / "zigzag").mkdir()
        (new / "zigzag" / f"{name}.yaml").write_text(zigzag.workload(study))
        (new / "zigzag" / f"{name}_ratios.json").write_text(
            json.dumps(zigzag.ratios(study), indent=1)
        )
        try:
            topology = simulators.scale_sim_topology(
                row.convolution for row in study.convolutions.values()
            )
        except ValueError as error:
            return f"no files for SCALE-Sim: {error}"
        scale_sim = new / "scale-sim"
        scale_sim.mkdir()
        (scale_sim / f"{name}.csv").write_text(topology)
        (scale_sim / f"{name}_compression.csv").write_text(simulators.scale_sim_compression(study))
        return None
