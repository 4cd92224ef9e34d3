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
# Tags of TIFF, and values of them.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR_CONFIGURATION, _SAMPLE_FORMAT = 258, 262, 284, 339
_WHITE_IS_ZERO, _PLANES, _UNSIGNED = 0, 2, 1
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
    no_batch: int = 0  # left out: the last ones, too few for one more batch

    def __str__(self) -> str:
        text = f"{self.origin}, {len(self.files)}"
        if self.unreadable:
            text += f"; left out, unreadable: {len(self.unreadable)} ({'; '.join(self.unreadable)})"
        if self.no_batch:
            text += f"; left out, too few for one more batch: {self.no_batch}"
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
            try:
                return {row["file"]: int(row["class_index"]) for row in csv.DictReader(file)}
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{listed}: expected columns file and class_index, an integer: {error!r}"
                ) from error
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
            return _rgb(image)
    except Exception as error:  # of any type, depending on format and damage
        reason = str(error) or type(error).__name__
        raise OSError(f"image {file.name} cannot be read: {reason}") from error


def _rgb(image: Image.Image) -> Image.Image:
    """With 8 bits a channel, of 16 the nearest value; alpha is dropped, as TorchVision's loaders
    do.

    Raises:
        ValueError: which value is white is not known, or Pillow does not read it right.
    """
    tags: Any = getattr(image, "tag_v2", {})
    bits = max(tags.get(_BITS_PER_SAMPLE, (8,)))
    # Of such samples Pillow reads 8 bits right, and 16 as if they were not such.
    unusual = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO or tags.get(_PLANAR_CONFIGURATION) == _PLANES
    if set(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))) != {_UNSIGNED} or (
        bits > 8 and (bits != 16 or unusual)
    ):
        raise ValueError("samples of a TIFF file that cannot be scaled to 8 bits")
    if image.mode.startswith("I") and image.format in ("PNG", "PPM", "TIFF"):
        # Not convert("L") or "RGB", which clip to 255. PPM too is 16 bit wide, whatever it was.
        image = image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    elif image.mode.startswith(("I", "F")):
        raise ValueError(f"pixels of mode {image.mode}, whose largest value is not known")
    return image.convert("RGB")
