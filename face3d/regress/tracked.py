"""Parameter files that FLAME trackers and regressors write, as moving heads.

Formats: docs/design/regressors.md. No file is unpickled; arrays come from .npz and .npy without
objects, from MATLAB files, and from torch's files with ``weights_only``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.io import loadmat
from scipy.spatial.transform import Rotation
from torch import Tensor

from face3d.core.errors import AssetError, InputError
from face3d.core.npz import NpzError, read_npy, read_npz
from face3d.core.rotations import matrix_from_axis_angle
from face3d.regress.checkpoint import read_checkpoint
from face3d.regress.crop_pose import rotation_from_six

USUAL_FPS = 25.0


@dataclass(frozen=True, kw_only=True)
class TrackedHead:
    """One person over time, in FLAME's own terms.

    Attributes:
        source: Which program's file it is.
        shape: Identity.
        expression: Of each picture.
        rotation: Of the whole head about its root joint.
        translation: Then added, metres.
        neck: Axis-angle, likewise the next two.
        jaw: Opens with positive x.
        eyes: Left, right.
        eyelids: Closed is 1, left and right; where the file has them.
        offsets: Added to the template's first vertices, metres; where the file has them.
        about_origin: The head turns about the origin of FLAME's frame, not about its root joint.
    """

    source: str
    shape: Float[Tensor, "identity"]
    expression: Float[Tensor, "time expression"]
    rotation: Float[Tensor, "time 3 3"]
    translation: Float[Tensor, "time 3"]
    neck: Float[Tensor, "time 3"]
    jaw: Float[Tensor, "time 3"]
    eyes: Float[Tensor, "time 2 3"]
    eyelids: Float[Tensor, "time 2"] | None = None
    offsets: Float[Tensor, "vertex 3"] | None = None
    about_origin: bool = False


def read_tracked(path: Path) -> TrackedHead:
    """Read a file, or a folder of one file for each picture.

    Args:
        path: VHAP's ``tracked_flame_params_*.npz``; an .npz of SMIRK's outputs under their own
            names; metrical-tracker's or Pixel3DMM's folder of ``.frame`` files, or one of them;
            DECA's ``.mat``; EMOCA's folder with ``shape.npy``, ``exp.npy`` and ``pose.npy``, or a
            folder of such folders; MICA's ``identity.npy``.

    Raises:
        InputError: There is no such file or folder, or it is of no known form.
        AssetError: It is damaged, or would run code.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; give a parameter file or a folder of them.")
    if path.is_dir():
        return _folder(path)
    readers = {".npz": _arrays, ".frame": _frames, ".mat": _deca, ".npy": _mica}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path.name} is no parameter file that is known; .npz (VHAP, SMIRK), "
            ".frame (metrical-tracker, Pixel3DMM), .mat (DECA), .npy (MICA), or a folder."
        )
    return reader([path])


def _folder(path: Path) -> TrackedHead:
    frames = sorted(path.glob("*.frame"))
    if frames:
        return _frames(frames)
    if (path / "exp.npy").exists():
        return _emoca([path])
    mats = sorted(path.glob("*.mat"))
    if mats:
        return _deca(mats)
    inner = sorted(p for p in path.iterdir() if (p / "exp.npy").exists())
    if inner:
        return _emoca(inner)
    raise InputError(
        f"{path} holds no .frame or .mat files and no folders with exp.npy; give another folder."
    )


def _flat(path: Path, values: Mapping[str, Any], name: str, count: int) -> Tensor:
    """So many finite numbers of a file, in whatever shape."""
    if name not in values:
        raise AssetError(f"{path} has no {name!r}; it is no .frame file.")
    value = values[name]
    try:
        value = value.detach().cpu() if isinstance(value, Tensor) else np.asarray(value)
        found = torch.as_tensor(value).float().reshape(-1)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AssetError(f"{path}: {name!r} holds no numbers; it is damaged.") from error
    if len(found) != count or not bool(torch.isfinite(found).all()):
        raise AssetError(f"{path}: {name!r} does not hold {count} finite numbers.")
    return found


def _tensor(path: Path, values: Mapping[str, Any], name: str, *shape: int | None) -> Tensor:
    """An array of a file, finite and of a shape; None is any length."""
    if name not in values:
        raise AssetError(f"{path} has no {name!r}; it is of another program or damaged.")
    value = values[name]
    try:
        value = value.detach().cpu() if isinstance(value, Tensor) else np.asarray(value)
        found = torch.as_tensor(value).float()
    except (TypeError, ValueError, RuntimeError) as error:
        raise AssetError(f"{path}: {name!r} holds no numbers; it is damaged.") from error
    right = found.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, found.shape, strict=False)
    )
    if not right or not bool(torch.isfinite(found).all()):
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise AssetError(
            f"{path}: {name!r} has shape {tuple(found.shape)}; finite values of shape ({wanted}) "
            "are needed."
        )
    return found


def _arrays(paths: list[Path]) -> TrackedHead:
    path = paths[0]
    try:
        values = read_npz(path)
    except NpzError as error:
        raise AssetError(f"{path} is damaged ({error}).") from error
    if "expression_params" in values:
        return _smirk(path, values)
    expression = _tensor(path, values, "expr", None, None)
    count = len(expression)
    offsets = values.get("static_offset")
    if offsets is not None and (offsets.size % 3 or not np.isfinite(offsets).all()):
        raise AssetError(f"{path}: 'static_offset' holds no offsets of vertices; it is damaged.")
    return TrackedHead(
        source="VHAP",
        shape=_tensor(path, values, "shape", None),
        expression=expression,
        rotation=matrix_from_axis_angle(_tensor(path, values, "rotation", count, 3)),
        translation=_tensor(path, values, "translation", count, 3),
        neck=_tensor(path, values, "neck_pose", count, 3),
        jaw=_tensor(path, values, "jaw_pose", count, 3),
        eyes=_tensor(path, values, "eyes_pose", count, 6).unflatten(1, (2, 3)),
        offsets=None if offsets is None else torch.as_tensor(offsets).float().reshape(-1, 3),
    )


def _frames(paths: list[Path]) -> TrackedHead:
    """metrical-tracker keeps the head's pose in the camera, Pixel3DMM in the world.

    Both keep rotations as their first two rows, and the right eye before the left.
    """
    rows: dict[str, list[Tensor]] = {}
    sources: set[str] = set()
    for path in paths:
        state = read_checkpoint(path)
        flame, camera = state.get("flame"), state.get("opencv")
        if not isinstance(flame, Mapping):
            raise AssetError(f"{path} has no 'flame'; it is no .frame file.")
        still = torch.eye(3)
        if "R" in flame and "t" in flame:
            sources.add("Pixel3DMM")
            turn = _from_rows(_tensor(path, flame, "R", 1, 6))[0]
            place = _flat(path, flame, "t", 3)
            neck = _from_rows(_tensor(path, flame, "neck", 1, 6))[0] if "neck" in flame else still
        elif isinstance(camera, Mapping):
            sources.add("metrical-tracker")
            turn, place = _flat(path, camera, "R", 9), _flat(path, camera, "t", 3)
            neck = still
        else:
            raise AssetError(f"{path} has neither 'opencv' nor R and t; it is no .frame file.")
        eyes = _from_rows(_tensor(path, flame, "eyes", 1, 12).reshape(2, 6))
        values = {
            "shape": _tensor(path, flame, "shape", 1, None)[0],
            "expression": _tensor(path, flame, "exp", 1, None)[0],
            "rotation": turn.reshape(3, 3), "translation": place,
            "jaw": axis_angle_from_matrix(
                _from_rows(_tensor(path, flame, "jaw", 1, 6))
            )[0],
            "neck": axis_angle_from_matrix(neck),
            "eyes": axis_angle_from_matrix(eyes.flip(0)),
            "eyelids": _tensor(path, flame, "eyelids", 1, 2)[0],
        }  # fmt: skip
        for name, value in values.items():
            rows.setdefault(name, []).append(value)
    if len(sources) > 1:
        raise AssetError("The .frame files are of two programs; give one take.")
    for name in ("shape", "expression"):
        if len({len(value) for value in rows[name]}) > 1:
            raise AssetError(f"The files differ in the length of {name!r}; give one take.")
    stacked = {name: torch.stack(values) for name, values in rows.items()}
    shape = stacked.pop("shape").mean(0)
    return TrackedHead(source=sources.pop(), shape=shape, about_origin=True, **stacked)


def _smirk(path: Path, values: Mapping[str, Any]) -> TrackedHead:
    """What SMIRK's encoder says of a video, saved under its own names."""
    expression = _tensor(path, values, "expression_params", None, None)
    count = len(expression)
    still = torch.zeros(count, 3)
    lids = _tensor(path, values, "eyelid_params", count, 2) if "eyelid_params" in values else None
    return TrackedHead(
        source="SMIRK", shape=_tensor(path, values, "shape_params", count, None).mean(0),
        expression=expression,
        rotation=matrix_from_axis_angle(_tensor(path, values, "pose_params", count, 3)),
        translation=still, neck=still, jaw=_tensor(path, values, "jaw_params", count, 3),
        eyes=torch.zeros(count, 2, 3), eyelids=lids,
    )  # fmt: skip


def _from_rows(six: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotations whose first two rows are given, as PyTorch3D keeps them."""
    return rotation_from_six(six).mT


def _deca(paths: list[Path]) -> TrackedHead:
    rows: list[dict[str, Tensor]] = []
    for path in paths:
        try:
            values = loadmat(path)
        except Exception as error:
            # SciPy's reader raises whatever it stumbles over.
            raise AssetError(f"{path} is no readable MATLAB file.") from error
        rows.append(_coarse(path, values))
    return _from_coarse("DECA", rows)


def _emoca(folders: list[Path]) -> TrackedHead:
    rows: list[dict[str, Tensor]] = []
    for folder in folders:
        values = {}
        for name in ("shape", "exp", "pose"):
            values[name] = _npy(folder / f"{name}.npy").reshape(1, -1)
        rows.append(_coarse(folder, values))
    return _from_coarse("EMOCA", rows)


def _coarse(path: Path, values: Mapping[str, Any]) -> dict[str, Tensor]:
    return {
        "shape": _tensor(path, values, "shape", 1, None)[0],
        "expression": _tensor(path, values, "exp", 1, None)[0],
        "pose": _tensor(path, values, "pose", 1, 6)[0],
    }


def _from_coarse(source: str, rows: list[dict[str, Tensor]]) -> TrackedHead:
    """Of regressors that see each picture alone; the identity is the mean of theirs."""
    for name in ("shape", "expression"):
        if len({len(row[name]) for row in rows}) > 1:
            raise AssetError(f"The {source} files differ in the length of {name!r}; give one take.")
    pose = torch.stack([row["pose"] for row in rows])
    still = torch.zeros(len(rows), 3)
    return TrackedHead(
        source=source,
        shape=torch.stack([row["shape"] for row in rows]).mean(0),
        expression=torch.stack([row["expression"] for row in rows]),
        rotation=matrix_from_axis_angle(pose[:, :3]),
        translation=still, neck=still, jaw=pose[:, 3:],
        eyes=torch.zeros(len(rows), 2, 3),
    )  # fmt: skip


def _mica(paths: list[Path]) -> TrackedHead:
    shape = torch.as_tensor(_npy(paths[0])).float().reshape(-1)
    if not 1 <= len(shape) <= 300 or not bool(torch.isfinite(shape).all()):
        raise AssetError(f"{paths[0]} holds {len(shape)} numbers; MICA's identity.npy holds 300.")
    still = torch.zeros(1, 3)
    return TrackedHead(
        source="MICA", shape=shape, expression=torch.zeros(1, 0), rotation=torch.eye(3)[None],
        translation=still, neck=still, jaw=still, eyes=torch.zeros(1, 2, 3),
    )  # fmt: skip


def _npy(path: Path) -> Float[np.ndarray, "..."]:
    try:
        return read_npy(path).astype(np.float64)
    except FileNotFoundError as error:
        raise AssetError(f"{path} is missing; the folder is of another program.") from error
    except (NpzError, ValueError, TypeError) as error:
        raise AssetError(f"{path} is damaged, or holds objects instead of numbers.") from error


def axis_angle_from_matrix(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Rotations as axis-angle vectors, radians; by their quaternions, so stable near pi too."""
    flat = rotation.detach().reshape(-1, 3, 3).double().numpy()
    found = torch.as_tensor(Rotation.from_matrix(flat).as_rotvec()).to(rotation.dtype)
    return found.reshape(*rotation.shape[:-2], 3)
