import io
import logging
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

from face3d.core import InputError
from face3d.media import read_image

PHOTOS = Path(__file__).parents[3] / "shared" / "real" / "photos"
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason="../shared/real/photos is absent")

H, W = 24, 32


def gradient() -> np.ndarray:
    """A picture without any symmetry, smooth enough for lossy formats."""
    y, x = np.mgrid[0:H, 0:W]
    return np.stack([x * 255 / (W - 1), y * 255 / (H - 1), 60 + 3 * x], -1).round().astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def close(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert actual.dtype == np.uint8
    assert actual.shape == expected.shape
    assert np.abs(actual.astype(float) - expected).max() <= tolerance


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("PPM", {}, 0),
        ("TGA", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("JPEG", {"quality": 98, "subsampling": 0}, 12),
        ("JPEG2000", {}, 12),
    ],
)
@pytest.mark.parametrize("how", ["path", "str", "bytes", "pillow"])
def test_every_format_and_way_in(tmp_path, kind, options, tolerance, how):
    data = encoded(Image.fromarray(gradient()), kind, **options)
    path = tmp_path / "picture.bin"
    path.write_bytes(data)
    source = {"path": path, "str": str(path), "bytes": data}.get(how) or Image.open(path)
    frame = read_image(source)
    close(frame.rgb, gradient(), tolerance)
    assert frame.focal_equivalent_mm is None
    if how in ("path", "str"):
        assert frame.source == str(path)


def test_array_layouts():
    rgb = gradient()
    close(read_image(rgb).rgb, rgb, 0)
    close(read_image(rgb[:, :, 0]).rgb, np.repeat(rgb[:, :, :1], 3, 2), 0)
    close(read_image(rgb.astype(np.uint16) * 257).rgb, rgb, 0)
    close(read_image(rgb[::-1, ::-1]).rgb, rgb[::-1, ::-1], 0)  # strides are no obstacle
    alpha = np.full((H, W, 1), 255, np.uint8)
    alpha[:, : W // 2] = 0
    half = read_image(np.concatenate([rgb, alpha], 2)).rgb
    close(half[:, W // 2 :], rgb[:, W // 2 :], 0)
    assert (half[:, : W // 2] == 255).all()


def test_array_is_copied():
    rgb = gradient()
    frame = read_image(rgb)
    rgb[:] = 0
    close(frame.rgb, gradient(), 0)


def test_uint16_rounds_to_nearest():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.round(values / 257.0)
    assert (read_image(values).rgb[:, :, 1] == expected).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_gray_is_scaled_not_clipped(kind):
    gray = np.linspace(0, 65535, H * W).round().astype(np.uint16).reshape(H, W)
    frame = read_image(encoded(Image.fromarray(gray), kind))
    close(frame.rgb, np.repeat(np.round(gray / 257.0)[..., None], 3, 2), 0)


def test_16_bit_big_endian_and_rgb_tiff(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    wide = gradient().astype(np.uint16) * 257
    for name, data in (("rgb", wide), ("gray", wide[..., 0])):
        for order in "<>":
            tifffile.imwrite(
                tmp_path / "a.tif", data, byteorder=order, photometric="minisblack"
                if name == "gray" else "rgb",
            )  # fmt: skip
            expected = gradient() if name == "rgb" else np.repeat(gradient()[..., :1], 3, 2)
            close(read_image(tmp_path / "a.tif").rgb, expected, 1)


def test_float_tiff_is_refused():
    image = Image.fromarray(np.random.default_rng(0).random((H, W), dtype=np.float32))
    with pytest.raises(InputError, match="8 or 16 bits"):
        read_image(encoded(image, "TIFF"))


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_gray_bilevel_and_palette(mode):
    image = Image.fromarray(gradient()).convert(mode)
    close(read_image(encoded(image, "PNG")).rgb, np.asarray(image.convert("RGB")), 0)


def test_transparency_becomes_white():
    rgba = np.zeros((H, W, 4), np.uint8)
    rgba[:, W // 2 :] = (200, 100, 0, 255)
    rgba[:, W // 4 : W // 2] = (0, 0, 0, 128)
    for image in (Image.fromarray(rgba), Image.fromarray(rgba).convert("LA")):
        out = read_image(encoded(image, "PNG")).rgb
        assert (out[:, : W // 4] == 255).all()
        assert np.abs(out[:, W // 4 : W // 2].astype(int) - 127).max() <= 1
    palette = Image.fromarray(rgba[:, :, :3]).convert("P")
    black = palette.getpixel((0, 0))
    out = read_image(encoded(palette, "PNG", transparency=black)).rgb
    assert (out[:, : W // 2] == 255).all()
    out = read_image(encoded(Image.fromarray(rgba[:, :, :3]), "PNG", transparency=(0, 0, 0))).rgb
    assert (out[:, : W // 2] == 255).all()
    close(out[:, W // 2 :], rgba[:, W // 2 :, :3], 0)


def test_cmyk_without_a_profile():
    image = Image.new("CMYK", (W, H), (0, 255, 255, 0))
    out = read_image(encoded(image, "TIFF")).rgb
    close(out, np.broadcast_to([255, 0, 0], (H, W, 3)), 0)


def red_blue_profile() -> bytes:
    """An sRGB profile whose red and blue primaries are exchanged, under another name."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    end = 132 + 12 * int.from_bytes(data[128:132], "big")
    table = data[:end].replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")
    return table + data[end:].replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))


@pytest.mark.parametrize("alpha", [False, True])
def test_icc_profile_is_applied(alpha):
    image = Image.new("RGBA" if alpha else "RGB", (W, H), (255, 0, 0))
    out = read_image(encoded(image, "PNG", icc_profile=red_blue_profile())).rgb
    assert (out[0, 0] > [-1, -1, 250]).all()
    assert (out[0, 0] < [5, 5, 256]).all()


def test_gray_with_the_profile_of_a_colour_picture():
    image = Image.fromarray(gradient()).convert("L")
    out = read_image(encoded(image, "PNG", icc_profile=red_blue_profile())).rgb
    close(out, np.asarray(image.convert("RGB")), 2)


def test_broken_profile_is_ignored_with_a_word(caplog):
    with caplog.at_level(logging.WARNING):
        data = encoded(Image.fromarray(gradient()), "PNG", icc_profile=b"nonsense" * 20)
        close(read_image(data).rgb, gradient(), 0)
    assert "ICC" in caplog.text


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """What a camera that writes this orientation stores: the inverse of each EXIF transform."""
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(undo[orientation](upright))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_exif_orientation(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"PNG": {}, "TIFF": {}, "JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {}}[kind]
    if kind == "WEBP":
        options = {"lossless": True}
    data = encoded(Image.fromarray(stored(gradient(), orientation)), kind, exif=exif, **options)
    close(read_image(data).rgb, gradient(), 12 if kind == "JPEG" else 0)
    image = Image.open(io.BytesIO(data))
    size = image.size
    close(read_image(image).rgb, gradient(), 12 if kind == "JPEG" else 0)
    if kind != "TIFF":  # Pillow turns TIFF itself, while decoding
        assert image.size == size


@pytest.mark.parametrize(
    ("written", "expected"), [(50, 50.0), (0, None), (1, None), (65535, None), (26, 26.0)]
)
def test_focal_length(written, expected):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = written
    data = encoded(Image.fromarray(gradient()), "JPEG", exif=exif)
    assert read_image(data).focal_equivalent_mm == expected


def test_damaged_exif_is_no_obstacle():
    data = encoded(Image.fromarray(gradient()), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read_image(data).rgb.shape == (H, W, 3)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_of_several_pictures(kind):
    first, second = Image.new("RGB", (W, H), (250, 0, 0)), Image.new("RGB", (W, H), (0, 0, 250))
    data = encoded(first, kind, save_all=True, append_images=[second])
    assert np.abs(read_image(data).rgb[5, 5].astype(int) - [250, 0, 0]).max() <= 3


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),
        b"IDAT": zlib.compress(b""),
    }
    parts = [
        struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))
        for tag, data in chunks.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_wide_pictures_are_scaled_down():
    wide = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (50, 78))[:, :19_968])
    frame = read_image(encoded(wide.convert("RGB"), "JPEG"))
    assert frame.rgb.shape == (10, 4096, 3)
    frame = read_image(np.full((4100, 30), 7, np.uint8))
    assert frame.rgb.shape == (4096, 30, 3)
    assert (frame.rgb == 7).all()


@pytest.mark.parametrize(
    ("size", "match"),
    [
        ((20_001, 100), "too large"),
        ((10_001, 10_001), "too large"),
        ((60_000, 60_000), "too large"),
        ((15, 400), "too small"),
        ((1, 1), "too small"),
    ],
)
def test_sizes_that_are_refused(size, match):
    with pytest.raises(InputError, match=match):
        read_image(png_header(*size))
    if size[0] * size[1] < 20_000_000:
        with pytest.raises(InputError, match=match):
            read_image(np.zeros(size[::-1], np.uint8))
        with pytest.raises(InputError, match=match):
            read_image(Image.new("L", size))


def test_pixel_bomb_below_the_limit_gives_no_warning():
    # 95 million pixels: Pillow warns, we decode; here the decoding fails for lack of pixels.
    with pytest.raises(InputError, match="cannot be read"):
        read_image(png_header(9_700, 9_800))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000"])
def test_truncated_and_damaged_files(kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    for length in (3, 20, len(data) // 2):
        with pytest.raises(InputError, match="cannot be read"):
            read_image(data[:length])
    rng = np.random.default_rng(1)
    for _ in range(30):
        damaged = bytearray(data)
        for position in rng.integers(0, min(len(data), 400), 6):
            damaged[position] = rng.integers(0, 256)
        try:
            frame = read_image(bytes(damaged))
        except InputError:
            continue
        assert min(frame.rgb.shape[:2]) >= 16


def test_what_is_no_picture(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello, this is not a picture at all")
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (tmp_path / "drawing.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 90\n")
    for source, match in [
        (tmp_path, "is a folder"),
        (tmp_path / "missing.jpg", "does not exist"),
        ("", "is a folder"),
        ("a\0b", "does not exist"),
        (tmp_path / "empty.jpg", "0 bytes"),
        (b"", "0 bytes"),
        (tmp_path / "text.jpg", "cannot be read"),
        (tmp_path / "phone.heic", "HEIC"),
        (tmp_path / "drawing.eps", "cannot be read"),
        (b"\xff\xd8\xff\xe0", "cannot be read"),
        (5, "from int"),
        (None, "from NoneType"),
        ([1, 2], "from list"),
    ]:
        with pytest.raises(InputError, match=match) as caught:
            read_image(source)
        assert "\n" not in str(caught.value)
    closed = Image.open(io.BytesIO(encoded(Image.fromarray(gradient()), "PNG")))
    closed.close()
    with pytest.raises(InputError, match="cannot be read"):
        read_image(closed)


@pytest.mark.parametrize(
    "array",
    [
        np.full((H, W, 3), np.nan),
        np.zeros((H, W, 3), np.float32),
        np.zeros((H, W, 3), np.int64),
        np.zeros((H, W), bool),
        np.zeros((H, W, 3), object),
        np.zeros((H, W, 2), np.uint8),
        np.zeros((1, H, W, 3), np.uint8),
        np.zeros((3, H, W), np.uint8),
        np.zeros(H, np.uint8),
        np.zeros((), np.uint8),
        np.zeros((0, 0, 3), np.uint8),
    ],
)
def test_arrays_that_are_refused(array):
    with pytest.raises(InputError):
        read_image(array)


def test_no_warning_leaks_and_filters_stay():
    before = list(warnings.filters)
    with pytest.raises(InputError):
        read_image(b"GIF89a")
    assert warnings.filters == before


@needs_photos
def test_real_pictures():
    for path in sorted(PHOTOS.iterdir()):
        assert read_image(path).rgb.shape[2] == 3
    assert read_image(PHOTOS / "derived_exif6_chu.jpg").rgb.shape == (275, 225, 3)
    colour = read_image(PHOTOS / "wm_giunchedi.jpg").rgb.astype(float)
    cmyk = read_image(PHOTOS / "wm_giunchedi_cmyk.jpg").rgb.astype(float)
    assert np.abs(colour - cmyk).mean() < 1.0


@pytest.mark.parametrize(
    ("written", "told"),
    [(IFDRational(13, 10), 1.3), (IFDRational(0, 1), None), (IFDRational(1, 0), None),
     (IFDRational(4294967295, 1), None)],
)  # fmt: skip
def test_the_subjects_distance_is_read_where_it_is_believable(written, told):
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.SubjectDistance] = written
    stream = io.BytesIO()
    Image.new("RGB", (32, 32)).save(stream, "JPEG", exif=exif)
    frame = read_image(stream.getvalue())
    assert frame.subject_distance_m == (None if told is None else pytest.approx(told))
