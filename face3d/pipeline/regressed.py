"""Files of parameters that a regressor found in many pictures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from face3d.core.errors import AssetError, InputError
from face3d.core.npz import NpzError, read_npz
from face3d.core.types import Camera, HeadParams
from face3d.model import HeadModel
from face3d.regress.flame_guess import heads_in_photo

UPRIGHT = (1.0, -1.0, -1.0, 1.0)
"""From a camera's axes (y down, z away) to a scene's (y up)."""

CODES = ("shape", "expression", "jaw", "head", "cam", "eyelids")


@dataclass(frozen=True, kw_only=True)
class Regressed:
    """What ``face3d regress`` has written.

    Attributes:
        system: Of the regressor.
        arrays: One row for each face.
        times_s: When each is shown, if all of them are of one video.
    """

    system: str
    arrays: dict[str, Shaped[np.ndarray, "..."]]
    times_s: Float[np.ndarray, "time"] | None


def is_regressed(path: Path) -> bool:
    """Whether a file is one of them."""
    if path.suffix.lower() != ".npz" or not path.is_file():
        return False
    try:
        arrays = read_npz(path)
    except NpzError:
        return False
    return {"system", "source", "sources", "frame"} <= set(arrays)


def read_regressed(path: Path) -> Regressed:
    """Read a file.

    Raises:
        AssetError: It is damaged.
    """
    try:
        arrays = read_npz(path)
        system = str(arrays.pop("system"))
        arrays.pop("sources")
        count = len(arrays["source"])
        if any(len(value) != count for value in arrays.values()) or count == 0:
            raise AssetError(f"{path} is damaged; write it anew.")
        steps = np.diff(arrays["time_s"])
    except (NpzError, KeyError, TypeError) as error:
        raise AssetError(f"{path} is damaged; write it anew.") from error
    one = len(set(arrays["source"].tolist())) == 1 and len(steps) > 0 and bool((steps > 0).all())
    times = arrays["time_s"].astype(np.float64) if one else None
    return Regressed(system=system, arrays=arrays, times_s=times)


def regressed_params(model: HeadModel, found: Regressed) -> HeadParams:
    """One person over time: a common identity, everything else picture by picture.

    Args:
        model: The head that the parameters belong to.
        found: The file.

    Raises:
        InputError: The system says no pose (MICA), or the parameters are longer than the head's.
    """
    if found.system == "mica":
        raise InputError("MICA says shapes and no poses; there is no take in the file.")

    def tensor(name: str) -> Tensor:
        return torch.as_tensor(np.array(found.arrays[name])).float()

    try:
        if found.system == "own":
            names = ("shape", "expression", "neck", "jaw", "eyes", "world_from_head")
            params = HeadParams(**{name: tensor(name) for name in names})
            trust = tensor("shape_sd") ** -2
        else:
            params = _flame_params(model, {n: tensor(n) for n in found.arrays if n != "system"})
            trust = torch.ones_like(params.shape)
    except KeyError as error:
        raise InputError(f"The file has no {error}; write it anew.") from error
    if params.shape.shape[1] > model.identity_count:
        raise InputError(f"{model.data.name} is not the head that the file was made with (--head).")
    mean = (trust * params.shape).sum(0) / trust.sum(0)
    upright = torch.diag(torch.tensor(UPRIGHT)) @ params.world_from_head
    return HeadParams(
        shape=mean.expand(len(params.expression), -1).clone(), expression=params.expression,
        neck=params.neck, jaw=params.jaw, eyes=params.eyes, world_from_head=upright,
    )  # fmt: skip


def _flame_params(model: HeadModel, columns: dict[str, Float[Tensor, "time ..."]]) -> HeadParams:
    focal, size = columns["focal_px"], columns["picture_px"]
    camera = Camera(
        fx=focal, fy=focal, cx=size[:, 0] / 2, cy=size[:, 1] / 2, width=1, height=1,
        camera_from_world=torch.eye(4).expand(len(focal), 4, 4),
    )  # fmt: skip
    codes = {name: columns[name] for name in CODES if name in columns}
    crop_px = int(columns["crop_px"][0])
    with torch.no_grad():
        return heads_in_photo(model, codes, columns["photo_from_crop"], crop_px, camera)
