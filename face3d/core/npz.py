"""Reading NPZ files that may be damaged or hostile: no code is run, no memory is promised away."""

import io
import math
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

MOST_BYTES = 2 << 30
"""Arrays of one file together; heads have tens of megabytes."""

_FAILURES = (
    *(OSError, ValueError, TypeError, KeyError, EOFError, RuntimeError, MemoryError, SyntaxError),
    *(OverflowError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""What zipfile and numpy raise for files that are damaged or no archive."""


class NpzError(Exception):
    """A file is no NPZ archive of plain arrays; the message says why, as part of a sentence."""


def read_npz(path: Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    """All arrays of an NPZ file.

    numpy.load is not used: it reserves what a damaged header asks for before it checks anything,
    and unpacks whatever an archive claims to hold.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: There is no such file.
        NpzError: It is damaged, holds objects, or is too large.
    """
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            size = sum(member.file_size for member in members)
            if size > MOST_BYTES:
                raise NpzError(f"it unpacks to {size} bytes")
            return {m.filename.removesuffix(".npy"): _array(archive.read(m)) for m in members}
    except FileNotFoundError:
        raise
    except _FAILURES as error:
        raise NpzError(f"it cannot be read ({error})") from error


def read_npy(path: Path) -> Shaped[np.ndarray, "..."]:
    """The array of an NPY file, read as carefully.

    Raises:
        FileNotFoundError: There is no such file.
        NpzError: It is damaged, holds objects, or is too large.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise NpzError(f"it has {path.stat().st_size} bytes")
        return _array(path.read_bytes())
    except FileNotFoundError:
        raise
    except _FAILURES as error:
        raise NpzError(f"it cannot be read ({error})") from error


def _array(data: bytes) -> Shaped[np.ndarray, "..."]:
    """An array from the bytes of a .npy file, whose size must be what its header says."""
    stream = io.BytesIO(data)
    old = np.lib.format.read_magic(stream) == (1, 0)
    header = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(stream)
    body = stream.read()
    if dtype.hasobject:
        raise ValueError("it holds objects")
    if math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError("an array has not the size that its header says")
    flat = np.frombuffer(body, dtype=dtype)
    return np.array(flat.reshape(shape, order="F") if fortran else flat.reshape(shape))
