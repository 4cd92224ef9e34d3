"""Exports against what the tools that read them have published."""

import csv
import dataclasses
import io
import json
import math
import re
import subprocess

import pytest
import torch
import yaml
from helpers import ROOT, missing

import torch_ebpc
from evaluation.hardware import hardware_report, hardware_study, simulators, stimuli, zigzag
from evaluation.hardware.__main__ import make_parser, options_from
from evaluation.hardware.layer_maps import Convolution, MapRecorder
from torch_ebpc.hardware import run_encoder

# SCALE-Sim v2, topologies/sparsity/Resnet18.csv: the header.
SCALE_SIM_HEADER = (
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter,"
    " Strides,"
)


@pytest.fixture
def words():
    return (torch.randn(4, 6, 5) * 30).relu().clamp(max=127).to(torch.int8)


def study_of(model, *shape, options=()):
    """Of one random image."""
    found = hardware_study.Study(options_from(make_parser().parse_args(options)))
    recorder, image = MapRecorder(model, found.options.quantizer), torch.randn(shape)
    recorder.calibrate(image)
    found.add_image(recorder.record(image))
    return found


@pytest.fixture
def measured():
    conv, relu = torch.nn.Conv2d, torch.nn.ReLU()
    return study_of(torch.nn.Sequential(conv(3, 8, 5, stride=2), relu, conv(8, 4, 1)), 3, 20, 16)


# ---- Stimuli -------------------------------------------------------------------------------------


def test_hexadecimal_beats_read_back(words, tmp_path):
    run = run_encoder(words)
    writer = stimuli.StimuliWriter(tmp_path, signed=True)
    writer.add("layer1.0.relu#1", words, run)
    writer.close()
    name = "layer1.0.relu_1"
    for stream, expected in (
        ("words", [word & 0xFF for word in words.flatten().tolist()]),
        ("zero", run.zero_stream.tolist()),
        ("plane", run.plane_stream.tolist()),
    ):
        text = (tmp_path / f"hexadecimal/{name}.{stream}.hex").read_text()
        assert re.fullmatch(r"([0-9a-f]{2} [01]\n)*[0-9a-f]{2} [01]", text)
        beats = [line.split() for line in text.split("\n")]
        assert [int(word, 16) for word, _ in beats] == expected
        assert [last for _, last in beats] == ["0"] * (len(beats) - 1) + ["1"]
    index = list(csv.DictReader((tmp_path / "index.csv").open()))
    assert index == [
        {
            "layer": "layer1.0.relu#1",
            "file_name": name,
            "words": "120",
            "zero_stream_words": str(run.zero.words),
            "plane_stream_words": str(run.plane.words),
        }
    ]
    assert "words of W = 8 bits (two's complement)" in (tmp_path / "README.md").read_text()
    assert not (tmp_path / "published").exists()


def test_the_published_test_bench_can_read_its_files(words, tmp_path):
    """Its driver (rtl_tb/hs_drivers.sv) reads "%b %b" until the end of the file, asked for before
    each read; the decoder counts words from 0, so that its port wants one less."""
    run = run_encoder(words)
    writer = stimuli.StimuliWriter(tmp_path, signed=True, hexadecimal=False, published=True)
    writer.add("relu", words, run)
    writer.close()
    beats = {
        key: [f"{word:08b} {int(i + 1 == len(values))}" for i, word in enumerate(values)]
        for key, values in (
            ("words", [word & 0xFF for word in words.flatten().tolist()]),
            ("zero", run.zero_stream.tolist()),
            ("plane", run.plane_stream.tolist()),
        )
    }
    # The names are those of the published test benches, after their prefix.
    for path, expected in (
        ("encoder/relu_input.stim", beats["words"]),
        ("encoder/relu_bpc.expresp", beats["plane"]),
        ("encoder/relu_znz.expresp", beats["zero"]),
        ("decoder/relu_num_words_input.stim", [f"{119:024b}"]),
        ("decoder/relu_bpc_input.stim", beats["plane"]),
        ("decoder/relu_znz_input.stim", beats["zero"]),
        ("decoder/relu_data_output.expresp", beats["words"]),
    ):
        assert (tmp_path / "published" / path).read_text().split("\n") == expected
    assert not (tmp_path / "hexadecimal").exists()


def test_a_map_of_zeros_has_an_empty_plane_stream_file(tmp_path):
    """The published driver passes over an empty file; a blank line would be read as a beat."""
    zeros = torch.zeros(17, dtype=torch.int8)
    writer = stimuli.StimuliWriter(tmp_path, signed=True, published=True)
    writer.add("relu", zeros, run_encoder(zeros))
    writer.close()
    for path in (
        "hexadecimal/relu.plane.hex",
        "published/encoder/relu_bpc.expresp",
        "published/decoder/relu_bpc_input.stim",
    ):
        assert (tmp_path / path).read_text() == ""
    count = tmp_path / "published/decoder/relu_num_words_input.stim"
    assert int(count.read_text(), 2) == 16


@pytest.mark.parametrize(("word_bits", "digits"), [(4, 1), (8, 2), (12, 3), (16, 4)])
def test_hexadecimal_has_the_digits_of_a_word(word_bits, digits):
    largest = (1 << word_bits) - 1
    text = stimuli.beats([0, largest], stimuli.hexadecimal(word_bits))
    assert text == f"{'0' * digits} 0\n{'f' * digits} 1"


def test_a_readme_says_where_the_published_rtl_ends(words, tmp_path):
    writer = stimuli.StimuliWriter(tmp_path, signed=False, published=True)
    writer.add("relu", words.to(torch.uint8), run_encoder(words.to(torch.uint8)))
    writer.close()
    text = (tmp_path / "README.md").read_text()
    assert "outside of what the published RTL supports" in text
    with pytest.raises(ValueError, match="no layer"):
        stimuli.StimuliWriter(tmp_path, signed=True).close()


# ---- SCALE-Sim -----------------------------------------------------------------------------------


def scale_sim_reads(text):
    """As scalesim/topology_utils.py: the header is skipped, the last comma ends a line, the rest
    are a name and integers."""
    layers = []
    for row in text.splitlines()[1:]:
        elements = row.strip().split(",")[:-1]
        layers.append([elements[0].strip(), *(int(element) for element in elements[1:])])
    return layers


@pytest.fixture
def convolutions():
    """ResNet's kinds, in small: one whose padding its stride does not use up, one that keeps its
    map's size, a strided 1x1, and a strided 3x3."""
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 7, stride=2, padding=3),
        torch.nn.Conv2d(8, 40, 3, padding=1),
        torch.nn.Conv2d(40, 8, 1, stride=2),
        torch.nn.Conv2d(8, 4, 3, stride=2, padding=1),
    )
    recorder = MapRecorder(model, torch_ebpc.Quantizer(8, True))
    recorder.calibrate(torch.randn(3, 20, 16))
    return recorder.record(torch.randn(3, 20, 16)).convolutions


def test_the_topology_is_written_as_scale_sim_reads_it(convolutions):
    text = simulators.scale_sim_topology(convolutions)
    assert text.splitlines()[0] == SCALE_SIM_HEADER
    assert scale_sim_reads(text) == [
        ["0", 25, 21, 7, 7, 3, 8, 2],
        ["1", 12, 10, 3, 3, 8, 40, 1],
        ["2", 9, 7, 1, 1, 40, 8, 2],
        ["3", 7, 5, 3, 3, 8, 4, 2],
    ]


def test_scale_sim_computes_the_networks_own_output_sizes(convolutions):
    """It knows no padding and rounds up where a stride does not fit: ceil((size - kernel + stride)
    / stride)."""
    layers = scale_sim_reads(simulators.scale_sim_topology(convolutions))
    for layer, (_, height, width, *kernel, _, filters, stride) in zip(
        convolutions, layers, strict=True
    ):
        outputs = [
            math.ceil((size - edge + stride) / stride)
            for size, edge in zip((height, width), kernel, strict=True)
        ]
        assert (filters, *outputs) == layer.output_shape


SCALE_SIM_CONFIGURATION = """
[general]
run_name = run
[architecture_presets]
ArrayHeight = 16
ArrayWidth = 16
IfmapSramSzkB = 64
FilterSramSzkB = 64
OfmapSramSzkB = 64
IfmapOffset = 0
FilterOffset = 10000000
OfmapOffset = 20000000
Dataflow = {dataflow}
ReadRequestBuffer = 64
WriteRequestBuffer = 64
[layout]
IfmapCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterCustomLayout = False
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = false
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
"""


@pytest.fixture(scope="session")
def simulators_python():
    """Of the environment that the simulators are installed in."""
    python = ROOT / "build/simulators/bin/python"
    if not (python.parents[1] / ".installed").exists():
        missing("no simulators in build/simulators: `make test-python` installs them")
    return python


@pytest.fixture
def scale_sim(tmp_path, simulators_python):
    """Runs the installed tool on a topology and returns the rows of its access report."""

    def run(topology: str, dataflow: str) -> list[dict[str, str]]:
        (tmp_path / "topology.csv").write_text(topology)
        (tmp_path / "scale.cfg").write_text(SCALE_SIM_CONFIGURATION.format(dataflow=dataflow))
        # It wants a layout, though none is used: the topology is read as one.
        files = ["-t", "topology.csv", "-l", "topology.csv", "-c", "scale.cfg", "-p", dataflow]
        subprocess.run(
            [simulators_python, "-m", "scalesim.scale", *files],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
        with (tmp_path / dataflow / "run" / "DETAILED_ACCESS_REPORT.csv").open() as file:
            return list(csv.DictReader(file, skipinitialspace=True))

    return run


def test_scale_sim_runs_on_the_topology_and_its_dram_words_are_as_the_guide_says(
    convolutions, scale_sim
):
    topology = simulators.scale_sim_topology(convolutions)
    rows = scale_sim(topology, "os")
    assert [row["LayerID"] for row in rows] == ["0", "1", "2", "3"]
    outputs = [math.prod(layer.output_shape) for layer in convolutions]
    assert [int(row["DRAM OFMAP Writes"]) for row in rows] == outputs
    for row, layer, (_, height, width, *_) in zip(
        rows, convolutions, scale_sim_reads(topology), strict=True
    ):
        channels, *sizes = layer.input_shape
        whole_map, visited = height * width * channels, math.prod(sizes) * channels // 4
        strided_1x1 = layer.kernel == (1, 1)
        assert int(row["DRAM IFMAP Reads"]) == (visited if strided_1x1 else whole_map)
    # Partial sums: more than the map wherever an output's products do not fit into a column.
    for row, words in zip(scale_sim(topology, "ws"), outputs, strict=True):
        assert int(row["DRAM OFMAP Writes"]) > words


@pytest.mark.parametrize(
    "changes",
    [{"groups": 2}, {"stride": (1, 2)}, {"dilation": (2, 2)}, {"name": "DP1"}, {"name": "a,b"}],
)
def test_what_the_topology_cannot_say_is_an_error(changes):
    layer = Convolution("conv", (4, 8, 8), (4, 6, 6), (3, 3), (1, 1), 1)
    with pytest.raises(ValueError, match="the topology"):
        simulators.scale_sim_topology([dataclasses.replace(layer, **changes)])


def test_a_network_that_scale_sim_cannot_say_has_its_other_exports(tmp_path):
    model = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3, groups=2), torch.nn.ReLU())
    found = study_of(model, 4, 6, 6)
    message = hardware_report.export_simulators(found, "grouped", tmp_path)
    assert message == (
        "no files for SCALE-Sim: 0: the topology has no groups, no dilation and one stride only"
    )
    paths = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(paths) == [
        "accelforge/grouped.yaml",
        "zigzag/grouped.yaml",
        "zigzag/grouped_ratios.json",
    ]


def test_the_table_joins_with_the_topology_line_by_line(measured):
    convolutions = measured.convolutions.values()
    topology = scale_sim_reads(simulators.scale_sim_topology(convolutions))
    rows = list(csv.DictReader(io.StringIO(simulators.scale_sim_compression(measured))))
    assert [row["Layer name"] for row in rows] == [layer[0] for layer in topology] == ["0", "2"]
    assert [row["LayerID"] for row in rows] == ["0", "1"]
    for row, convolution in zip(rows, convolutions, strict=True):
        assert int(row["ifmap_words"]) == math.prod(convolution.input_shape)
    first, second = rows
    # The first convolution's map is what the second one reads; the second one has no ReLU.
    assert first["ofmap_layer"] == "1#1"
    assert first["ofmap_density"] == second["ifmap_density"]
    assert first["ofmap_traffic_ratio"] == second["ifmap_traffic_ratio"]
    assert second["ofmap_layer"] == second["ofmap_density"] == ""


# ---- AccelForge ----------------------------------------------------------------------------------


@pytest.fixture
def strided():
    """A study of one convolution of stride 2 and its ReLU map: small, since AccelForge searches."""
    model = torch.nn.Sequential(torch.nn.Conv2d(4, 2, 1, stride=2), torch.nn.ReLU())
    return study_of(model, 4, 3, 3, options=["--burst-bytes", "1", "--entry-bytes", "1"])


def test_accelforges_input_has_the_measured_bits_of_a_word(strided):
    text = simulators.accelforge(strided, "strided")
    spec = yaml.safe_load(re.sub(r"!(Memory|Compute)", "", text))
    dram = spec["arch"]["nodes"][0]
    assert dram["bits_per_value"] == {
        "I_0": pytest.approx(8 / strided.inputs["traffic_ratio"]["0"], abs=1e-4),
        "O_0": pytest.approx(8 / strided.layers["traffic_ratio"]["1#1"], abs=1e-4),
    }
    assert [action["energy"] for action in dram["actions"]] == [1.3e-9] * 2  # Horowitz: 64 bits
    assert spec["workload"]["einsums"] == [
        {
            "einsum": "O_0[m0, p0, q0] = I_0[c0, H: p0 * 2 + r0 * 1, W: q0 * 2 + s0 * 1]"
            " * F_0[m0, c0, r0, s0]",
            "iteration_space_shape": [
                "0 <= p0 < 2", "0 <= q0 < 2", "0 <= c0 < 4", "0 <= m0 < 2", "0 <= r0 < 1",
                "0 <= s0 < 1",
            ],
            "renames": {"input": "I_0", "weight": "F_0", "output": "O_0"},
        }
    ]  # fmt: skip


ACCELFORGE_RUN = """
import sys, json, accelforge
mappings = accelforge.Spec.from_yaml(sys.argv[1]).map_workload_to_arch()
energy = mappings.energy(per_component=True, per_tensor=True)
dram = {tensor: float(joule) for (part, tensor), joule in energy.items() if part == "DRAM"}
print(json.dumps(dram))
"""


def test_accelforges_dram_energy_is_that_of_the_measured_bits(strided, tmp_path):
    python = ROOT / "build/accelforge/bin/python"
    if not any(python.parents[1].glob(".accelforge==*")):  # as make leaves it when all is installed
        pytest.skip("no AccelForge in build/accelforge: `make test-accelforge`, with Python 3.12")
    (tmp_path / "strided.yaml").write_text(simulators.accelforge(strided, "strided"))
    run = subprocess.run(
        [python, "-c", ACCELFORGE_RUN, "strided.yaml"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    joule = json.loads(run.stdout.splitlines()[-1])
    bit = 1.3e-9 / 64
    # It reads the pixels that a stride visits, four of nine, each once; weights are not compressed.
    assert joule["F_0"] == pytest.approx(8 * 8 * bit)
    ratio = strided.inputs["traffic_ratio"]["0"]
    assert joule["I_0"] == pytest.approx(16 * 8 / ratio * bit, rel=1e-4)
    ratio = strided.layers["traffic_ratio"]["1#1"]
    assert joule["O_0"] == pytest.approx(8 * 8 / ratio * bit, rel=1e-4)


# ---- ZigZag --------------------------------------------------------------------------------------

ZIGZAG_RUN = """
import os, sys, zigzag
from zigzag.api import get_hardware_performance_zigzag
inputs = os.path.dirname(zigzag.__file__) + "/inputs/"
get_hardware_performance_zigzag(
    "workload.yaml", inputs + "hardware/tpu_like.yaml", inputs + "mapping/tpu_like.yaml",
    opt="energy", dump_folder="results", lpf_limit=4, loma_show_progress_bar=False,
)
"""
DRAM_PJ_PER_BIT = {"I": 700 / 64, "O": 750 / 64}  # of its tpu_like: reading, writing


def test_zigzags_dram_energy_falls_by_the_ratio_and_nothing_else_does(
    measured, simulators_python, tmp_path, capsys
):
    hardware_report.export_simulators(measured, "small", tmp_path)
    (tmp_path / "workload.yaml").write_text((tmp_path / "zigzag/small.yaml").read_text())
    subprocess.run(
        [simulators_python, "-c", ZIGZAG_RUN], cwd=tmp_path, check=True, capture_output=True
    )
    ratios = json.loads((tmp_path / "zigzag/small_ratios.json").read_text())
    assert ratios["0"]["I"] == measured.inputs["traffic_ratio"]["0"]
    assert ratios["0"]["O"] == ratios["2"]["I"] == measured.layers["traffic_ratio"]["1#1"]
    assert ratios["2"]["O"] == 1  # no ReLU
    # Every word crosses once, with its true width; the stride leaves out a row and a column.
    words = {"0": {"I": 3 * 19 * 15, "O": 8 * 8 * 6}, "2": {"I": 8 * 8 * 6, "O": 4 * 8 * 6}}
    for name, of_layer in words.items():
        result = json.loads((tmp_path / f"results/{name}_complete.json").read_text())
        after = zigzag.compressed(result, ratios[name])["outputs"]["energy"]
        before = result["outputs"]["energy"]
        saved = 0.0
        for operand, count in of_layer.items():
            levels = before["memory_energy_breakdown_per_level"][operand]
            found = after["memory_energy_breakdown_per_level"][operand]
            assert levels[-1] == pytest.approx(8 * count * DRAM_PJ_PER_BIT[operand], rel=0.01)
            assert found[-1] == pytest.approx(levels[-1] / ratios[name][operand])
            assert found[:-1] == levels[:-1]
            saved += levels[-1] - found[-1]
        assert after["energy_total"] == pytest.approx(before["energy_total"] - saved)
    zigzag.main([str(tmp_path / "results"), str(tmp_path / "zigzag/small_ratios.json")])
    assert capsys.readouterr().out.splitlines()[-1].split()[0] == "total"


def test_partial_sums_in_zigzags_outermost_memory_are_an_error():
    accesses = {"rd_out_to_low": 0, "wr_in_by_low": 8.0, "rd_out_to_high": 0, "wr_in_by_high": 0}
    energy = {
        "energy_total": 30.0,
        "memory_energy": 20.0,
        "memory_energy_breakdown_per_level": {"O": [2.0, 8.0]},
        "memory_energy_breakdown_per_level_per_operand": {"O": [{}, accesses]},
    }
    result = {"outputs": {"energy": energy}}
    after = zigzag.compressed(result, {"O": 2.0})["outputs"]["energy"]
    assert (after["energy_total"], after["memory_energy"]) == (26, 16)
    accesses["rd_out_to_low"] = 4.0
    with pytest.raises(ValueError, match="partial sums are read back"):
        zigzag.compressed(result, {"O": 2.0})


def test_zigzags_workload_is_the_convolution_it_stands_for():
    """Each edge differs from the other, so that none stands in the other's place."""
    layer = torch.nn.Conv2d(4, 8, (3, 5), stride=(2, 1), dilation=(1, 2), groups=2, padding=(1, 2))
    found = study_of(torch.nn.Sequential(layer), 4, 20, 16)
    [described] = yaml.safe_load(zigzag.workload(found))
    sizes = dict(zip(described["loop_dims"], described["loop_sizes"], strict=True))
    assert sizes == {"B": 1, "G": 2, "K": 4, "C": 2, "OY": 10, "OX": 12, "FY": 3, "FX": 5}
    assert described["dimension_relations"] == ["ix=1*ox+2*fx", "iy=2*oy+1*fy"]
    assert described["pr_loop_sizes"] == [16, 20]
    assert described["padding"] == [[2, 2], [1, 0]]
    assert described["operand_precision"] == {"W": 8, "I": 8, "O": 16, "O_final": 8}


def test_every_convolution_is_exported(measured, tmp_path):
    hardware_report.export_simulators(measured, "small", tmp_path)
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {
        "accelforge/small.yaml",
        "scale-sim/small.csv",
        "scale-sim/small_compression.csv",
        "zigzag/small.yaml",
        "zigzag/small_ratios.json",
    }
    for name in ("0", "2"):
        assert (
            f"\n- id: {int(name) // 2}\n  name: '{name}'\n"
            in "\n" + (tmp_path / "zigzag/small.yaml").read_text()
        )
