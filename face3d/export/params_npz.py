"""NPZ files of a head's parameters, its camera and whatever arrays belong to them.

The file is a zip of .npy members without pickled objects, so reading one runs no foreign code.
"""

import io
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Shaped

from face3d.core import AssetError, Camera, HeadParams, InputError
from face3d.core.checks import require_finite
from face3d.export.files import read_file, require_suffix, write_file

_Array = Shaped[np.ndarray, "..."]
_FORMAT = "face3d-params-1"
_PARAMS_TAILS: dict[str, tuple[int | None, ...]] = {
    **dict.fromkeys(("shape", "expression"), (None,)),
    **dict.fromkeys(("neck", "jaw"), (3,)),
    "eyes": (2, 3),
    "world_from_head": (4, 4),
}
"""The trailing axes of each parameter; None is any size."""
_NPY_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '(?P<dtype>[<|][biufcUS]\d{1,9})', "
    rb"'fortran_order': False, 'shape': \((?P<shape>[\d, ]{0,200})\), \} *\n",
    re.DOTALL,
)
"""How numpy starts a .npy file of version 1.0: a mark, two bytes of length, a dict, padding."""
_CAMERA_TAILS: dict[str, tuple[int | None, ...]] = {
    **dict.fromkeys(("fx", "fy", "cx", "cy"), ()),
    "camera_from_world": (4, 4),
}


@dataclass(frozen=True, kw_only=True)
class SavedParams:
    """What a parameter file holds."""

    head: str  # the name of the head that the parameters are for
    params: HeadParams
    camera: Camera | None = None
    arrays: Mapping[str, Shaped[np.ndarray, "..."]] = field(default_factory=dict)


def write_params(path: Path, saved: SavedParams) -> None:
    """Write parameters so that read_params gives equal values back.

    The same input gives the same bytes.

    Args:
        path: The .npz file to create or replace.
        saved: What to write; arrays may hold numbers, booleans or texts, but no objects.

    Raises:
        InputError: A value is not finite or has the wrong shape, an array holds objects, or the
            file cannot be written.

    Example:
        >>> write_params(Path("head.npz"), SavedParams(head="open", params=params))
    """
    require_suffix(path, ".npz")
    members: dict[str, _Array] = {
        "format": np.array(_FORMAT),
        "head": np.array(saved.head),
    }
    for name in _PARAMS_TAILS:
        members[f"params.{name}"] = _array(f"params.{name}", getattr(saved.params, name))
    if saved.camera is not None:
        members["camera.size"] = np.array([saved.camera.width, saved.camera.height])
        for name in _CAMERA_TAILS:
            members[f"camera.{name}"] = _array(f"camera.{name}", getattr(saved.camera, name))
    for name, values in saved.arrays.items():
        if values.dtype.kind not in "biufcUS" or not re.fullmatch(r"[\w.-]+", name):
            raise InputError(
                f"The array {name!r} of {values.dtype} cannot be stored; give plain numbers or "
                "texts and a name of letters, digits, dots and dashes."
            )
        members[f"arrays.{name}"] = values
    _check_members(members)
    write_file(path, _bytes_from_members(members))


def read_params(path: Path) -> SavedParams:
    """Read a file that write_params wrote.

    Args:
        path: The .npz file.

    Returns:
        Its content; tensors are on the CPU in the dtype that they were written in.

    Raises:
        AssetError: There is no such file, it is damaged, or it is another kind of file.

    Example:
        >>> saved = read_params(Path("head.npz"))
    """
    members = _members_from_bytes(read_file(path), path)
    form = members.get("format")
    head = members.get("head")
    marked = form is not None and form.shape == () and str(form) == _FORMAT
    if not marked or head is None or head.shape != () or head.dtype.kind != "U":
        raise AssetError(f"{path} is not a parameter file of face3d ({_FORMAT}); give another one.")
    try:
        _check_members(members)
    except InputError as error:
        raise AssetError(f"{path} is damaged: {error}") from error

    def tensors(group: str, names: Mapping[str, object]) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(members[f"{group}.{name}"]) for name in names}

    camera = None
    if "camera.size" in members:
        width, height = members["camera.size"].tolist()
        camera = Camera(width=width, height=height, **tensors("camera", _CAMERA_TAILS))
    own = {n.removeprefix("arrays."): v for n, v in members.items() if n.startswith("arrays.")}
    params = HeadParams(**tensors("params", _PARAMS_TAILS))
    return SavedParams(head=str(head), params=params, camera=camera, arrays=own)


def _array(name: str, value: torch.Tensor) -> _Array:
    """A tensor as an array."""
    if value.dtype not in {torch.float16, torch.float32, torch.float64}:
        raise InputError(f"{name} is {value.dtype}; convert it to float32 or float64.")
    return value.detach().cpu().numpy()


def _check_members(members: Mapping[str, _Array]) -> None:
    """Raise unless parameters and camera are complete, finite and agree in their batch axes."""
    groups = {"params": _PARAMS_TAILS}
    if any(name.startswith("camera.") for name in members):
        groups["camera"] = _CAMERA_TAILS
        size = members.get("camera.size")
        if size is None or size.shape != (2,) or size.dtype.kind != "i" or size.min() < 1:
            raise InputError("camera.size is not a width and a height in px; give both.")
    for group, tails in groups.items():
        batches: set[tuple[int, ...]] = set()
        for name, tail in tails.items():
            batches.add(_checked_batch(f"{group}.{name}", members.get(f"{group}.{name}"), tail))
        if len(batches) != 1:
            raise InputError(
                f"The arrays of {group} have the leading axes {sorted(batches)}; "
                "give all of them the same."
            )


def _checked_batch(
    name: str, value: _Array | None, tail: tuple[int | None, ...]
) -> tuple[int, ...]:
    """The leading axes of a parameter whose last axes must be ``tail``."""
    if value is None or value.dtype not in {np.dtype(f"f{size}") for size in (2, 4, 8)}:
        raise InputError(f"{name} is missing or holds no floating-point numbers; give it.")
    cut = value.ndim - len(tail)
    fits = all(want in (None, have) for want, have in zip(tail, value.shape[max(cut, 0) :]))
    if cut < 0 or not fits:
        raise InputError(f"{name} has shape {value.shape}; its last axes must be {tail}.")
    require_finite(name, value)
    return value.shape[:cut]


def _bytes_from_members(members: Mapping[str, _Array]) -> bytes:
    """An uncompressed NPZ file; numpy.savez is not used, for it takes some names as its options."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, values in members.items():
            body = io.BytesIO()
            little = np.asarray(values, dtype=values.dtype.newbyteorder("<"), order="C")
            np.lib.format.write_array(body, little, version=(1, 0), allow_pickle=False)
            # A fresh ZipInfo carries the date 1980-01-01, so the bytes do not tell the time.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), body.getvalue())
    return stream.getvalue()


def _members_from_bytes(content: bytes, path: Path) -> dict[str, _Array]:
    """The arrays of an uncompressed NPZ file.

    numpy.load is not used: it reserves what a damaged header asks for before it checks anything.
    """
    members: dict[str, _Array] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for info in archive.infolist():
                if info.compress_type != zipfile.ZIP_STORED or info.file_size > len(content):
                    raise ValueError("a compressed member")
                # Reading a member whole compares its checksum.
                data = archive.read(info)
                members[info.filename.removesuffix(".npy")] = _array_from_npy(data)
    except (ValueError, TypeError, OSError, EOFError, RuntimeError, struct.error) as error:
        raise AssetError(f"{path} is damaged ({error}); write it again.") from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise AssetError(
            f"{path} is damaged or not an NPZ file ({error}); write it again."
        ) from error
    return members


def _array_from_npy(data: bytes) -> _Array:
    """An array from a .npy file as numpy writes it, of numbers, booleans or texts.

    Raises:
        ValueError: The header is wrong, or the size of the data is not what it says.
        TypeError: The header names no type that there is.
    """
    found = _NPY_HEADER.match(data)
    if found is None:
        raise ValueError("a .npy header that is not one of face3d")
    dtype = np.dtype(found["dtype"].decode())
    shape = tuple(int(size) for size in found["shape"].replace(b",", b" ").split())
    body = data[found.end() :]
    # reshape refuses a shape that does not fit the data, so no header can ask for memory.
    return np.frombuffer(body, dtype=dtype).reshape(shape).copy()
