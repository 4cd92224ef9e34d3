"""ZigZag (zigzag-dse on PyPI): a network as its workload, and its results with compressed maps.

Its workload knows whole bits of a value only, the same in every memory. So the workload has the
words' true width, and what ZigZag finds for the outermost memory is divided by the ratio of traffic
afterwards: `python -m evaluation.hardware.zigzag RESULTS RATIOS` prints its results with and
without, for each layer.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from evaluation.common.command_line import program
from evaluation.common.tables import Table
from evaluation.hardware.hardware_study import Study
from evaluation.hardware.layer_maps import Convolution


def workload(study: Study) -> str:
    """All convolutions, each reading its map from the outermost memory and writing its output
    there."""
    word_bits = study.options.design.word_bits
    layers = [_layer(i, each, word_bits) for i, each in enumerate(study.convolutions.values())]
    return str(yaml.safe_dump(layers, sort_keys=False, default_flow_style=None, width=100))


def _layer(index: int, layer: Convolution, word_bits: int) -> dict[str, Any]:
    channels, *sizes = layer.input_shape
    out_channels, *out_sizes = layer.output_shape
    # What the kernel spans at all outputs; a stride may leave out the last rows and columns.
    spans = [
        (out - 1) * stride + dilation * (kernel - 1) + 1
        for out, stride, dilation, kernel in zip(
            out_sizes, layer.stride, layer.dilation, layer.kernel, strict=True
        )
    ]
    read = [min(size, span) for size, span in zip(sizes, spans, strict=True)]
    padding = [span - size for span, size in zip(spans, read, strict=True)]
    group, dims, counts = ("[g]", ["G"], [layer.groups]) if layer.groups > 1 else ("", [], [])
    return {
        "id": index,
        "name": layer.name,
        "operator_type": "Conv",
        "equation": f"O[b]{group}[k][oy][ox]+=W{group}[k][c][fy][fx]*I[b]{group}[c][iy][ix]",
        "dimension_relations": [
            f"ix={layer.stride[1]}*ox+{layer.dilation[1]}*fx",
            f"iy={layer.stride[0]}*oy+{layer.dilation[0]}*fy",
        ],
        "loop_dims": ["B", *dims, "K", "C", "OY", "OX", "FY", "FX"],
        "loop_sizes": [
            1,
            *counts,
            out_channels // layer.groups,
            channels // layer.groups,
            *out_sizes,
            *layer.kernel,
        ],
        "operand_precision": {
            "W": word_bits,
            "I": word_bits,
            "O": 2 * word_bits,  # partial sums, as its own accelerators have registers for
            "O_final": word_bits,
        },
        "operand_source": {"I": index, "W": index},  # its own: nothing stays on the chip
        "pr_loop_dims": ["IX", "IY"],
        "pr_loop_sizes": read[::-1],
        "padding": [[each - each // 2, each // 2] for each in padding[::-1]],
    }


def ratios(study: Study) -> dict[str, dict[str, float]]:
    """Uncompressed / compressed bytes that cross the interface, by layer: of what it reads (`I`)
    and of the ReLU map that is written in its place (`O`, 1 where there is none)."""
    read, written = study.inputs["traffic_ratio"], study.layers["traffic_ratio"]
    return {
        name: {"I": float(read[name]), "O": float(written.get(each.written_as, 1.0))}
        for name, each in study.convolutions.items()
    }


def compressed(result: dict[str, Any], ratios: dict[str, float]) -> dict[str, Any]:
    """A layer's result (`NAME_complete.json`) with its maps compressed in the outermost memory.

    Raises:
        ValueError: partial sums cross that memory; the ratio of a map says nothing about them.
    """
    result = copy.deepcopy(result)
    energy = result["outputs"]["energy"]
    saved = 0.0
    for operand, ratio in ratios.items():
        levels = energy["memory_energy_breakdown_per_level"][operand]
        accesses = energy["memory_energy_breakdown_per_level_per_operand"][operand][-1]
        if operand == "O" and (accesses["rd_out_to_low"] or accesses["wr_in_by_high"]):
            raise ValueError("partial sums are read back from the outermost memory")
        saved += levels[-1] * (1 - 1 / ratio)
        levels[-1] /= ratio
        for access in accesses:
            accesses[access] /= ratio
    energy["memory_energy"] -= saved
    energy["energy_total"] -= saved
    return result


def main(arguments: list[str] | None = None) -> int:
    about = "ZigZag's energies with maps uncompressed and compressed, in pJ."
    parser = program("evaluation.hardware.zigzag", about)
    parser.add_argument("results", type=Path, help="folder of its NAME_complete.json")
    parser.add_argument("ratios", type=Path, help="zigzag/NETWORK_ratios.json of the exports")
    parsed = parser.parse_args(arguments)
    rows = []
    try:
        for name, of_layer in json.loads(parsed.ratios.read_text()).items():
            before = json.loads((parsed.results / f"{name}_complete.json").read_text())
            after = compressed(before, of_layer)
            rows.append([name, *(figure for each in (before, after) for figure in _figures(each))])
    except (OSError, ValueError) as error:
        parser.error(str(error))
    rows.append(["total", *(sum(column) for column in list(zip(*rows, strict=True))[1:])])
    headers = ["layer", "maps, outermost", "all", "maps compressed", "all compressed"]
    print(Table("", headers, [[name, *(f"{x:,.0f}" for x in row)] for name, *row in rows]).text())
    return 0


def _figures(result: dict[str, Any]) -> tuple[float, float]:
    energy = result["outputs"]["energy"]
    levels = energy["memory_energy_breakdown_per_level"]
    return levels["I"][-1] + levels["O"][-1], energy["energy_total"]


if __name__ == "__main__":
    sys.exit(main())
