"""Files that accelerator models read: SCALE-Sim's topology with a table to join it with, and a
whole network for AccelForge. ZigZag's are in :mod:`evaluation.hardware.zigzag`."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from evaluation.hardware import zigzag
from evaluation.hardware.energy import MEMORIES
from evaluation.hardware.hardware_study import Study
from evaluation.hardware.layer_maps import Convolution

SCALE_SIM_HEADER = (
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter,"
    " Strides,"
)


def scale_sim_topology(convolutions: Iterable[Convolution]) -> str:
    """A topology file: one convolution a line, every line closed by a comma.

    SCALE-Sim knows no padding and rounds the output's size up where a stride does not fit, so the
    input is given the size from which it computes the network's own output: (output - 1) x stride +
    kernel. Its IFMAP words are those of that size.

    Raises:
        ValueError: a convolution has groups, two strides or dilation, or a name that SCALE-Sim
            would read as something else.
    """
    lines = [SCALE_SIM_HEADER]
    for each in convolutions:
        if each.groups != 1 or each.stride[0] != each.stride[1] or each.dilation != (1, 1):
            raise ValueError(
                f"{each.name}: the topology has no groups, no dilation and one stride only"
            )
        if "," in each.name or "DP" in each.name:
            raise ValueError(f"{each.name}: the topology's names have no comma and no DP")
        stride = each.stride[0]
        out_channels, out_height, out_width = each.output_shape
        height = (out_height - 1) * stride + each.kernel[0]
        width = (out_width - 1) * stride + each.kernel[1]
        values = (height, width, *each.kernel, each.input_shape[0], out_channels, stride)
        lines.append(",".join([each.name, *map(str, values)]) + ",")
    return "\n".join(lines) + "\n"


def scale_sim_compression(study: Study) -> str:
    """A table to join with the topology by `Layer name`, or with SCALE-Sim's reports by `LayerID`,
    the line of the topology counted from 0.

    `ifmap` is the map that the convolution reads, without padding; `ofmap` is the ReLU map written
    in place of its output, empty where there is none (projection shortcuts). docs/hardware.md says
    which words of a report a traffic ratio divides.
    """

    def figures(prefix: str, table: pd.DataFrame) -> pd.DataFrame:
        shown = {
            "density": (1 - table["zeros"] / table["words"]).map("{:.6f}".format),
            "bits_per_word": (8 * table["stream_bytes"] / table["words"]).map("{:.4f}".format),
            "stream_ratio": table["stream_ratio"].map("{:.4f}".format),
            "traffic_ratio": table["traffic_ratio"].map("{:.4f}".format),
        }
        return pd.DataFrame({"words": table["words"] // study.images, **shown}).add_prefix(prefix)

    table = figures("ifmap_", study.inputs)
    table["ofmap_layer"] = [each.written_as for each in study.convolutions.values()]
    table = table.join(figures("ofmap_", study.layers).astype(object), on="ofmap_layer")
    table.insert(0, "Layer name", table.index)
    table.insert(0, "LayerID", range(len(table)))
    return str(table.to_csv(index=False, lineterminator="\n"))


# ---- AccelForge ----------------------------------------------------------------------------------

ACCELFORGE = """\
# {title}
# bits_per_value: what a word of a map takes in DRAM, {word_bits} bits by the ratio of traffic.
# Tensors that are not named are not compressed. Buffer and MAC are stand-ins for yours.
arch:
  nodes:
  - !Memory
    name: DRAM
    size: inf
    leak_power: 0
    area: 0
    tensors: {{keep: All}}
    bits_per_value: {bits_per_value}
    actions:  # joules an action, bits an action, actions a second
    - {{name: read, energy: {dram:.4e}, bits_per_action: 64, throughput: {clock:.4e}}}
    - {{name: write, energy: {dram:.4e}, bits_per_action: 64, throughput: {clock:.4e}}}
  - !Memory
    name: Buffer
    size: 524288
    leak_power: 0
    area: 0
    tensors: {{keep: All}}
    actions:
    - {{name: read, energy: {sram:.4e}, bits_per_action: 64, throughput: 1.0e+12}}
    - {{name: write, energy: {sram:.4e}, bits_per_action: 64, throughput: 1.0e+12}}
  - !Compute
    name: MAC
    leak_power: 0
    area: 0
    actions:
    - {{name: compute, energy: 2.0e-13, throughput: 1.0e+12}}
workload:
  bits_per_value: {{All: {word_bits}}}
  rank_sizes: {{}}
  einsums:
"""


def accelforge(study: Study, title: str) -> str:
    """A network as AccelForge's input: for each convolution an einsum over tensors of its own,
    what it reads (`I_NAME`), its weights (`F_NAME`) and what is written in its place (`O_NAME`),
    with the measured bits of a word in DRAM."""
    word_bits, einsums, bits = study.options.design.word_bits, [], {}
    for index, (key, found) in enumerate(zigzag.ratios(study).items()):
        convolution = study.convolutions[key]
        name = re.sub(r"\W", "_", key)
        bits[f"I_{name}"] = word_bits / found["I"]
        if convolution.written_as is not None:
            bits[f"O_{name}"] = word_bits / found["O"]
        einsums.append(_einsum(convolution, name, index))
    head = ACCELFORGE.format(
        title=title,
        word_bits=word_bits,
        bits_per_value="{" + ", ".join(f"{key}: {value:.4f}" for key, value in bits.items()) + "}",
        dram=MEMORIES[study.options.memory].pj_per_bit * 64e-12,
        sram=MEMORIES["sram-32k"].pj_per_bit * 64e-12,
        clock=study.options.clock_hz,
    )
    return head + "".join(einsums)


def _einsum(layer: Convolution, name: str, index: int) -> str:
    """Output rows and columns run over the network's own sizes, so that padding counts as words of
    the input."""
    out_channels, out_height, out_width = layer.output_shape
    bounds = {
        "p": out_height,
        "q": out_width,
        "c": layer.input_shape[0] // layer.groups,
        "m": out_channels // layer.groups,
        "r": layer.kernel[0],
        "s": layer.kernel[1],
    }
    group = ""
    if layer.groups > 1:
        bounds["g"] = layer.groups
        group = f"g{index}, "
    row = f"p{index} * {layer.stride[0]} + r{index} * {layer.dilation[0]}"
    column = f"q{index} * {layer.stride[1]} + s{index} * {layer.dilation[1]}"
    output = f"O_{name}[{group}m{index}, p{index}, q{index}]"
    maps = f"I_{name}[{group}c{index}, H: {row}, W: {column}]"
    weights = f"F_{name}[{group}m{index}, c{index}, r{index}, s{index}]"
    shape = ", ".join(f"0 <= {rank}{index} < {size}" for rank, size in bounds.items())
    return (
        f'  - einsum: "{output} = {maps} * {weights}"\n'
        f"    iteration_space_shape: [{shape}]\n"
        f"    renames: {{input: I_{name}, weight: F_{name}, output: O_{name}}}\n"
    )
