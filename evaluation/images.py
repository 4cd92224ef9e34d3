"""Where images come from, in a fixed order, with their labels where they are known."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset
from tqdm import tqdm

from evaluation.models import data_folder

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
UNKNOWN = -1  # the label of an image whose class is not known
_SKIMAGE_PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


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
        for file in tqdm(self.files, desc="checking images", unit="image", leave=False):
            try:
                with _opened(file) as image:
                    image.draft("RGB", (image.width // 8, image.height // 8))
                    image.load()
            except OSError as error:
                unreadable.append(str(error))
            else:
                files.append(file)
        if not files:
            raise OSError(
                f"images: none of {len(unreadable)} can be read; the first: {unreadable[0]}"
            )
        return dataclasses.replace(self, files=files, unreadable=unreadable)


def find_images(folder: Path | None = None) -> ImageSet:
    """The images of ``folder``; without one, of the data folder's ``images``, else scikit-image's.

    A folder holds images, or folders of images. Labels are known from a file ``labels.csv`` in it
    (columns ``file`` and ``class_index``), or where its folders are ImageNet's 1000 classes.

    Raises:
        FileNotFoundError: ``folder`` does not exist or has no image in it.
    """
    if folder is not None:
        return ImageSet(f"folder {folder.name}", _files_in(folder))
    default = data_folder() / "images"
    if default.is_dir():
        return ImageSet("the data folder's images", _files_in(default))
    import skimage

    photographs = []
    for name in _SKIMAGE_PHOTOGRAPHS:
        found = sorted(Path(skimage.__file__).parent.joinpath("data").glob(f"{name}.*"))
        photographs += [ImageFile(path, path.name) for path in found if path.suffix in SUFFIXES]
    if not photographs:
        raise FileNotFoundError("scikit-image carries no photographs; give a folder of images")
    return ImageSet(f"photographs of scikit-image {skimage.__version__}", photographs)


def _files_in(folder: Path) -> list[ImageFile]:
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
        with _opened(file) as image:
            return self._transform(image.convert("RGB")), file.label


@contextlib.contextmanager
def _opened(file: ImageFile) -> Iterator[Image.Image]:
    """Raises:
    OSError: naming the file, also of what is read of it inside of the block.
    """
    try:
        with Image.open(file.path) as image:
            yield image
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise OSError(f"image {file.name} cannot be read: {error}") from error
