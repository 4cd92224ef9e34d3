"""Images that cannot be read are named and counted, in reports too; none is skipped in silence."""

import dataclasses

import pytest
import torch
from paper_example import tiny_network, to_tensor
from PIL import Image

from evaluation.common.inputs import find_images
from torch_ebpc.cli.images import PreparedImages
from torch_ebpc.cli.measurement import measure
from torch_ebpc.cli.settings import Settings


@pytest.fixture
def folder(tmp_path):
    """Three images, of which one is cut and one is none."""
    generator = torch.Generator().manual_seed(0)
    for name in ("cut.jpg", "whole.jpg", "whole.png"):
        pixels = torch.randint(0, 256, (64, 48, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(tmp_path / name)
    cut = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(cut[: len(cut) // 2])
    (tmp_path / "text.png").write_text("no image")
    return tmp_path


def test_unreadable_images_are_left_out_and_named(folder):
    images = find_images(folder).readable()
    assert [file.name for file in images.files] == ["whole.jpg", "whole.png"]
    assert len(images.unreadable) == 2
    text = str(images)
    assert "2; left out, unreadable: 2 (image cut.jpg cannot be read: " in text
    assert "image text.png cannot be read: " in text


DAMAGED = {
    "header.png": b"\x89PNG\r\n\x1a\n\0\0\0\5IHDR12345",
    "size.ppm": b"P6\n-3 x\n255\n",
    "cut.ppm": b"P6\n8 8\n255\n123",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_whatever_the_damage_the_image_is_named_and_the_others_stay(folder, name):
    (folder / name).write_bytes(DAMAGED[name])
    images = find_images(folder).readable()
    assert [file.name for file in images.files] == ["whole.jpg", "whole.png"]
    assert sum(f"image {name} cannot be read: " in text for text in images.unreadable) == 1


@pytest.mark.parametrize("size", [(7, 7), (1, 1), (300, 5)])
def test_a_small_jpeg_is_readable(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "small.jpg")
    images = find_images(tmp_path).readable()
    assert images.unreadable == []
    pixels, _ = PreparedImages(images, to_tensor)[0]
    assert pixels.shape == (3, size[1], size[0])


def test_what_a_transform_raises_is_not_said_of_the_image(folder):
    def fail(image):
        raise ValueError("of the transform")

    with pytest.raises(ValueError, match=r"^of the transform$"):
        PreparedImages(find_images(folder).readable(), fail)[0]


def test_readable_images_stay_all_in_order(folder):
    (folder / "cut.jpg").unlink()
    (folder / "text.png").unlink()
    images = find_images(folder)
    assert images.readable() == dataclasses.replace(images, unreadable=[])
    assert str(images) == f"folder {folder.name}, 2"


def test_a_report_says_which_were_left_out(folder):
    images = find_images(folder).readable()
    report = measure(tiny_network(), images, Settings(batch_size=2)).report
    assert report.total().images == 2
    assert "unreadable: 2 (image cut.jpg" in report.provenance["images"]
    assert "unreadable: 2 (image cut.jpg" in report.to_markdown()


def test_without_a_readable_image_there_is_an_error(folder):
    for name in ("whole.jpg", "whole.png"):
        (folder / name).unlink()
    with pytest.raises(OSError, match=r"none of 2 can be read; the first: image cut\.jpg"):
        find_images(folder).readable()


def test_an_image_that_vanishes_meanwhile_is_an_error_with_its_name(folder):
    images = find_images(folder).readable()
    (folder / "whole.png").unlink()
    prepared = PreparedImages(images, torch.asarray)
    with pytest.raises(OSError, match=r"image whole\.png cannot be read"):
        prepared[1]


@pytest.mark.parametrize("name", ["deep.png", "deep.tiff", "deep.ppm"])
def test_16_bit_grey_becomes_8_bit_grey(tmp_path, name):
    ramp = torch.arange(256, dtype=torch.int32).view(16, 16)
    image = Image.fromarray((ramp * 257).to(torch.int32 if "ppm" in name else torch.uint16).numpy())
    image.save(tmp_path / name)
    pixels, _ = PreparedImages(find_images(tmp_path).readable(), to_tensor)[0]
    Image.fromarray(ramp.to(torch.uint8).numpy()).save(tmp_path / "a.png")
    expected, _ = PreparedImages(find_images(tmp_path).readable(), to_tensor)[0]
    assert torch.equal(pixels, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int32])
def test_images_whose_white_is_not_known_are_left_out_and_named(folder, dtype):
    Image.fromarray(torch.ones(8, 8, dtype=dtype).numpy()).save(folder / "odd.tiff")
    images = find_images(folder).readable()
    assert "odd.tiff" not in [file.name for file in images.files]
    assert any("image odd.tiff cannot be read: samples of a TIFF" in x for x in images.unreadable)
