"""Reading photos: what users have, and what attackers send."""

import io
import itertools
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pura.errors import UnreadableImage
from pura.face import images

COLOURS = np.random.default_rng(3).integers(0, 256, (24, 40, 3)).astype(np.uint8)


def saved(folder: Path, name: str, image: Image.Image, **options: object) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.ppm", "a.tiff", "a.webp"])
def test_lossless_files_are_read_exactly(tmp_path: Path, name: str) -> None:
    options = {"lossless": True} if name.endswith("webp") else {}
    path = saved(tmp_path, name, Image.fromarray(COLOURS), **options)
    assert np.array_equal(images.read(path), COLOURS)
    assert np.array_equal(images.read(str(path)), COLOURS)


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", Image.fromarray(COLOURS)).rename(tmp_path / "a.jpg")
    assert np.array_equal(images.read(path), COLOURS)


def test_a_photo_that_a_camera_stored_sideways_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the scene is on the right
    path = saved(tmp_path, "a.png", Image.fromarray(COLOURS), exif=exif)
    assert np.array_equal(images.read(path), np.rot90(COLOURS, -1))


def test_grey_palette_and_cmyk_become_rgb(tmp_path: Path) -> None:
    grey = COLOURS[:, :, 0]
    assert np.array_equal(
        images.read(saved(tmp_path, "g.pgm", Image.fromarray(grey))), np.repeat(grey[..., None], 3, 2)
    )
    palette = Image.fromarray(COLOURS).quantize(16)
    assert np.array_equal(images.read(saved(tmp_path, "p.png", palette)), np.asarray(palette.convert("RGB")))
    assert images.read(saved(tmp_path, "c.jpg", Image.fromarray(COLOURS).convert("CMYK"))).shape == COLOURS.shape


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_16_bits_are_read_at_8(tmp_path: Path, name: str) -> None:
    deep = COLOURS[:, :, 0].astype(np.uint16) * 257
    path = saved(tmp_path, name, Image.fromarray(deep))
    assert np.array_equal(images.read(path)[:, :, 1], COLOURS[:, :, 0])
    assert np.array_equal(images.read(deep)[:, :, 1], COLOURS[:, :, 0])


def test_a_16_bit_pgm(tmp_path: Path) -> None:
    deep = COLOURS[:, :, 0].astype(">u2") * 257
    (tmp_path / "a.pgm").write_bytes(b"P5 40 24 65535\n" + deep.tobytes())
    assert np.array_equal(images.read(tmp_path / "a.pgm")[:, :, 2], COLOURS[:, :, 0])


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    alpha = np.zeros((24, 40, 1), np.uint8)
    alpha[:, :20] = 255
    rgba = np.concatenate([COLOURS, alpha], 2)
    for got in (images.read(rgba), images.read(saved(tmp_path, "a.png", Image.fromarray(rgba)))):
        assert np.array_equal(got[:, :20], COLOURS[:, :20])
        assert (got[:, 20:] == 255).all()


def test_arrays_of_every_allowed_shape() -> None:
    grey = COLOURS[:, :, 0]
    assert np.array_equal(images.read(COLOURS), COLOURS)
    assert np.array_equal(images.read(grey), images.read(grey[:, :, None]))
    assert np.array_equal(images.read(COLOURS[:, ::-1])[:, ::-1], COLOURS)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((30, 30)),
        np.zeros((30, 30, 3), np.float32),
        np.zeros((30, 30, 2), np.uint8),
        np.zeros((3, 30, 30, 3), np.uint8),
        np.zeros((0, 30, 3), np.uint8),
        np.zeros((8, 30, 3), np.uint8),
        np.broadcast_to(np.uint8(0), (200_000, 1000, 3)),
    ],
)
def test_arrays_that_are_no_picture(array: np.ndarray) -> None:
    with pytest.raises(UnreadableImage):
        images.read(array)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.tiff", "a.webp", "a.ppm"])
def test_a_truncated_file_is_not_half_read(tmp_path: Path, name: str) -> None:
    whole = saved(tmp_path, name, Image.fromarray(np.tile(COLOURS, (8, 8, 1)))).read_bytes()
    for share in (0.0, 0.02, 0.5, 0.9):
        (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(UnreadableImage, match=name):
            images.read(tmp_path / name)


def _png_of(width: int, height: int) -> bytes:
    """A PNG that says it has this many pixels, of which there are none."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(30_000, 30_000), (2**31 - 1, 2**31 - 1), (12_000, 11_000)])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "bomb.png").write_bytes(_png_of(*size))
    with pytest.raises(UnreadableImage):
        images.read(tmp_path / "bomb.png")


def test_files_that_are_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("a" * 5000)
    (tmp_path / "half.gif").write_bytes(b"GIF89a" + bytes(100))
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    tiny = io.BytesIO()
    Image.fromarray(COLOURS[:4, :4]).save(tiny, "png")
    (tmp_path / "tiny.png").write_bytes(tiny.getvalue())
    for name, message in [
        ("text.jpg", "JPEG, PNG, WebP, HEIC"),  # what is read is said
        ("film.mp4", "AVIF"),
        ("half.gif", "half.gif could not be read"),
        ("tiny.png", "4 x 4"),
        ("no.png", "no such"),
    ]:
        with pytest.raises(UnreadableImage, match=message):
            images.read(tmp_path / name)
    with pytest.raises(UnreadableImage, match="directory"):
        images.read(tmp_path)


def test_garbage_in_the_middle_ends_in_one_error_or_pixels(tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    for name in ("a.jpg", "a.png", "a.tiff", "a.webp", "a.bmp", "a.ppm"):
        whole = bytearray(saved(tmp_path, name, Image.fromarray(COLOURS)).read_bytes())
        for _ in range(60):
            broken = whole.copy()
            for at in draw.integers(0, len(broken), 4):
                broken[at] = draw.integers(0, 256)
            (tmp_path / name).write_bytes(broken)
            try:
                got = images.read(tmp_path / name)
            except UnreadableImage:
                continue
            assert got.dtype == np.uint8
            assert got.shape[2] == 3


# --- what people's cameras, phones and editors write --------------------------------------------------


@pytest.mark.parametrize("name", ["a.gif", "a.avif", "a.heic", "a.jfif", "a.jpe"])
def test_more_kinds_of_files(tmp_path: Path, name: str) -> None:
    picture = Image.fromarray(np.tile(COLOURS[:32, :32], (2, 2, 1)))
    kind = {".jfif": "jpeg", ".jpe": "jpeg", ".heic": "heif"}.get(Path(name).suffix)
    picture.save(tmp_path / name, kind)
    found = images.read(tmp_path / name)
    assert found.shape == (picture.height, picture.width, 3)
    assert abs(float(found.mean()) - float(np.asarray(picture).mean())) < 3


def test_a_photo_is_turned_by_its_orientation_whatever_else_its_metadata_say() -> None:
    """Tags of a type that the standard does not give them keep no photo from being read, nor from being turned."""
    picture = Image.fromarray(COLOURS)
    upright = images.read(picture)
    for orientation, turned in ((1, upright), (3, upright[::-1, ::-1]), (6, upright.transpose(1, 0, 2)[:, ::-1])):
        for tag, kind in itertools.product((0x010F, 0x011A, 0x8769, 0x8825, 0x9286, 0xA005, 0x0111), range(14)):
            body = io.BytesIO()
            picture.save(body, "png", exif=_exif(orientation, tag, kind))
            assert np.array_equal(images.read(body.getvalue()), turned), (orientation, tag, kind)


def _exif(orientation: int, tag: int, kind: int) -> bytes:
    rows = sorted([(0x0112, 3, 1, orientation << 16), (tag, kind, 3, 0x7FFFFFFF)])
    table = b"".join(struct.pack(">HHII", *row) for row in rows)
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, len(rows)) + table + bytes(4)


def test_texts_and_profiles_of_a_png_are_not_looked_at(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 3_000_000, zip=True)
    info.add_itxt("XML:com.adobe.xmp", "x" * 3_000_000, zip=True)
    Image.fromarray(COLOURS).save(tmp_path / "a.png", pnginfo=info, icc_profile=bytes(2_000_000))
    assert np.array_equal(images.read(tmp_path / "a.png"), COLOURS)


def test_a_picture_of_any_side_ratio_is_pixels_or_a_typed_error() -> None:
    for shape in ((16, 20_480, 3), (20_480, 16, 3), (16, 4_000_000, 3)):
        found = images.read(np.zeros(shape, np.uint8))
        assert max(found.shape) <= images.WORKING
        assert min(found.shape[:2]) >= 1


def test_memory_is_bounded_by_what_detection_needs() -> None:
    assert max(images.read(np.zeros((6000, 9000, 3), np.uint8)).shape) == images.WORKING
    body = io.BytesIO()
    Image.new("L", (8000, 7000)).save(body, "png")  # some kilobytes
    assert max(images.read(body.getvalue()).shape) <= images.WORKING
    body = io.BytesIO()
    Image.new("L", (12_000, 11_000)).save(body, "jpeg")  # more than is read of other kinds
    assert max(images.read(body.getvalue()).shape) <= images.WORKING


def test_a_limit_is_named() -> None:
    with pytest.raises(UnreadableImage, match="64 million"):
        images.read(_png_of(10_000, 10_000))
    body = io.BytesIO()
    Image.new("L", (20, 20)).save(body, "jpeg")
    huge = re.sub(rb"(\xff\xc0\x00\x0b\x08).{4}", lambda m: m[1] + struct.pack(">HH", 60_000, 60_000), body.getvalue())
    with pytest.raises(UnreadableImage, match="178 million"):
        images.read(huge)
    with pytest.raises(UnreadableImage, match="scans"):
        images.read(body.getvalue() + b"\xff\xda" * 100)


def test_a_pipe_or_a_device_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    for path in (tmp_path / "x.jpg", "/dev/zero"):
        with pytest.raises(UnreadableImage, match="not a file"):
            images.read(path)


def test_paths_that_no_system_takes() -> None:
    for path in ("a\0.jpg", "a\udc80\ud800.jpg"):
        with pytest.raises(UnreadableImage):
            images.read(path)


def test_pillow_s_images_and_bytes_are_photos_too(tmp_path: Path) -> None:
    picture = Image.fromarray(COLOURS)
    body = io.BytesIO()
    picture.save(body, "png")
    assert np.array_equal(images.read(picture), COLOURS)
    assert np.array_equal(images.read(body.getvalue()), COLOURS)
    assert np.array_equal(np.asarray(picture), COLOURS)  # which is as it was
    for other in (7, None, [1, 2]):
        with pytest.raises(UnreadableImage, match="a photo is"):
            images.read(other)  # type: ignore[arg-type]
