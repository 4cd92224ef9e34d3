"""Where images come from."""

from __future__ import annotations

from pathlib import Path

from evaluation.models import data_folder
from torch_ebpc.cli.images import SUFFIXES, ImageFile, ImageSet, files_in, images_in

_SKIMAGE_PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


def find_images(folder: Path | None = None) -> ImageSet:
    """The images of ``folder``; without one, of the data folder's ``images``, else scikit-image's.

    Raises:
        FileNotFoundError: ``folder`` does not exist or has no image in it.
    """
    if folder is not None:
        return images_in(folder)
    default = data_folder() / "images"
    if default.is_dir():
        return ImageSet("the data folder's images", files_in(default))
    import skimage

    photographs = []
    for name in _SKIMAGE_PHOTOGRAPHS:
        found = sorted(Path(skimage.__file__).parent.joinpath("data").glob(f"{name}.*"))
        photographs += [ImageFile(path, path.name) for path in found if path.suffix in SUFFIXES]
    if not photographs:
        raise FileNotFoundError("scikit-image carries no photographs; give a folder of images")
    return ImageSet(f"photographs of scikit-image {skimage.__version__}", photographs)
