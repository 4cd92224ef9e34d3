"""Folders of images, in a fixed order, with labels where they are known."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset
from tqdm import tqdm

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
UNKNOWN = -1  # the label of an image whose class is not known


@dataclasses.dataclass(frozen=True)
class ImageFile:
    path: Path
    name: str  # relative to the folder, for messages and the hash
    label: int = UNKNOWN  # ImageNet's class index


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Files in a fixed order, and what a report has to say about them."""

    origin: str
    files: Sequence[ImageFile]
    unreadable: Sequence[str] = ()  # left out: names, each with the reason

    def __str__(self) -> str:
        text = f"{self.origin}, {len(self.files)}"
        if self.unreadable:
            text += f"; left out, unreadable: {len(self.unreadable)} ({'; '.join(self.unreadable)})"
        return text

    def sha256(self) -> str:
        """Of all names and contents, in order."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(file.name.encode() + b"\0")
            digest.update(hashlib.sha256(file.path.read_bytes()).digest())
        return digest.hexdigest()

    def first(self, count: int | None) -> ImageSet:
        return self if count is None else dataclasses.replace(self, files=self.files[:count])

    def readable(self) -> ImageSet:
        """Without the files that cannot be decoded to their end: better known before an evaluation
        of hours than in the middle of it. Decodes all of them, JPEG at an eighth of its size.

        Raises:
            OSError: none can be.
        """
        files, unreadable = [], []
        for file in tqdm(
            self.files, desc="checking images", unit="image", leave=False, disable=None
        ):
            try:
                _pixels(file, shrink=8)
            except OSError as error:
                unreadable.append(str(error))
            else:
                files.append(file)
        if not files:
            raise OSError(
                f"images: none of {len(unreadable)} can be read; the first: {unreadable[0]}"
            )
        return dataclasses.replace(self, files=files, unreadable=unreadable)


def images_in(folder: Path) -> ImageSet:
    """The images in a folder, or in folders in it, by name.

    Labels are known from a file ``labels.csv`` in it (columns ``file`` and ``class_index``), or
    where its folders are ImageNet's 1000 classes.

    Raises:
        FileNotFoundError: ``folder`` does not exist or has no image in it.
    """
    return ImageSet(f"folder {folder.name}", files_in(folder))


def files_in(folder: Path) -> list[ImageFile]:
    """As :func:`images_in`."""
    if not folder.is_dir():
        raise FileNotFoundError(f"images: {folder} is not a folder")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise FileNotFoundError(f"images: no image ({', '.join(sorted(SUFFIXES))}) in {folder}")
    labels = _labels_in(folder)
    files = []
    for path in paths:
        name = path.relative_to(folder).as_posix()
        files.append(
            ImageFile(path, name, labels.get(name, labels.get(name.split("/")[0], UNKNOWN)))
        )
    return files


def _labels_in(folder: Path) -> dict[str, int]:
    """Class indices by file name, or by the name of a class's folder."""
    listed = folder / "labels.csv"
    if listed.exists():
        with listed.open(newline="") as file:
            return {row["file"]: int(row["class_index"]) for row in csv.DictReader(file)}
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if len(classes) == 1000 and all(re.fullmatch(r"n\d{8}", name) for name in classes):
        return {name: index for index, name in enumerate(classes)}
    return {}


class PreparedImages(Dataset[tuple[torch.Tensor, int]]):
    """Images as a network wants them: float32 [3, height, width] and the label."""

    def __init__(self, images: ImageSet, transform: Callable[[Any], torch.Tensor]) -> None:
        self._files = images.files
        self._transform = transform

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        file = self._files[index]
        return self._transform(_pixels(file)), file.label


def _pixels(file: ImageFile, shrink: int = 1) -> Image.Image:
    """The image as RGB; a JPEG maybe smaller, by ``shrink`` at most.

    Raises:
        OSError: it cannot be read, with its name.
    """
    try:
        with Image.open(file.path) as image:
            if shrink > 1:
                image.draft("RGB", (max(1, image.width // shrink), max(1, image.height // shrink)))
            return image.convert("RGB")
    except Exception as error:  # of any type, depending on format and damage
        reason = str(error) or type(error).__name__
        raise OSError(f"image {file.name} cannot be read: {reason}") from error
