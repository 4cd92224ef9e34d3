"""``torch-ebpc measure`` and ``report``."""

from __future__ import annotations

import csv
import io
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import paper_example
import pytest
import torch
from helpers import error_of, missing
from torch import nn

import torch_ebpc
from torch_ebpc.cli import measure as command
from torch_ebpc.cli.main import main
from torch_ebpc.cli.networks import import_torchvision
from torch_ebpc.cli.settings import FLOATS

pytestmark = [
    pytest.mark.usefixtures("in_folder"),
    pytest.mark.filterwarnings("ignore:(?s).*deprecated"),
]
IMAGES = 5


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    paper_example.write_images(folder, IMAGES)
    return folder


@pytest.fixture
def tiny(monkeypatch) -> nn.Module:
    """Stands for every TorchVision network: two ReLU modules, three calls."""
    network = paper_example.tiny_network()
    monkeypatch.setattr(command, "load_torchvision", lambda *arguments, **options: network)
    return network.model


# ---- measure -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tiny")
def test_the_table_is_printed_and_the_files_written(photos, capsys):
    files = ["--csv", "r.csv", "--json", "r.json", "--md", "r.md", "--plot", "r.svg"]
    assert main(["measure", "tiny", "--images", str(photos), "--verify", *files]) == 0
    printed = capsys.readouterr()
    report = torch_ebpc.Report.from_json(Path("r.json").read_text())
    assert printed.out == f"{report}\n"
    assert [row.name for row in report.rows] == ["1#1", "2.relu#1", "2.relu#2"]
    assert {row.images for row in report.rows} == {IMAGES}
    assert report.total().verified_values == report.total().values
    assert report.provenance["settings"]["bits"] == 8
    assert report.provenance["images"].endswith(f", {IMAGES}")
    assert Path("r.csv").read_text() == report.to_csv()
    assert report.table("github") in Path("r.md").read_text()
    assert Path("r.svg").read_text().startswith("<?xml")
    assert "UNTRAINED NETWORK" in printed.err
    assert "top-1: " in printed.err


@pytest.mark.usefixtures("tiny")
def test_every_setting_reaches_the_meter(photos):
    arguments = "--limit 3 --batch-size 2 --dtype bfloat16 --methods zvc bpc --block-size 16"
    arguments += " --base reused --mode observe --layers Conv2d 2.relu --of inputs --json r.json"
    assert main(["measure", "tiny", "--images", str(photos), *arguments.split()]) == 0
    report = torch_ebpc.Report.from_json(Path("r.json").read_text())
    assert report.methods == ("zvc", "bpc")
    assert [row.layer for row in report.rows] == ["0", "2.conv1", "2.relu", "2.conv2", "2.relu"]
    assert {(row.word_bits, row.images) for row in report.rows} == {(16, 3)}
    assert report.provenance["code"] == {"block_size": 16, "max_zero_run": 16, "base": "reused"}
    assert (report.provenance["mode"], report.provenance["of"]) == ("observe", "inputs")


def test_activations_that_are_not_measured_are_named(photos, monkeypatch, capsys):
    network = paper_example.tiny_network()
    network.model.append(nn.Hardswish())
    monkeypatch.setattr(command, "load_torchvision", lambda *arguments, **options: network)
    assert main(["measure", "tiny", "--images", str(photos)]) == 0
    line = "not measured: Hardswish; --layers ReLU Hardswish does\n"
    assert line in capsys.readouterr().err
    assert main(["measure", "tiny", "--images", str(photos), "--layers", "ReLU", "Hardswish"]) == 0
    printed = capsys.readouterr()
    assert line not in printed.err
    assert printed.out.count("#1") == 3


@pytest.mark.usefixtures("tiny")
def test_a_class_of_another_spelling_is_an_error_with_the_right_one(photos, capsys):
    assert main(["measure", "tiny", "--images", str(photos), "--layers", "hardswish"]) == 2
    assert error_of(capsys) == "layers: there is no 'hardswish'; the class is Hardswish"


@pytest.mark.usefixtures("tiny")
def test_words_and_their_order_reach_the_meter(photos):
    run = ["measure", "tiny", "--images", str(photos), "--limit", "2", "--mode", "observe"]
    words = ["--affine", "--order", "nhwc", "--layers", "Conv2d", "--json", "a.json"]
    assert main([*run, *words]) == 0
    report = torch_ebpc.Report.from_json(Path("a.json").read_text())
    assert report.provenance["quantizer"]["affine"] is True
    assert report.provenance["order"] == "nhwc"
    assert all(-128 < row.zero < 127 for row in report.rows)
    for dtype in FLOATS:
        assert main([*run, "--dtype", dtype, "--zero", "-0.0", "--json", f"{dtype}.json"]) == 0
        report = torch_ebpc.Report.from_json(Path(f"{dtype}.json").read_text())
        assert {row.dtype for row in report.rows} == {dtype}


@pytest.mark.usefixtures("tiny")
def test_functions_alone_and_native_words_are_measured(photos):
    arguments = ["--functions", "add", "--dtype", "native", "--json", "r.json"]
    assert main(["measure", "tiny", "--images", str(photos), *arguments]) == 0
    (row,) = torch_ebpc.Report.from_json(Path("r.json").read_text()).rows
    assert (row.name, row.word_bits) == ("2.add#1", 32)


@pytest.mark.parametrize("kind", ["TorchScript", "exported"])
def test_a_file_is_measured_as_the_network_that_it_was_made_of(
    tiny, photos, kind, monkeypatch, capsys
):
    monkeypatch.setattr(command, "prepared_as", lambda name: paper_example.to_tensor)
    assert main(["measure", "tiny", "--images", str(photos), "--json", "a.json"]) == 0
    sample = torch.randn(IMAGES, 3, 21, 21)
    if kind == "TorchScript":
        torch.jit.save(torch.jit.script(tiny), "model.pt")
    else:
        torch.export.save(torch.export.export(tiny, (sample,)), "model.pt")
    arguments = ["measure", "model.pt", "--images", str(photos), "--json", "b.json"]
    assert main(arguments) == 0
    capsys.readouterr()
    assert main(["report", "a.json", "b.json", "--tolerance", "0"]) == 0
    report = torch_ebpc.Report.from_json(Path("b.json").read_text())
    assert [row.name for row in report.rows] == ["1#1", "2.relu#1", "2.relu#2"]
    assert report.provenance["weights_sha256"]
    if kind == "exported":  # for batches of five images alone
        assert main([*arguments, "--force", "--batch-size", "2"]) == 0
        assert main([*arguments, "--force", "--limit", "4"]) == 2
        assert error_of(capsys) == "model.pt takes batches of 5 images or more, got 4"


def small_program() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())


def test_a_static_batch_is_the_programs_and_the_rest_is_left_out(photos, monkeypatch, capsys):
    monkeypatch.setattr(command, "prepared_as", lambda name: paper_example.to_tensor)
    sample = torch.randn(2, 3, 21, 21)
    torch.export.save(torch.export.export(small_program(), (sample,)), "model.pt2")
    assert main(["measure", "model.pt2", "--images", str(photos), "--json", "r.json"]) == 0
    assert ", 4; left out, too few for one more batch: 1\n" in capsys.readouterr().err
    report = torch_ebpc.Report.from_json(Path("r.json").read_text())
    assert report.total().images == 4
    assert report.provenance["settings"]["batch_size"] == 2


def test_a_traced_convolution_is_measured_by_its_name_in_the_graph(photos, monkeypatch, capsys):
    monkeypatch.setattr(command, "prepared_as", lambda name: paper_example.to_tensor)
    load = torch.jit.load

    def advising(*arguments, **options):
        warnings.warn("torch.jit.load is deprecated", FutureWarning, stacklevel=2)
        return load(*arguments, **options)

    torch.jit.save(torch.jit.trace(small_program(), torch.randn(2, 3, 21, 21)), "model.pt")
    monkeypatch.setattr(torch.jit, "load", advising)
    arguments = ["measure", "model.pt", "--images", str(photos), "--functions"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        assert main([*arguments, "_convolution", "--json", "r.json"]) == 0
    (row,) = torch_ebpc.Report.from_json(Path("r.json").read_text()).rows
    assert row.name == "0._convolution#1"
    assert main([*arguments, "conv2d"]) == 2
    assert "a traced file's convolutions are _convolution" in error_of(capsys)


@pytest.mark.usefixtures("tiny")
def test_json_goes_down_a_pipe_into_report(photos, capsys, monkeypatch):
    arguments = ["measure", "tiny", "--images", str(photos), "--json"]
    assert main([*arguments, "a.json"]) == 0
    capsys.readouterr()
    assert main([*arguments, "-"]) == 0
    piped = capsys.readouterr().out
    report = torch_ebpc.Report.from_json(piped)
    assert len(report.rows) == 3
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped.encode())))
    assert main(["report", "-", "a.json", "--tolerance", "0"]) == 0


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --images, a folder of photographs, or --inputs, a file with the"),
        (["--images", "PHOTOS", "--inputs", "a.pt"], "give either --images, a folder of photogra"),
        (["--images", "nowhere"], "images: nowhere is not a folder"),
        (["--images", "PHOTOS", "--bits", "77"], "bits must be from 2 to 16, got 77"),
        (["--images", "PHOTOS", "--methods", "zip"], "methods must be of ebpc, bpc, zvc, "),
        (["--images", "PHOTOS", "--layers", "layer9"], "layers: the model has no module named"),
        (["--images", "PHOTOS", "--layers", "GELU"], "layers: no module of the model is a GELU"),
        (["--images", "PHOTOS", "--functions", "nothing"], "functions must be of torch or torch."),
        (
            ["--images", "PHOTOS", "--functions", "gelu"],
            "nothing was measured: never called: gelu()",
        ),
        (["--images", "PHOTOS", "--csv", "nowhere/r"], "nowhere/r: there is no folder nowhere"),
        (["--images", "PHOTOS", "--csv", "old"], "old exists already; --force replaces it"),
        (["--images", "PHOTOS", "--csv", "-", "--md", "-"], "'-' must stand for one file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments_are_refused(photos, capsys, arguments, message):
    Path("old").write_text("precious")
    arguments = [str(photos) if each == "PHOTOS" else each for each in arguments]
    assert main(["measure", "tiny", *arguments]) == 2
    assert error_of(capsys).startswith(message)
    assert Path("old").read_text() == "precious"


def test_a_file_that_is_no_program_is_refused(photos, capsys):
    torch.save({"a": torch.zeros(3)}, "state.pt")
    assert main(["measure", "state.pt", "--images", str(photos)]) == 2
    assert error_of(capsys) == (
        "state.pt: expected a file of torch.jit.save or torch.export.save. With a state dict, give"
        " the network's name as MODEL and the file as --weights"
    )
    assert main(["measure", "nothing.pt2", "--images", str(photos)]) == 2
    assert error_of(capsys) == "nothing.pt2: no such file"
    assert main(["measure", "state.pt", "--images", str(photos), "--untrained"]) == 2
    assert error_of(capsys).startswith("--weights and --untrained are for TorchVision's networks")
    assert main(["measure", "resnet3", "--images", str(photos)]) == 2
    assert error_of(capsys).startswith("model must be a TorchVision classification network, got ")


def test_weights_that_are_not_to_be_had_are_an_error_with_a_way_out(photos, capsys, monkeypatch):
    models = import_torchvision().models
    weights = type(models.ResNet18_Weights.IMAGENET1K_V1)

    def fail(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(weights, "get_state_dict", fail)
    assert main(["measure", "resnet18", "--images", str(photos)]) == 2
    assert error_of(capsys) == (
        "the weights of resnet18 are neither in PyTorch's cache nor can they be downloaded"
        " (no network): give --weights FILE, or --untrained"
    )


def test_torchvisions_networks_are_measured(photos, capsys):
    for each in ("squeezenet1_1", "mobilenet_v2"):
        layers = [] if each == "squeezenet1_1" else ["--layers", "ReLU6"]
        arguments = ["--images", str(photos), "--limit", "1", "--untrained", *layers]
        assert main(["measure", each, *arguments, "--json", "-"]) == 0
        report = torch_ebpc.Report.from_json(capsys.readouterr().out)
        assert report.title.startswith("UNTRAINED NETWORK")
        assert len(report.rows) == {"squeezenet1_1": 26, "mobilenet_v2": 35}[each]


def test_the_stand_in_is_measured_as_make_evaluate_does(shared_data, capsys):
    weights = shared_data / "weights" / "resnet34.pth"
    if not weights.exists():
        missing(f"no {weights}")
    arguments = ["--images", str(shared_data / "images"), "--weights", str(weights)]
    assert main(["measure", "resnet34", *arguments, "--limit", "2", "--json", "-"]) == 0
    report = torch_ebpc.Report.from_json(capsys.readouterr().out)
    assert len(report.rows) == 33
    assert report.total().values == 2 * 3_562_496


# ---- report --------------------------------------------------------------------------------------


def made_report(*layers: str, scale: int = 100, methods=("ebpc", "zvc")) -> torch_ebpc.Report:
    rows = []
    for i, layer in enumerate(layers):
        row = torch_ebpc.LayerRow(f"{layer}#1", layer, 1, (2, 3), 8, methods, images=1, values=1000)
        for method in methods:
            row.value_bits[method] = scale * (10 + i)
        rows.append(row)
    return torch_ebpc.Report(rows, methods, provenance={"kernel": str(scale), "date": str(scale)})


@pytest.fixture
def reports(in_folder):
    made_report("a", "b").to_json("1.json")
    made_report("a", "b", scale=101).to_json("2.json")
    made_report("a", "c", methods=("zvc", "csc")).to_json("3.json")


@pytest.mark.usefixtures("reports")
def test_a_report_is_shown_and_written_again(capsys):
    assert main(["report", "1.json", "--md", "r.md"]) == 0
    report = made_report("a", "b")
    assert capsys.readouterr().out == f"{report}\n"
    assert Path("r.md").read_text() == report.to_markdown()


@pytest.mark.usefixtures("reports")
def test_two_reports_stand_side_by_side(capsys):
    assert main(["report", "1.json", "2.json", "--csv", "c.csv", "--json", "c.json"]) == 0
    table = capsys.readouterr().out
    assert "kernel differs: 100 / 101" in table
    assert "date differs" not in table
    a = next(line.split() for line in table.splitlines() if line.startswith("a#1"))
    assert a == ["a#1", "8.000", "7.921", "-0.990", "8.000", "7.921", "-0.990"]
    records = list(csv.DictReader(io.StringIO(Path("c.csv").read_text())))
    assert [record["name"] for record in records] == ["a#1", "b#1", "total"]
    rows = json.loads(Path("c.json").read_text())["rows"]
    assert rows[0]["ebpc_first"] == 8
    assert rows[0]["ebpc_difference"] == pytest.approx(100 / 101 - 1)


@pytest.mark.usefixtures("reports")
def test_the_exit_code_says_whether_they_differ_by_more_than_the_tolerance(capsys):
    assert main(["report", "1.json", "1.json", "--tolerance", "0"]) == 0
    assert main(["report", "1.json", "2.json", "--tolerance", "0.01"]) == 0
    capsys.readouterr()
    assert main(["report", "1.json", "2.json", "--tolerance", "0.0098"]) == 1
    assert capsys.readouterr().err == (
        "6 ratios differ by more than 0.0098, most of all a#1's by EBPC: -0.0099\n"
    )


@pytest.mark.usefixtures("reports")
def test_rows_of_one_report_alone_are_shown_and_fail(capsys):
    assert main(["report", "1.json", "3.json"]) == 0
    table = capsys.readouterr().out
    assert next(line.split() for line in table.splitlines() if line.startswith("b#1")) == [
        "b#1", "7.273", "missing",
    ]  # fmt: skip
    assert main(["report", "1.json", "3.json", "--tolerance", "5"]) == 1
    assert capsys.readouterr().err == "in one report alone: b#1, c#1\n"


@pytest.mark.usefixtures("reports")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["1.json", "--tolerance", "0"], "--tolerance is for two reports, got one"),
        (["1.json", "3.json", "--methods", "csc"], "--methods must be of both reports' zvc, got"),
        (["1.json", "2.json", "--tolerance", "-1"], "--tolerance must be at least 0, got -1.0"),
        (["1.json", "2.json", "--plot", "x.svg"], "--plot is for one report, got two"),
        (["1.json", "--plot", "x.xyz"], "--plot x.xyz: expected one of ."),
        (["nothing.json"], "nothing.json: No such file or directory"),
        (["other.json"], "other.json: expected a report as Report.to_json writes it: KeyError"),
        (["text.json"], "text.json: expected a report as Report.to_json writes it: JSONDecodeErr"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_reports_are_refused(capsys, arguments, message):
    Path("other.json").write_text("{}")
    Path("text.json").write_text("hello")
    assert main(["report", *arguments]) == 2
    assert error_of(capsys).startswith(message)


def test_an_infinite_ratio_equals_itself(capsys):
    row = torch_ebpc.LayerRow("a#1", "a", 1, (), 8, ("csc",), values=10)
    for name in ("1.json", "2.json"):
        torch_ebpc.Report([row], ("csc",)).to_json(name)
    assert main(["report", "1.json", "2.json", "--tolerance", "0"]) == 0
    assert "inf" in capsys.readouterr().out


# ---- --inputs ------------------------------------------------------------------------------------


class Speech(nn.Module):
    """As a speech model: samples, and their rate as a number."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, 4, 3)

    def forward(self, samples: torch.Tensor, rate: int, gain: float = 1.0) -> torch.Tensor:
        if rate != 16000:
            raise ValueError("samples of 16 kHz")
        return torch.relu(self.convolution(gain * samples.unsqueeze(1)))


SAMPLES = torch.linspace(-1, 1, 2 * 50).view(2, 50)


def measured_inputs(*arguments: str) -> torch_ebpc.Report:
    assert main(["measure", *arguments, "--json", "r.json", "--force"]) == 0
    return torch_ebpc.Report.from_json(Path("r.json").read_text())


@pytest.mark.parametrize("kind", ["positions.npz", "names.npz", "list.pt", "names.pt"])
def test_a_model_of_several_arguments_is_called_with_those_of_a_file(kind, capsys):
    torch.jit.save(torch.jit.script(Speech()), "speech.pt")
    samples, rate = SAMPLES.numpy(), 16000
    if kind == "positions.npz":
        np.savez(kind, samples, rate)
    elif kind == "names.npz":
        np.savez(kind, samples=samples, rate=rate)
    else:
        content = [SAMPLES, rate] if kind == "list.pt" else {"samples": SAMPLES, "rate": rate}
        torch.save(content, kind)
    report = measured_inputs("speech.pt", "--inputs", kind, "--verify")
    (row,) = report.rows
    assert (row.name, row.images, row.values) == ("relu#1", 2, 2 * 4 * 48)
    name = "names" in kind
    described = "samples=float32 2x50, rate=16000" if name else "float32 2x50, 16000"
    assert report.provenance["inputs"] == f"{kind}: {described}"
    assert len(report.provenance["inputs_sha256"]) == 64
    assert f"inputs: {kind}: {described}\n" in capsys.readouterr().err


def test_an_exported_program_of_several_arguments_is_measured(photos, capsys, monkeypatch):
    program = torch.export.export(Speech(), (SAMPLES, 16000))
    torch.export.save(program, "speech.pt2")
    torch.save((SAMPLES, 16000), "inputs.pt")
    (row,) = measured_inputs("speech.pt2", "--inputs", "inputs.pt").rows
    assert row.values == 2 * 4 * 48
    monkeypatch.setattr(command, "prepared_as", lambda name: paper_example.to_tensor)
    assert main(["measure", "speech.pt2", "--images", str(photos)]) == 2
    assert error_of(capsys).endswith("found inputs ('samples', 16000): --inputs gives them")


@pytest.mark.usefixtures("tiny")
def test_one_array_is_the_only_argument():
    np.save("x.npy", np.zeros((2, 3, 21, 21), np.float32))
    assert measured_inputs("tiny", "--inputs", "x.npy").total().images == 2


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.pt", "nowhere.pt: No such file or directory"),
        ("text", "text: expected a .npy or .npz file, or tensors, numbers and strings by torch.sa"),
        ("module.pt", "module.pt: expected a .npy or .npz file, or tensors, numbers and strings"),
        ("objects.npy", "objects.npy: Object arrays cannot be loaded when allow_pickle=False"),
        ("empty.pt", "empty.pt: expected the arguments of a model, found none"),
        ("keys.pt", "keys.pt: expected names of arguments, found the keys [3]"),
    ],
)
def test_files_that_hold_no_arguments_are_refused(capsys, name, message):
    Path("text").write_text("hello")
    torch.save(nn.ReLU(), "module.pt")
    np.save("objects.npy", np.array([None]))
    torch.save([], "empty.pt")
    torch.save({3: SAMPLES}, "keys.pt")
    assert main(["measure", "tiny", "--inputs", name]) == 2
    assert error_of(capsys).startswith(message)


# ---- Without TorchVision -------------------------------------------------------------------------


def test_without_torchvision_inputs_are_measured_and_names_say_how_to_get_it(
    photos, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "torchvision", None)  # as if it were not installed
    torch.jit.save(torch.jit.script(Speech()), "speech.pt")
    torch.save((SAMPLES, 16000), "inputs.pt")
    assert len(measured_inputs("speech.pt", "--inputs", "inputs.pt").rows) == 1
    monkeypatch.setattr(torch, "__version__", "2.13.0+cpu")
    for model in ("resnet34", "speech.pt"):
        capsys.readouterr()
        assert main(["measure", model, "--images", str(photos)]) == 2
        assert error_of(capsys) == (
            "networks and preparation of images by name need TorchVision, which is not installed:"
            " pip install --no-deps 'torchvision==0.28.*' (leaves PyTorch 2.13.0)"
        )


def test_no_extra_but_vision_and_what_builds_on_it_wants_torchvision():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    (line,) = [line for line in text.splitlines() if "torchvision>=" in line]
    assert line.startswith("vision = ")
    using = [line for line in text.splitlines() if "torch_ebpc[" in line and "vision" in line]
    assert len(using) == 1, "extras of users do not replace their PyTorch"
