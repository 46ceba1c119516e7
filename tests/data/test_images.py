"""Images of all kinds become 8-bit RGB; what is none is refused in words."""

import os

import numpy as np
import pytest
from PIL import Image

from detectron2.data import detection_utils
from tood_d2.data.images import (
    TooManyPixels,
    decode_upload,
    open_image,
    oriented_size,
    read_image,
    read_upload,
)


@pytest.fixture
def save(tmp_path):
    def _save(pixels, name="image.png", mode=None, **kwargs):
        image = Image.fromarray(np.asarray(pixels))
        path = tmp_path / name
        (image.convert(mode) if mode else image).save(path, **kwargs)
        return path

    return _save


COLORS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK"])
def test_every_mode_is_read_as_by_detectron2(save, mode):
    name = "image.jpg" if mode == "CMYK" else "image.png"
    path = save(COLORS, name, mode)
    image = read_upload(path)
    assert image.shape == (6, 8, 3) and image.dtype == np.uint8
    for format in ("RGB", "BGR", "L"):
        expected = detection_utils.read_image(str(path), format)
        assert (read_image(path, format) == expected).all()
    assert (image == read_image(path, "RGB")).all()


@pytest.mark.parametrize("orientation", range(10))
def test_an_image_is_turned_as_exif_says(save, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(COLORS, "image.jpg", exif=exif)
    image = read_upload(path)
    assert image.shape == ((8, 6, 3) if orientation in (5, 6, 7, 8) else (6, 8, 3))
    assert (image == detection_utils.read_image(str(path), "RGB")).all()
    with open_image(path) as header:
        assert oriented_size(header) == image.shape[1::-1]


@pytest.mark.parametrize("name", ["image.png", "image.tif"])
def test_16_bits_are_scaled_to_8(save, name):
    # 65535 / 255 = 257
    path = save(np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16), name)
    assert read_upload(path)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_8_bits_in_32_stay_as_they_are(save):
    path = save(np.array([[0, 100, 255]], dtype=np.int32), "image.tif")
    assert read_upload(path)[0, :, 0].tolist() == [0, 100, 255]


def test_floats_are_stretched_to_8_bits(save):
    path = save(np.array([[-1.0, 0.0, 1.0, np.nan]], dtype=np.float32), "image.tif")
    assert read_upload(path)[0, :, 0].tolist() == [0, 127, 255, 127]
    assert (read_upload(save(np.ones((2, 2), np.float32), "same.tif")) == 0).all()


def test_an_image_may_have_one_pixel(save):
    assert read_upload(save(COLORS[:1, :1])).tolist() == [[COLORS[0, 0].tolist()]]


def test_too_many_pixels_are_refused(save, tmp_path, monkeypatch, huge_png, limited_memory):
    path = save(COLORS)
    with monkeypatch.context() as patch:
        patch.setattr("tood_d2.data.images.MAX_UPLOAD_PIXELS", 40)
        with pytest.raises(ValueError, match=r"image.png is too large: at most 4e-05 .* not 8 x 6"):
            read_upload(path)
    # Pillow itself refuses this one.
    (tmp_path / "huge.png").write_bytes(huge_png)
    with pytest.raises(ValueError, match="huge.png is too large: at most 40 megapixels"):
        read_upload(tmp_path / "huge.png")


def test_images_that_were_sent_are_read_as_files(save, huge_png, limited_memory):
    path = save(COLORS)
    assert (decode_upload(path.read_bytes(), 48) == read_upload(path)).all()
    message = r"the image is too large: at most 4.7e-05 megapixels, not 8 x 6 pixels"
    with pytest.raises(TooManyPixels, match=message):
        decode_upload(path.read_bytes(), 47)
    with pytest.raises(TooManyPixels, match="the image is too large: at most 1 megapixels"):
        decode_upload(huge_png, 1_000_000)
    for content, message in ((b"", "is no image"), (path.read_bytes()[:60], "is broken: ")):
        with pytest.raises(ValueError, match=f"the image {message}"):
            decode_upload(content, 48)


def test_images_may_be_narrow(save):
    assert read_upload(save(np.zeros((3000, 1), np.uint8))).shape == (3000, 1, 3)


@pytest.mark.parametrize(
    "content", [b"", b"no image", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe EPSF"]
)
def test_what_is_no_image_is_refused(tmp_path, content):
    (tmp_path / "text.png").write_bytes(content)
    with pytest.raises(ValueError, match="text.png is no image, or none of the kinds AVIF, BMP"):
        read_upload(tmp_path / "text.png")


def test_a_truncated_image_is_refused(save, tmp_path):
    content = save(np.zeros((300, 300), np.uint8), "image.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="half.jpg is broken: "):
        read_upload(tmp_path / "half.jpg")


@pytest.mark.parametrize("name", ["a.tga", "a.jp2", "a.pcx", "a.ppm", "a.gif", "a.webp", "a.odd"])
def test_any_suffix_is_read(save, name):
    path = save(np.full((4, 5, 3), 200, np.uint8), "a.png" if name == "a.odd" else name)
    path = path.rename(path.with_name(name))
    assert np.abs(read_image(path, "RGB").astype(int) - 200).max() <= 2


def test_the_first_page_counts(tmp_path):
    pages = [Image.new("L", (4, 3), value) for value in (10, 200)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    assert (read_image(tmp_path / "pages.tif") == 10).all()


def test_a_program_is_not_started(tmp_path, monkeypatch):
    (tmp_path / "gs").write_text("#!/bin/sh\ntouch started\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n"
    )
    with pytest.raises(ValueError, match=r"a.jpg cannot be read: it is no image"):
        read_image(tmp_path / "a.jpg")
    assert not (tmp_path / "started").exists()


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png", "nothing.png"):
        with pytest.raises(FileNotFoundError, match=f"{name}: no such image file"):
            read_image(tmp_path / name)


def test_too_many_pixels_for_pillow_are_told(tmp_path, huge_png, limited_memory):
    (tmp_path / "huge.png").write_bytes(huge_png)
    with pytest.raises(ValueError, match=r"huge.png cannot be read: .* 179 megapixels"):
        read_image(tmp_path / "huge.png")
