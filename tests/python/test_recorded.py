"""The recorded maps, the network that replays them, and what comes before it."""

from __future__ import annotations

import operator
import socket
import warnings
from urllib.error import URLError

import pytest
import torch
from helpers import assert_same_bits

import torch_ebpc
from evaluation.bench import choice
from evaluation.common import networks
from evaluation.common.inputs import find_inputs
from evaluation.common.networks import NoWeightsError
from evaluation.paper import resnet34
from evaluation.recorded import __main__ as program
from evaluation.recorded import network as recorded
from evaluation.recorded import recording
from torch_ebpc.cli.networks import LoadedModel


@pytest.fixture(scope="module")
def content():
    return recording.read()


@pytest.fixture(scope="module")
def network():
    return recorded.load()[0].model


@pytest.fixture
def no_data(tmp_path, monkeypatch):
    """Neither a data folder nor a network to download from."""
    monkeypatch.setenv("TORCH_EBPC_DATA", str(tmp_path))
    monkeypatch.setattr(networks, "load_torchvision", load_without_network)


def load_without_network(name, weights=None, *, untrained=False):
    if weights is None and not untrained:
        assert socket.getdefaulttimeout() == networks.DOWNLOAD_SECONDS
        raise URLError("no network")
    return loaded(name, "untrained" if untrained else f"file {weights.name}", not untrained)


def loaded(name, weights, trained=True):
    return LoadedModel(name, torch.nn.Identity(), torch.asarray, weights, "", trained)


# ---- The file ------------------------------------------------------------------------------------


def test_the_file_has_what_the_script_records(shared_data, content):
    found = recording.record(shared_data / "weights" / "resnet34.pth")
    assert list(found["maps"]) == list(content["maps"])
    for name, x in found["maps"].items():
        assert_same_bits(x, content["maps"][name])
    versions = {"torch", "torchvision", "pillow", "scikit-image", "torch_ebpc"}
    assert found["provenance"].keys() == content["provenance"].keys() > versions
    for key in found["provenance"].keys() - versions:
        assert found["provenance"][key] == content["provenance"][key]


def test_the_file_is_of_containers_and_small():
    stored = torch.load(recording.FILE, weights_only=True)
    assert len(stored["maps"]) == 33
    for packed in stored["maps"].values():
        assert torch_ebpc.inspect(packed).dtype == torch.bfloat16
    assert recording.FILE.stat().st_size < 3_000_000


def test_other_maps_than_the_files_are_named(monkeypatch, capsys, content):
    changed = content["maps"] | {"layer2.1.relu#2": content["maps"]["layer2.1.relu#2"] + 1}
    monkeypatch.setattr(recording, "record", lambda weights: content)
    assert program.main([]) == 0
    assert "photograph: rocket.jpg" in capsys.readouterr().out
    monkeypatch.setattr(recording, "record", lambda weights: content | {"maps": changed})
    assert program.main([]) == 1
    assert capsys.readouterr().err == "not what is recorded now: layer2.1.relu#2\n"


# ---- The network ---------------------------------------------------------------------------------


def test_a_relu_gives_its_recorded_map_for_every_image(network, content):
    seen = {}

    def see(tap, x):
        seen[tap.name] = x.clone()

    with torch.inference_mode(), torch_ebpc.Taps(network, see):
        output = network(torch.randn(2, 3, 224, 224))
    assert list(seen) == list(content["maps"])
    for name, x in content["maps"].items():
        assert_same_bits(seen[name], x.float().expand(2, -1, -1, -1))
    assert_same_bits(output, seen["layer4.2.relu#2"].mean((2, 3)))


def test_a_convolution_gets_what_the_relu_before_it_gave(network, content):
    before = {
        "layer1.0.conv2": "layer1.0.relu#1",
        "layer1.1.conv1": "layer1.0.relu#2",
        "layer2.0.conv1": "layer1.2.relu#2",
        "layer2.0.downsample.0": "layer1.2.relu#2",
    }
    seen = {}
    with (
        torch.inference_mode(),
        torch_ebpc.Taps(network, lambda tap, x: seen.update({tap.layer: x}), list(before),
                        of="inputs"),
    ):  # fmt: skip
        network(torch.zeros(1, 3, 224, 224))
    for convolution, relu in before.items():
        assert_same_bits(seen[convolution], content["maps"][relu].float())


def test_nothing_is_added_since_the_sums_are_not_recorded(network):
    seen = []
    taps = torch_ebpc.Taps(network, lambda tap, x: seen.append(tap), [], functions=[operator.add])
    with torch.inference_mode(), taps:
        network(torch.zeros(1, 3, 224, 224))
    assert seen == []


def test_random_numbers_go_on_as_if_nothing_had_been_loaded():
    state = torch.get_rng_state()
    recorded.load()
    assert torch.equal(torch.get_rng_state(), state)


def test_no_relu_writes_into_a_recorded_map(network):
    with torch.inference_mode():
        for module in network.modules():
            if isinstance(module, torch.nn.ReLU):
                x = torch.tensor([-1.0])
                assert module(x).item() == 0
                assert x.item() == -1


def test_compression_is_inserted_and_scripted(network):
    image = torch.zeros(1, 3, 224, 224)
    quantizer = torch_ebpc.Quantizer(8, True, "truncate", "calibrated", 0.75)
    with torch.no_grad():
        model = torch_ebpc.insert_compression(network, example_inputs=image, quantizer=quantizer)
        with warnings.catch_warnings():  # which say that TorchScript is deprecated
            warnings.simplefilter("ignore", DeprecationWarning)
            scripted = torch.jit.script(model)
        scripted(image)
    total = torch_ebpc.compression_report(scripted).total()
    assert (total.values, round(total.ratio("ebpc"), 3)) == (3_562_496, 2.158)


@pytest.mark.parametrize("kernel", [k for k in torch_ebpc.kernels() if k != "portable"])
@pytest.mark.parametrize("base", ["sent", "reused"])
def test_every_kernel_makes_the_same_containers_of_real_maps(content, kernel, base):
    for x in content["maps"].values():
        top = x.max().item()
        for words in (x, (x.float() * (95 / top)).to(torch.int8)):
            with torch_ebpc.use_kernel("portable"):
                expected = torch_ebpc.compress(words, base=base)
            with torch_ebpc.use_kernel(kernel):
                packed = torch_ebpc.compress(words, base=base)
                assert torch.equal(packed, expected)
                assert_same_bits(torch_ebpc.decompress(packed), words)


# ---- Which network it is -------------------------------------------------------------------------


def test_without_weights_the_recorded_maps_are_measured(no_data, tmp_path, capsys):
    assert resnet34.main(["--output", str(tmp_path / "report"), "--methods", "ebpc"]) == 0
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert lines[0] == "TorchVision's resnet34 cannot be downloaded: <urlopen error no network>"
    assert lines[1].endswith(
        "recorded maps take their place (your own: --weights FILE --images DIR)"
    )
    assert "*** RECORDED MAPS of one photograph: these are not the paper's numbers ***" in lines
    assert "total ratio (of sums): ebpc 2.158" in printed.out
    report = torch_ebpc.Report.from_json((tmp_path / "report" / "report.json").read_text())
    assert len(report.rows) == 33
    assert report.title == (
        "RECORDED MAPS of one photograph: these are not the paper's numbers; resnet34; weights:"
        " none; recorded maps of resnet34.pth, a stand-in, not TorchVision's"
    )
    assert report.provenance["images"].startswith("rocket.jpg of scikit-image")


def test_weights_come_in_a_fixed_order(no_data, tmp_path, monkeypatch):
    def weights(*arguments):
        return find_inputs(*arguments)[0].weights

    assert weights() == "none; recorded maps of resnet34.pth, a stand-in, not TorchVision's"
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "resnet34.pth").touch()
    assert weights().startswith("stand-in resnet34.pth from the data folder")
    given = tmp_path / "given.pth"
    assert weights("resnet34", given) == "file given.pth"
    official = loaded("resnet34", "TorchVision's")
    monkeypatch.setattr(
        networks, "load_torchvision", lambda name, weights=None, **options: official
    )
    assert weights() == "TorchVision's"


def test_a_network_is_untrained_only_where_it_is_asked_for(no_data, tmp_path):
    with pytest.raises(NoWeightsError, match=r"no weights of resnet18: .*; give --weights FILE"):
        find_inputs("resnet18")
    network, _ = find_inputs("resnet18", untrained=True)
    assert network.warning.startswith("UNTRAINED NETWORK")
    with pytest.raises(ValueError, match="an untrained network has no weights"):
        find_inputs("resnet18", tmp_path / "w.pth", untrained=True)


def test_images_of_ones_own_are_not_replaced_by_the_recorded_photograph(no_data, tmp_path):
    with pytest.raises(NoWeightsError, match="give --weights FILE, or --untrained"):
        find_inputs(folder=tmp_path)


def test_of_recorded_maps_no_convolutions_are_measured(no_data, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(
        choice.throughput,
        "feature_maps",
        lambda network, images, module: seen.append(module) or {},
    )
    monkeypatch.setattr(choice, "tables", lambda choices: "")
    assert choice.main([]) == 0
    assert seen == [torch.nn.ReLU]
