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
from evaluation.paper.passes import Ranks, Runner, Unit, units_of

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
    while len(kept_in(work)) < 4:  # of the pass that counts: the one before has three units
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not output.exists(), "a report is written whole or not at all"

    before = kept_in(work)
    paper_example.measure(images, output)
    after = kept_in(work)
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
    before = kept_in(program)
    change_a_byte(program / "torch_ebpc" / "quantizer.py")
    run()
    after = kept_in(program)
    assert before.items() < after.items()
    assert len(after) == 2 * len(before)


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
    assert units_of(range(3, 50, 2), 10) == [
        tuple(range(3, 23, 2)), tuple(range(23, 43, 2)), tuple(range(43, 50, 2)),
    ]  # fmt: skip
    assert units_of([]) == []


def runner(folder: Path, key: str = "key") -> Runner:
    return Runner(folder, key, Ranks())


def never(unit: Unit) -> np.ndarray:
    raise AssertionError("computed again")


def kept_in(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("output.pkl")}


def test_a_kept_unit_is_not_computed_again(tmp_path: Path) -> None:
    units = units_of(range(5), 2)
    first = runner(tmp_path).run("a", units, np.array)
    assert [x.tolist() for x in first] == [[0, 1], [2, 3], [4]]
    again = runner(tmp_path).run("a", units, never)
    assert [x.tolist() for x in again] == [[0, 1], [2, 3], [4]]
    for other, name in ((runner(tmp_path, "other"), "a"), (runner(tmp_path), "b")):
        with pytest.raises(AssertionError, match="computed again"):
            other.run(name, units, never)


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied"])
def test_a_damaged_unit_is_computed_again(tmp_path: Path, damage: str) -> None:
    units = units_of(range(4), 2)
    runner(tmp_path).run("a", units, np.array)
    path = next(iter(kept_in(tmp_path)))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-8] ^= 1
    path.write_bytes({"cut": whole[:-20], "flipped": bytes(flipped), "emptied": b""}[damage])
    computed: list[Unit] = []

    def compute(unit: Unit) -> np.ndarray:
        computed.append(unit)
        return np.array(unit)

    again = runner(tmp_path).run("a", units, compute)
    assert [x.tolist() for x in again] == [[0, 1], [2, 3]]
    assert len(computed) == 1
    runner(tmp_path).run("a", units, never)
