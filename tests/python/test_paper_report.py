"""The report of `evaluation.paper`: its figures, its files, and the check against stored ones."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import paper_example
import pytest
import torch
from helpers import look_at
from torch import Tensor, nn
from torch.nn import functional

import torch_ebpc
from evaluation.common.inputs import find_images
from evaluation.paper import expected, paper_report
from evaluation.paper.claims import verdicts
from evaluation.paper.figures import FIGURES
from evaluation.paper.paper_study import NothingToMeasureError, Study
from torch_ebpc.cli.images import PreparedImages
from torch_ebpc.cli.networks import LoadedModel, with_batch_statistics


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report") / "report"


@pytest.fixture(scope="module")
def study(output: Path) -> Study:
    paper_example.write_images(output.parent / "images")
    study = paper_example.measure(output.parent / "images", output)
    assert study is not None
    return study


def test_bits_equal_those_of_the_meter(study: Study) -> None:
    network = paper_example.tiny_network()
    images = PreparedImages(find_images(Path(study.images.files[0].path).parent), network.transform)
    batch = torch.stack([images[i][0] for i in range(7)])  # one batch of the rule
    quantizer = torch_ebpc.Quantizer(8, True, "truncate", "batch", 0.75)
    with (
        torch.inference_mode(),
        torch_ebpc.CompressionMeter(
            network.model, quantizer=quantizer, mode="observe", methods=("ebpc", "bpc", "zvc")
        ) as meter,
    ):
        network.model(batch)
    rows = meter.report().rows
    assert [row.name for row in rows] == [call.name for call in study.main.counts.calls]
    for method in ("ebpc", "bpc", "zvc"):
        counted = study.main.counts.bits[study.main.plan.by_type("fixed8", method)]
        assert [row.bits_after(method) for row in rows] == counted[:, :7].sum(1).tolist()


def test_counts_file_is_the_table(study: Study, output: Path) -> None:
    with (output / "counts.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    headline = study.main.plan.headline
    chosen = [row for row in rows if (row["tensors"], row["variant"]) ==
              (study.main.what, headline.key)]  # fmt: skip
    assert len(chosen) == len(study.main.counts.calls)
    total = sum(int(row[file.name]) for row in chosen for file in study.images.files)
    assert total == int(study.main.counts.bits[headline].sum())
    content = json.loads((output / "report.json").read_text())
    group = content["measured"][0]["groups"]["types"]
    assert group["variants"]["fixed8 ebpc"]["bits"] == total
    assert group["images"] == paper_example.IMAGES


def test_every_section_has_its_figures(study: Study, output: Path) -> None:
    text = (output / "report.html").read_text()
    for title in ("Methods and types", "The abstracts&#x27; claims", "All averages", "Every call",
                  "Ablations", "Gradients", "Symbols", "Provenance"):  # fmt: skip
        assert f"<summary>{title}</summary>" in text
    for name in FIGURES:
        assert (output / f"{name}.svg").stat().st_size > 1000
    assert "inputs of convolutions" in text
    assert "sums of residual additions" in text
    assert study.main.network.warning in text, "an untrained network is said to be one"


class References(HTMLParser):
    """Everything that a page refers to, and its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "data", "srcset", "action"):
                self.references.append(value or "")


def test_html_is_self_contained(study: Study, output: Path) -> None:
    text = (output / "report.html").read_text()
    page = References()
    page.feed(text)
    assert page.references
    assert all(each.startswith("data:") for each in page.references)
    assert page.tags.count("img") == len(FIGURES)
    assert page.tags.count("details") > 8
    assert not {"iframe", "object"} & set(page.tags)
    assert not re.search(r"@import|url\(", text)


def test_the_page_reads_well_in_a_browser(study: Study, output: Path) -> None:
    look_at(output / "report.html")


def test_the_summary_has_a_verdict_on_each_claim_in_a_line(study: Study) -> None:
    """Of the tiny network as of ResNet-34, whose claims they are."""
    for verdict in verdicts(study):
        line = verdict.in_a_line()
        assert line.startswith(f"{verdict.claim.source}: a ratio of {verdict.claim.ratio:g} is ")
        readings = verdict.readings[verdict.means]
        sums = readings[readings["average"] == "ratio of sums"]
        highest = sums["ratio"].max()
        met = "met" if round(highest, 1) >= verdict.claim.ratio else "NOT met"
        if not verdict.ratios_met(0)[verdict.means].any():
            assert f" is {met} against words of the type's own width" in line
        assert f"(ratio of sums {highest:.2f})" in line
        assert f"(ratio of sums {sums['gain_percent'].max():+.0f} %)." in line


def test_a_second_report_replaces_the_first_and_nothing_else(
    study: Study, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (output / "thesis.txt").write_text("mine")
    before = {path: path.read_bytes() for path in output.iterdir()}

    def fail(study: Study) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(paper_report, "counts_table", fail)
        with pytest.raises(KeyboardInterrupt):
            paper_report.write_report(study, output, {"seconds": 1})
    assert before == {path: path.read_bytes() for path in output.iterdir()}
    paper_report.write_report(study, output, {"seconds": 2})
    assert set(output.iterdir()) == set(before)
    assert (output / "thesis.txt").read_text() == "mine"
    assert json.loads((output / "report.json").read_text())["run"] == {"seconds": 2}


def test_gradients_of_inputs_are_zero_where_nothing_passes(study: Study) -> None:
    outputs, inputs = study.gradients
    assert all(each.negative for each in study.gradients)
    zvc = outputs.plan.by_type("bfloat16", "zvc")
    assert inputs.readings("types").ratio(zvc) > outputs.readings("types").ratio(zvc)
    assert outputs.plan.by_type("ufixed8") not in outputs.counts.bits


def test_a_silent_change_is_noticed(study: Study, tmp_path: Path) -> None:
    path = tmp_path / "expected.json"
    assert expected.check(study, path) is None
    expected.store(study, path)
    assert expected.check(study, path) == []
    entries = json.loads(path.read_text())
    name = next(iter(entries[0]["ratios"]))
    entries[0]["ratios"][name] *= 1.01
    entries[0]["ratios"]["no such figure"] = 1.0
    path.write_text(json.dumps(entries))
    deviations = expected.check(study, path)
    assert deviations is not None
    assert [each.split(": ")[0] for each in deviations] == [name.split(": ")[0], "no such figure"]
    entries[0]["identity"]["weights_sha256"] = "other"
    path.write_text(json.dumps(entries))
    assert expected.check(study, path) is None


def test_symbols_are_of_the_coded_words(study: Study) -> None:
    coded, headline = study.symbols, study.main.plan.headline
    images = [i for i in range(len(study.images.files)) if i % study.extent.symbols_every == 0]
    bits = int(study.main.counts.bits[headline][:, images].sum())
    assert coded.zero_bits + coded.plane_bits == bits
    assert coded.words == int(study.main.counts.words.sum()) * len(images)


class Functional(nn.Module):
    """Activations without modules."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 6, 3, stride=2), nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.conv(x))
        return self.linear(functional.silu(x).mean((2, 3)))


def other_networks() -> dict[str, nn.Module]:
    return {
        "functional": Functional(),
        "SiLU": nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2), nn.SiLU(inplace=True), nn.Conv2d(6, 6, 3), nn.Hardswish(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10),
        ),
        "batch statistics": nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU6(inplace=True),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10),
        ),
    }  # fmt: skip


CALLS = {
    "functional": ["relu#1", "silu#1"],
    "SiLU": ["1#1", "3#1"],
    "batch statistics": ["2#1"],
}


@pytest.mark.parametrize("name", CALLS)
def test_other_activations_are_found_and_reported(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = LoadedModel(
        name, other_networks()[name].eval(), paper_example.to_tensor, "seed 0", "", trained=False
    )
    if name == "batch statistics":
        network = with_batch_statistics(network)
        assert network.batch_statistics
    paper_example.write_images(tmp_path / "images", 6)
    study = paper_example.measure(tmp_path / "images", tmp_path / "report", network)
    assert study is not None
    assert [call.name for call in study.main.counts.calls] == CALLS[name]
    assert study.main.negative == (name == "SiLU")
    unsigned = study.main.plan.by_type("ufixed8") in study.main.counts.bits
    assert unsigned == (not study.main.negative), "unsigned words cannot hold negative values"
    gradients = {"functional": 1, "SiLU": 1, "batch statistics": 2}
    assert len(study.gradients) == gradients[name], "gradients of inputs are known for ReLU only"
    assert (tmp_path / "report" / "report.html").exists()


def test_folded_batch_normalization_has_no_batch_statistics() -> None:
    folded = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)).eval()
    network = LoadedModel("folded", folded, paper_example.to_tensor, "file", "", trained=True)
    assert not with_batch_statistics(network).batch_statistics
    folded[1].running_mean.fill_(0.5)
    assert with_batch_statistics(network).batch_statistics
    assert folded[1].training


def test_nothing_to_measure_is_an_error(tmp_path: Path) -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * 21 * 21, 10)).eval()
    network = LoadedModel("linear", linear, paper_example.to_tensor, "seed", "", trained=False)
    paper_example.write_images(tmp_path / "images", 2)
    with pytest.raises(NothingToMeasureError, match="linear"):
        paper_example.measure(tmp_path / "images", tmp_path / "report", network)
    assert not (tmp_path / "report").exists()
