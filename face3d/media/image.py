"""Pictures in, whatever their format: one upright sRGB frame out."""

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError
from PIL.TiffImagePlugin import IFDRational

from face3d.core import Frame, InputError

MIN_SIDE_PX = 16
"""Shorter sides cannot hold a face that means anything."""

MAX_SIDE_PX = 20_000
"""Longer sides are refused."""

MAX_PIXELS = 100_000_000
"""More pixels are refused, before any of them is decoded."""

MAX_FRAME_SIDE_PX = 4096
"""Longer pictures are scaled down to this: a face that fills one shows pores at 4096 px."""

ImageSource: TypeAlias = Path | str | bytes | Image.Image | Shaped[np.ndarray, "..."]

_FORMATS = (
    ("JPEG", "MPO", "PNG", "TIFF", "WEBP", "GIF", "BMP", "PPM", "JPEG2000", "AVIF", "TGA", "HEIF")
    # EPS and PDF are left out on purpose: Pillow would start an external program for them.
)

# Pillow's decoders let whatever goes wrong inside them through; damaged files produced each of
# these. Anything else is an error of ours and must be seen.
_DECODER_ERRORS = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError),
    *(EOFError, MemoryError, AttributeError, struct.error, zlib.error),
    Image.DecompressionBombError,
)

_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a stored picture upright, by EXIF orientation (CIPA DC-008, 4.6.4)."""

_log = logging.getLogger(__name__)


def read_image(source: ImageSource | object) -> Frame:
    """Read a picture as an upright sRGB frame.

    The EXIF orientation is applied, embedded ICC profiles (CMYK ones too) are converted to sRGB,
    16-bit values are scaled to 8 bits, transparency is laid over white, and of animated or
    multi-page files the first picture is taken. Pictures whose longer side exceeds 4096 px are
    scaled down to that; every pixel coordinate then refers to the smaller picture, while the
    35 mm equivalent of the focal length holds for any size.

    Args:
        source: A file name, the bytes of a file, a Pillow image, or an array: uint8 or uint16 of
            shape (h, w), (h, w, 3) or (h, w, 4), sRGB with straight alpha.

    Returns:
        The frame, with the focal length and the subject's distance if the EXIF data tells
        believable ones.

    Raises:
        InputError: The source cannot be read, is no picture, has a side below 16 px or above
            20,000 px, or has more than 100 million pixels.

    Example:
        >>> frame = read_image("portrait.jpg")  # doctest: +SKIP
        >>> frame.rgb.shape  # doctest: +SKIP
        (1137, 910, 3)
    """
    name = _source_name(source)
    with _decoding(name), _opened(source, name) as image:
        _check_size(image.size, name)
        # A JPEG is decoded at a half, a quarter or an eighth of its size when that is enough.
        image.draft(None, (MAX_FRAME_SIDE_PX, MAX_FRAME_SIDE_PX))
        image.load()
        # Read after loading: PNG may store EXIF after the pixels, and Pillow turns TIFF itself.
        told = _read_exif(image)
        rgb = _srgb_from_image(image, name)
        if told.orientation in _TRANSPOSES:
            rgb = rgb.transpose(_TRANSPOSES[told.orientation])
        rgb.thumbnail(
            (MAX_FRAME_SIDE_PX, MAX_FRAME_SIDE_PX), Image.Resampling.LANCZOS, reducing_gap=3.0
        )
        pixels = np.array(rgb)
    return Frame(
        rgb=pixels,
        focal_equivalent_mm=told.focal_equivalent_mm,
        subject_distance_m=told.subject_distance_m,
        source=name,
    )


def _source_name(source: object) -> str:
    """What to call the source in messages."""
    if isinstance(source, str | Path):
        return str(source)
    if isinstance(source, bytes):
        return f"the image of {len(source)} bytes"
    if isinstance(source, np.ndarray):
        return f"the array of shape {source.shape}"
    if isinstance(source, Image.Image):
        filename = getattr(source, "filename", "")
        return str(filename) if filename else "the Pillow image"
    raise InputError(
        f"A picture cannot be read from {type(source).__name__}; "
        "give a file name, bytes, a Pillow image or a NumPy array."
    )


@contextmanager
def _decoding(name: str) -> Generator[None]:
    """Turn whatever a decoder raises into one InputError, and keep its warnings quiet.

    Warnings are about metadata and size; what matters of both is checked here anyway.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(_too_large(name)) from error
    except UnidentifiedImageError as error:
        raise InputError(
            f"{name} cannot be read as a picture of a known format; "
            "save it as JPEG or PNG, or check that it is a picture at all."
        ) from error
    except _DECODER_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{name} cannot be read as a picture ({reason}); "
            "it may be damaged, so save or download it again, as JPEG or PNG."
        ) from error


@contextmanager
def _opened(source: object, name: str) -> Generator[Image.Image]:
    """The source as a Pillow image that is not decoded yet where that is possible."""
    if isinstance(source, np.ndarray):
        yield _image_from_array(source, name)
    elif isinstance(source, Image.Image):
        # A copy, because decoding and turning must not change the caller's image.
        _check_size(source.size, name)
        image = source.copy()
        image.info = dict(source.info)
        yield image
    else:
        with Image.open(_open_file(source, name), formats=_known_formats()) as image:
            yield image


def _known_formats() -> list[str]:
    """The formats this Pillow can read, among those that are wanted."""
    Image.init()
    return [known for known in _FORMATS if known in Image.OPEN]


def _open_file(source: object, name: str) -> io.BytesIO:
    """The bytes of a file, with errors that say what to do.

    Raises:
        InputError: The file is missing, empty, a folder, or no picture by its first bytes.
    """
    if isinstance(source, bytes):
        data = source
    else:
        path = Path(str(source))
        if path.is_dir():
            raise InputError(f"{name} is a folder; give the name of one image file.")
        if not path.exists():
            raise InputError(f"{name} does not exist; check the file name.")
        data = path.read_bytes()
    if not data:
        raise InputError(f"{name} is empty (0 bytes); copy or download it again.")
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1") and "HEIF" not in _known_formats():
        raise InputError(f"{name} is a HEIC picture, which cannot be read; save it as JPEG first.")
    return io.BytesIO(data)


def _image_from_array(array: Shaped[np.ndarray, "..."], name: str) -> Image.Image:
    """Wrap an array whose type and shape leave no doubt about its meaning."""
    if array.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{name} holds {array.dtype} values; give uint8 (0 to 255) or uint16 (0 to 65535) "
            "instead, because the range of other types is not certain."
        )
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        raise InputError(f"{name} is no picture; its shape must be (h, w), (h, w, 3) or (h, w, 4).")
    _check_size((array.shape[1], array.shape[0]), name)
    if array.dtype == np.uint16:
        array = _bytes_from_uint16(array)
    return Image.fromarray(np.ascontiguousarray(array))


def _bytes_from_uint16(values: Shaped[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Scale 0 to 65535 to 0 to 255, rounded to nearest (65535 = 257 * 255)."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _check_size(size: tuple[int, int], name: str) -> None:
    """Refuse what is too small to show a face or too large to decode."""
    if min(size) < MIN_SIDE_PX:
        raise InputError(
            f"{name} is {size[0]} x {size[1]} px, too small to show a face; "
            f"each side needs at least {MIN_SIDE_PX} px."
        )
    if max(size) > MAX_SIDE_PX or size[0] * size[1] > MAX_PIXELS:
        raise InputError(_too_large(f"{name} ({size[0]} x {size[1]} px)"))


def _too_large(name: str) -> str:
    return (
        f"{name} is too large; scale it down to at most {MAX_SIDE_PX:,} px a side and "
        f"{MAX_PIXELS // 1_000_000} million pixels."
    )


@dataclass(frozen=True, kw_only=True)
class _Exif:
    """What a file says of its picture, where it is believable."""

    orientation: int = 1  # 1 to 8
    focal_equivalent_mm: float | None = None
    subject_distance_m: float | None = None


def _read_exif(image: Image.Image) -> _Exif:
    """Orientation, focal length and distance.

    Damaged EXIF data is no reason to refuse a picture, so it counts as none.
    """
    try:
        exif = image.getexif()
        orientation = int(exif.get(ExifTags.Base.Orientation, 1))
        camera = exif.get_ifd(ExifTags.IFD.Exif)
        focal_mm = float(camera.get(ExifTags.Base.FocalLengthIn35mmFilm, 0.0))
        distance = _ratio(camera.get(ExifTags.Base.SubjectDistance))
    except _DECODER_ERRORS as error:
        _log.warning("The EXIF data is damaged and was ignored (%s).", error)
        return _Exif()
    # 0 means unknown by the standard. Lenses outside 5 to 2000 mm do not take portraits, and no
    # face is told from farther than 50 m; infinity is written as such or as 4294967295.
    return _Exif(
        orientation=orientation,
        focal_equivalent_mm=focal_mm if 5.0 <= focal_mm <= 2000.0 else None,
        subject_distance_m=distance if 0.05 <= distance <= 50.0 else None,
    )


def _ratio(value: object) -> float:
    """An EXIF rational as a number; zero if it is none, or one over zero."""
    try:
        return float(value) if isinstance(value, int | float | IFDRational) else 0.0
    except ZeroDivisionError:
        return 0.0


def _srgb_from_image(image: Image.Image, name: str) -> Image.Image:
    """The picture as 8-bit sRGB without transparency."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith(("I", "F")):
        image = _gray_from_wide(image, name)
    elif image.mode not in ("RGB", "L", "CMYK"):
        # Palettes, LA, YCbCr, 1-bit and premultiplied alpha: Pillow knows their meaning.
        transparent = image.mode.endswith(("A", "a")) or "transparency" in image.info
        image = image.convert("RGBA" if transparent else "RGB")
    elif "transparency" in image.info and image.mode != "CMYK":
        image = image.convert("RGBA")
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    colour = image.convert("RGB") if alpha else image
    rgb = _srgb_from_profile(colour, profile)
    if alpha is None:
        return rgb
    # White, because cut-out portraits are made to be shown on a page: black would paint a dark
    # rim round the hair, and the hidden colours under full transparency are arbitrary.
    return Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)


def _gray_from_wide(image: Image.Image, name: str) -> Image.Image:
    """An 8-bit picture from one of 16 bits (Pillow's I;16 family and I)."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise InputError(
            f"{name} holds {values.dtype} values outside the 16-bit range or fractions; "
            "save it with 8 or 16 bits a channel first."
        )
    return Image.fromarray(_bytes_from_uint16(values))


def _srgb_from_profile(image: Image.Image, profile: object) -> Image.Image:
    """Convert to sRGB by the embedded ICC profile, or plainly when there is none.

    A profile that is damaged or made for other channels is ignored: the picture without it is
    still useful.
    """
    if isinstance(profile, bytes) and profile:
        try:
            embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if image.mode == "L" and profile[16:20] == b"RGB ":
                image = image.convert("RGB")  # many programs tag gray pictures like this
            if "sRGB" in ImageCms.getProfileDescription(embedded) and image.mode == "RGB":
                return image
            converted = ImageCms.profileToProfile(
                image, embedded, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            _log.warning("The ICC profile was ignored (%s).", " ".join(str(error).split()))
    return image.convert("RGB")
