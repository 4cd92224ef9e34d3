"""A run of `evaluation.paper` resumes, and gives the same in one or several processes."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import paper_example
import pytest

from evaluation.common.inputs import find_images
from evaluation.paper import paper_study
from evaluation.paper.passes import Arrays, Runner, Store, Unit, units_of
from evaluation.paper.ranks import Ranks

ROOT = Path(__file__).parents[2]
SCRIPT = str(Path(paper_example.__file__))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paper") / "images"
    paper_example.write_images(folder)
    return folder


@pytest.fixture(scope="module")
def single(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of one process."""
    output = tmp_path_factory.mktemp("paper") / "single"
    paper_example.measure(images, output)
    return output


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_give_the_report_of_one(
    images: Path, single: Path, tmp_path: Path, processes: int
) -> None:
    output = tmp_path / "several"
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         f"--nproc-per-node={processes}", SCRIPT, str(images), str(output)],
        check=True, env=environment(), capture_output=True, timeout=300,
    )  # fmt: skip
    assert paper_example.figures(output) == paper_example.figures(single)


def test_a_killed_run_resumes_to_the_same_report(
    images: Path, single: Path, tmp_path: Path
) -> None:
    output, work = tmp_path / "killed", tmp_path / "killed.work"
    process = subprocess.Popen(
        [sys.executable, SCRIPT, str(images), str(output)],
        env=environment(SLOW_SECONDS="0.3"), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(list(work.rglob("tiny outputs-bits-*.npz"))) < 1:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not output.exists(), "a report is written whole or not at all"

    before = {path: path.stat().st_mtime_ns for path in work.rglob("*.npz")}
    paper_example.measure(images, output)
    after = {path: path.stat().st_mtime_ns for path in work.rglob("*.npz")}
    assert before.items() <= after.items(), "what was measured is not measured again"
    assert len(after) > len(before)
    assert paper_example.figures(output) == paper_example.figures(single)


def test_other_images_do_not_resume(images: Path, single: Path, tmp_path: Path) -> None:
    paper_example.write_images(tmp_path / "images", paper_example.IMAGES - 1)
    paper_example.measure(tmp_path / "images", single.parent / "other")
    assert paper_example.figures(single.parent / "other") != paper_example.figures(single)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a copy of the program's files, which a study takes for its own."""
    ignored = shutil.ignore_patterns("__pycache__", "include", "share")
    for folder in paper_study.PROGRAM:
        shutil.copytree(folder, tmp_path / folder.name, ignore=ignored)
    monkeypatch.setattr(
        paper_study, "PROGRAM", tuple(tmp_path / folder.name for folder in paper_study.PROGRAM)
    )
    return tmp_path


SMALL = dataclasses.replace(paper_example.EXTENT, types=("fixed8",), block_sizes=(8,))


def change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_changed_program_resumes_nothing(program: Path) -> None:
    paper_example.write_images(program / "images", 1)
    images = find_images(program / "images")

    def run() -> None:
        network, rule, extent = paper_example.tiny_network(), paper_example.RULE, SMALL
        paper_study.run_study(network, images, rule, extent, program / "work", Ranks())

    run()
    before = {path: path.stat().st_mtime_ns for path in program.rglob("*.npz")}
    change_a_byte(program / "torch_ebpc" / "quantizer.py")
    run()
    after = {path: path.stat().st_mtime_ns for path in program.rglob("*.npz")}
    assert before.items() < after.items()
    new = after.keys() - before.keys()
    assert sorted(path.name for path in new) == sorted(path.name for path in before)


@pytest.mark.parametrize(
    "name",
    ["torch_ebpc/lib/libebpc.so", "torch_ebpc/lib/libtorch_ebpc.so", "torch_ebpc/cli/images.py",
     "evaluation/common/networks.py", "evaluation/paper/sweep.py"],
)  # fmt: skip
def test_the_hash_of_the_program_has_every_library_and_module(program: Path, name: str) -> None:
    before = paper_study.program_sha256()
    assert paper_study.program_sha256() == before
    change_a_byte(program / name)
    assert paper_study.program_sha256() != before


def test_units_cover_all_images_once() -> None:
    units = units_of(range(3, 50, 2), 10)
    assert [image for unit in units for image in unit.images] == list(range(3, 50, 2))
    assert [len(unit.images) for unit in units] == [10, 10, 4]
    assert units_of([]) == []


def compute(unit: Unit) -> Arrays:
    return {
        "image/x": np.array([unit.images, unit.images], np.int64),
        "sum/n": np.array([len(unit.images)]),
        "same/shape": np.array([3]),
    }


def test_a_pass_places_adds_and_compares(tmp_path: Path) -> None:
    runner = Runner(Store(tmp_path), Ranks(), 8)
    merged = runner.run("a", "a", units_of([0, 2, 4, 6], 3), compute)
    assert merged["image/x"].tolist() == [[0, 0, 2, 0, 4, 0, 6, 0]] * 2
    assert merged["sum/n"].tolist() == [4]
    assert merged["same/shape"].tolist() == [3]

    def different(unit: Unit) -> Arrays:
        return {"same/shape": np.array([unit.number])}

    with pytest.raises(RuntimeError, match="shape differ"):
        runner.run("b", "b", units_of([0, 1], 1), different)


def test_a_stored_unit_is_not_computed_again(tmp_path: Path) -> None:
    runner = Runner(Store(tmp_path), Ranks(), 4)
    first = runner.run("a", "a", units_of(range(4), 2), compute)

    def never(unit: Unit) -> Arrays:
        raise AssertionError("computed again")

    again = runner.run("a", "a", units_of(range(4), 2), never)
    assert {name: array.tolist() for name, array in first.items()} == {
        name: array.tolist() for name, array in again.items()
    }
    assert all(path.suffix == ".npz" for path in tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied"])
def test_a_damaged_unit_is_computed_again_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    runner = Runner(Store(tmp_path), Ranks(), 4)
    first = runner.run("a", "a", units_of(range(4), 2), compute)
    path = tmp_path / "a-000001.npz"
    whole = path.read_bytes()
    place = whole.index(b"image/x.npy") + 60
    path.write_bytes(
        {
            "cut": whole[:100],
            "flipped": whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :],
            "emptied": b"",
        }[damage]
    )
    again = runner.run("a", "a", units_of(range(4), 2), compute)
    assert {name: array.tolist() for name, array in first.items()} == {
        name: array.tolist() for name, array in again.items()
    }
    assert f"{path} is measured again, since it is damaged: " in capsys.readouterr().err
    assert Store(tmp_path).load("a", Unit(1, (2, 3))) is not None, "it is stored again"
