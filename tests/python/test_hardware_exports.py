"""Exports against what the tools that read them have published."""

import csv
import io
import re

import pytest
import torch
import yaml

from evaluation.hardware import report, simulators, stimuli, study
from evaluation.hardware.__main__ import make_parser, options_from
from evaluation.hardware.maps import Convolution, MapRecorder
from torch_ebpc.hardware import run_encoder

# SCALE-Sim v2, topologies/sparsity/Resnet18.csv: the header and two of its lines.
SCALE_SIM_HEADER = (
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter,"
    " Strides,"
)
SCALE_SIM_LINES = ["Conv1,224,224,7,7,3,64,2,", "Conv3_s,56,56,1,1,64,128,2,"]

# Sparseloop's MICRO 2022 artifact, fig. 12, workload/mobilenet0.5-sparse/uniform/L07.yaml: the
# instance, and how its keys are spelled.
SPARSELOOP_INSTANCE = """
M: 64
E: 32
F: 32
R: 1
S: 1
N: 1
G: 1
C: 64
densities:
  Inputs:
    distribution: hypergeometric
    density: 0.73
  Weights:
    distribution: hypergeometric
    density: 0.52
"""
SPARSELOOP_SHAPE_KEYS = {"name", "dimensions", "coefficients", "data-spaces"}
# The same artifact, fig. 15, sparsity_schemes/2-4.yaml.
FIXED_STRUCTURED = "A:\n  distribution: fixed-structured\n  density: 0.5\n"
# timeloopfe/v4/problem.py: what it declares.
TIMELOOP_DISTRIBUTIONS = {"fixed_structured", "hypergeometric", "banded"}
TIMELOOP_SHAPE_KEYS = {"name", "dimensions", "data_spaces", "coefficients"}


@pytest.fixture
def words():
    return (torch.randn(4, 6, 5) * 30).relu().clamp(max=127).to(torch.int8)


@pytest.fixture
def measured():
    options = options_from(make_parser().parse_args([]))
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 5, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 1)
    )
    found = study.Study(options)
    with MapRecorder(model, options.quantizer).entered() as recorder:
        image = torch.randn(3, 20, 16)
        recorder.calibrate(image)
        found.add_image(recorder.record(image))
    return found


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


def feed(text, has_last):
    """Beats as the published driver reads them (rtl_tb/hs_drivers.sv): "%b %b" or "%b" until the
    end of the file, asked for before each read."""
    tokens, beats = text.split(), []
    assert not text.endswith("\n")
    while tokens:
        word = tokens.pop(0)
        beats.append((word, tokens.pop(0)) if has_last else word)
    return beats


def test_the_published_test_bench_can_read_its_files(words, tmp_path):
    run = run_encoder(words)
    writer = stimuli.StimuliWriter(tmp_path, signed=True, hexadecimal=False, published=True)
    writer.add("relu", words, run)
    writer.close()
    patterns = [f"{word & 0xFF:08b}" for word in words.flatten().tolist()]
    with_last = list(zip(patterns, ["0"] * 119 + ["1"], strict=True))
    zero = [f"{word:08b}" for word in run.zero_stream.tolist()]
    plane = [f"{word:08b}" for word in run.plane_stream.tolist()]
    # The names are those of the published test benches behind their prefix.
    for path, has_last, expected in (
        ("encoder/relu_input.stim", True, with_last),
        ("encoder/relu_bpc.expresp", False, plane),
        ("encoder/relu_znz.expresp", False, zero),
        ("decoder/relu_num_words_input.stim", False, [f"{120:024b}"]),
        ("decoder/relu_bpc_input.stim", False, plane),
        ("decoder/relu_znz_input.stim", False, zero),
        ("decoder/relu_data_output.expresp", True, with_last),
    ):
        assert feed((tmp_path / "published" / path).read_text(), has_last) == expected
    assert not (tmp_path / "hexadecimal").exists()


@pytest.mark.parametrize(("word_bits", "digits"), [(4, 1), (8, 2), (12, 3), (16, 4)])
def test_hexadecimal_has_the_digits_of_a_word(word_bits, digits):
    largest = (1 << word_bits) - 1
    assert stimuli.hexadecimal([0, largest], word_bits) == f"{'0' * digits} 0\n{'f' * digits} 1"


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


def test_the_topology_is_written_as_scale_sims_own():
    conv1 = Convolution("Conv1", (3, 224, 224), (64, 112, 112), (7, 7), (2, 2), 1)
    shortcut = Convolution("Conv3_s", (64, 56, 56), (128, 28, 28), (1, 1), (2, 2), 1)
    text = simulators.scale_sim_topology([conv1, shortcut])
    assert text.splitlines() == [SCALE_SIM_HEADER, *SCALE_SIM_LINES]
    assert scale_sim_reads(text) == [
        ["Conv1", 224, 224, 7, 7, 3, 64, 2],
        ["Conv3_s", 56, 56, 1, 1, 64, 128, 2],
    ]


@pytest.mark.parametrize(
    "changes", [{"groups": 2}, {"stride": (1, 2)}, {"name": "DP1"}, {"name": "a,b"}]
)
def test_what_the_topology_cannot_say_is_an_error(changes):
    fields = {"name": "conv", "stride": (1, 1), "groups": 1} | changes
    layer = Convolution(
        fields["name"], (4, 8, 8), (4, 6, 6), (3, 3), fields["stride"], fields["groups"]
    )
    with pytest.raises(ValueError, match="the topology"):
        simulators.scale_sim_topology([layer])


def test_the_table_joins_with_the_topology_line_by_line(measured):
    convolutions = [row.convolution for row in measured.convolutions.values()]
    topology = scale_sim_reads(simulators.scale_sim_topology(convolutions))
    rows = list(csv.DictReader(io.StringIO(simulators.scale_sim_compression(measured))))
    assert [row["Layer name"] for row in rows] == [layer[0] for layer in topology] == ["0", "2"]
    assert [row["LayerID"] for row in rows] == ["0", "1"]
    for row, (_, height, width, _, _, channels, *_) in zip(rows, topology, strict=True):
        assert int(row["ifmap_words"]) == height * width * channels
    first, second = rows
    # The first convolution's map is what the second one reads; the second one has no ReLU.
    assert first["ofmap_layer"] == "1#1"
    assert first["ofmap_density"] == second["ifmap_density"]
    assert first["ofmap_traffic_ratio"] == second["ifmap_traffic_ratio"]
    assert second["ofmap_layer"] == second["ofmap_density"] == ""


# ---- Timeloop and Sparseloop ---------------------------------------------------------------------


def test_sparseloops_workload_has_the_published_keys(measured):
    row = measured.convolutions["0"]
    problem = simulators.timeloop_problem(row, 0.5, "0.3")["problem"]
    published = yaml.safe_load(SPARSELOOP_INSTANCE)
    assert set(problem) == {"shape", "instance"}
    assert set(problem["shape"]) == SPARSELOOP_SHAPE_KEYS
    assert set(problem["shape"]["dimensions"]) == set(published) - {"densities"}
    assert set(problem["instance"]) - set(published) == {"Wstride", "Hstride"}
    names = {space["name"] for space in problem["shape"]["data-spaces"]}
    assert set(problem["instance"]["densities"]) | {"Weights"} == names
    for entry in problem["instance"]["densities"].values():
        assert set(entry) == set(published["densities"]["Inputs"])
        assert entry["distribution"] == "hypergeometric"
        assert 0 < entry["density"] <= 1
    assert problem["instance"]["densities"]["Inputs"]["density"] == pytest.approx(
        row.density, abs=1e-6
    )


def test_a_density_is_written_as_published():
    entry = simulators.density(0.73, "hypergeometric", "0.3")
    assert entry == yaml.safe_load(SPARSELOOP_INSTANCE)["densities"]["Inputs"]
    entry = simulators.density(0.5, "fixed-structured", "0.3")
    assert {"A": entry} == yaml.safe_load(FIXED_STRUCTURED)
    for distribution in ("hypergeometric", "fixed-structured"):
        found = simulators.density(0.5, distribution, "0.4")
        assert found["distribution"] in TIMELOOP_DISTRIBUTIONS


def test_timeloops_version_0_4_has_its_own_spelling(measured):
    problem = simulators.timeloop_problem(measured.convolutions["2"], None)["problem"]
    assert set(problem) == {"version", "shape", "instance"}
    assert problem["version"] == 0.4
    assert set(problem["shape"]) == TIMELOOP_SHAPE_KEYS
    assert all(
        set(space) <= {"name", "projection", "read_write"}
        for space in problem["shape"]["data_spaces"]
    )
    assert set(problem["instance"]["densities"]) == {"Inputs"}


def test_a_problem_is_the_convolution_it_stands_for(measured):
    instance = simulators.timeloop_problem(measured.convolutions["0"], None)["problem"]["instance"]
    del instance["densities"]
    assert instance == {"M": 8, "E": 6, "F": 8, "R": 5, "S": 5, "N": 1, "G": 1, "C": 3,
                        "Wstride": 2, "Hstride": 2}  # fmt: skip


def test_every_convolution_is_exported(measured, tmp_path):
    report.export_simulators(measured, "small", tmp_path)
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {
        "scale-sim/small.csv",
        "scale-sim/small_compression.csv",
        *(f"{folder}/{name}.yaml" for folder in ("sparseloop", "timeloop") for name in "02"),
    }
    for path in tmp_path.glob("*/*.yaml"):
        assert yaml.safe_load(path.read_text())["problem"]["instance"]["densities"]
