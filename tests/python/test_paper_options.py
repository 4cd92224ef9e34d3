"""The options of `evaluation.paper`: what makes the rule, and what does not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import paper_example
import pytest

from evaluation.common import inputs as common_inputs
from evaluation.common.inputs import find_images
from evaluation.paper import __main__ as paper
from evaluation.paper.__main__ import RULE_OPTIONS, parser, rule_from
from evaluation.paper.presets import PRESETS

OTHERS = {
    "scale": "calibrated", "batch_size": 3, "headroom": 0.5, "rounding": "nearest",
    "block_size": 4, "max_zero_run": 2, "base": "reused", "order": "nhwc",
}  # fmt: skip


def test_a_folder_of_images_is_no_part_of_the_rule() -> None:
    rule = rule_from(parser().parse_args(["--images", "photographs", "--weights", "w.pth"]))
    assert rule == PRESETS["notebook"].complete()
    json.dumps(dataclasses.asdict(rule))  # it goes into the report


@pytest.mark.parametrize("name", RULE_OPTIONS)
def test_every_option_of_the_rule_is_on_top_of_the_preset(name: str) -> None:
    option = f"--{name.replace('_', '-')}"
    rule = rule_from(parser().parse_args(["--preset", "hardware", option, str(OTHERS[name])]))
    expected = dataclasses.replace(PRESETS["hardware"].complete(), **{name: OTHERS[name]})
    assert rule == expected != PRESETS["hardware"].complete()


def test_a_file_that_cannot_be_written_is_an_error_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paper_example.write_images(tmp_path / "images", 2)
    inputs = paper_example.tiny_network(), find_images(tmp_path / "images")
    monkeypatch.setattr(common_inputs, "find_inputs", lambda *arguments, **options: inputs)
    (tmp_path / "file").touch()
    arguments = ["--images", str(tmp_path / "images"), "--output", str(tmp_path / "file" / "paper")]
    assert paper.main(arguments) == 2
    message = f"\nerror: [Errno 20] Not a directory: '{tmp_path / 'file' / 'paper.work'}'"
    assert message in capsys.readouterr().err
