"""Files that are there whole or not at all: modes, names, folders, and what cannot be mapped."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import torch
from helpers import about

import torch_ebpc
from evaluation.common.files import whole_files


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ---- whole_file ----------------------------------------------------------------------------------


def test_a_replaced_file_hands_on_its_mode_and_a_new_one_has_the_umasks(tmp_path):
    before = os.umask(0o027)
    try:
        for name in ("private", "new"):
            if name == "private":
                (tmp_path / name).touch(0o600)
            with torch_ebpc.files.whole_file(tmp_path / name) as file:
                file.write(b"x")
    finally:
        os.umask(before)
    assert (mode(tmp_path / "private"), mode(tmp_path / "new")) == (0o600, 0o640)


def test_a_name_may_be_as_long_as_the_system_lets_it(tmp_path):
    path = tmp_path / ("n" * os.pathconf(tmp_path, "PC_NAME_MAX"))
    with torch_ebpc.files.whole_file(path) as file:
        file.write(b"x")
    assert path.read_bytes() == b"x"


def test_a_folder_that_cannot_be_read_is_no_error_once_the_file_is_there(tmp_path, monkeypatch):
    def denied(path, flags, *more, **options):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch, torch_ebpc.files.whole_file(tmp_path / "x") as file:
        file.write(b"x")
        patch.setattr(os, "open", denied)  # root may read any folder
    assert (tmp_path / "x").read_bytes() == b"x"


# ---- map_file ------------------------------------------------------------------------------------


def test_an_empty_file_is_mapped_to_no_bytes(tmp_path):
    (tmp_path / "x").touch()
    assert torch_ebpc.map_file(tmp_path / "x").shape == (0,)


def test_what_has_no_size_is_not_mapped(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, Path(os.devnull)):
        with pytest.raises(OSError, match=about(str(path))):
            torch_ebpc.map_file(path)
    with pytest.raises(OSError, match=about("/proc/self/status")):
        torch_ebpc.map_file("/proc/self/status")


# ---- whole_files ---------------------------------------------------------------------------------

OLD = {"a": "old", "b": "old", "deep/c": "old", "notes.txt": "mine"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep").mkdir()
    for name, text in OLD.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def content(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write(folder: Path) -> None:
    with whole_files(folder) as new:
        (new / "deep").mkdir()
        for name in ("a", "b", "deep/c"):
            (new / name).write_text("new")


def test_files_replace_those_of_their_names_alone(folder):
    write(folder)
    assert content(folder) == {"a": "new", "b": "new", "deep/c": "new", "notes.txt": "mine"}
    assert sorted(os.listdir(folder)) == ["a", "b", "deep", "notes.txt"]
    write(folder / "more" / "to make")
    assert content(folder / "more" / "to make") == {"a": "new", "b": "new", "deep/c": "new"}


def test_with_an_exception_a_folder_stays_as_it_was(folder, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write(folder)
    with pytest.raises(OSError, match=f"No space left on device: '{folder}'"), whole_files(folder):
        raise OSError(28, "No space left on device")
    assert content(folder) == OLD
    assert sorted(os.listdir(folder)) == ["a", "b", "deep", "notes.txt"]


@pytest.mark.parametrize("count", range(3))
def test_an_interrupt_between_two_files_leaves_an_old_or_a_new_one_of_each(
    folder, monkeypatch, count
):
    replace, replaced = Path.replace, []

    def interrupted(path, target):
        if len(replaced) == count:
            raise KeyboardInterrupt
        replaced.append(target)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(folder)
    new = dict.fromkeys([path.relative_to(folder).as_posix() for path in replaced], "new")
    assert len(new) == count
    assert content(folder) == OLD | new


def test_a_plot_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    path = tmp_path / "layers.png"
    path.write_bytes(b"old")
    model = torch.nn.Sequential(torch.nn.ReLU())
    with torch_ebpc.CompressionMeter(model, mode="insert") as meter:
        model(torch.ones(2, 3))

    def fail(figure, file, **options):
        open(file, "wb").close() if isinstance(file, (str, Path)) else file.write(b"part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        meter.report().plot(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["layers.png"]


def test_what_an_interrupted_evaluation_has_written_is_not_there(tmp_path):
    from evaluation.paper import resnet34

    class Report:
        """Fails at its last file."""

        def to_csv(self, path: Path) -> None:
            path.write_text("new")

        to_json = to_markdown = to_csv

        def plot(self, path: Path) -> None:
            raise KeyboardInterrupt

    (tmp_path / "layers.csv").write_text("old")
    measurement = type("Measurement", (), {"report": Report()})
    with pytest.raises(KeyboardInterrupt):
        resnet34.write(measurement, tmp_path)
    assert content(tmp_path) == {"layers.csv": "old"}
