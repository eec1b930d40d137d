"""How a landmark detector errs: bias and spread of each landmark over the head's pose.

Errors are measured on renders of random heads, whose true landmarks are known
(tools/calibrate_landmarks.py), in a frame that moves with the face: turned so that the head's up
axis points up in the picture, in units of REFERENCE_M at the head's distance. The bias is what a
landmark's place on the surface cannot express because it depends on the view. Why errors shared
between landmarks are not modelled is in docs/design/landmark-noise.md.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from face3d.core.errors import AssetError
from face3d.core.npz import NpzError, read_npz

REFERENCE_M = 0.1
"""Errors are given in units of this length at the head's distance."""


@dataclass(frozen=True, kw_only=True)
class NoiseAtPose:
    """The noise of faces in their own pictures, px."""

    bias_px: Float[Tensor, "*batch landmark 2"]
    spread_px: Float[Tensor, "*batch landmark 2"]  # standard deviation

    def pick(self, indices: Int[Tensor, "_"]) -> "NoiseAtPose":
        """The noise of some of the landmarks."""
        return NoiseAtPose(
            bias_px=self.bias_px[..., indices, :], spread_px=self.spread_px[..., indices, :]
        )


@dataclass(frozen=True, kw_only=True)
class ViewAngles:
    """A head's turn against the line from the camera to it, radians."""

    yaw: Float[Tensor, "*batch"]  # positive: the face turns towards the picture's right
    pitch: Float[Tensor, "*batch"]
    roll: Float[Tensor, "*batch"]


def view_angles(
    camera_from_head: Float[Tensor, "*batch 4 4"],
) -> ViewAngles:
    """Yaw, pitch and roll of a head as the picture shows it.

    The angles are taken against the viewing ray, not the optical axis, so a face at the border
    of a wide picture counts as turned by as much as it is seen turned.
    """
    ray = torch.nn.functional.normalize(camera_from_head[..., :3, 3], dim=-1)
    axis = torch.zeros_like(ray)
    axis[..., 2] = 1.0
    # Householder pairs give the shortest rotation from the ray to the optical axis.
    half = torch.nn.functional.normalize(ray + axis, dim=-1)
    eye = torch.eye(3, dtype=ray.dtype, device=ray.device)
    flip = 2 * half[..., :, None] * half[..., None, :] - eye
    rotation = flip @ (2 * ray[..., :, None] * ray[..., None, :] - eye)
    m = rotation @ camera_from_head[..., :3, :3]
    m = torch.stack([m[..., 0, :], -m[..., 1, :], -m[..., 2, :]], dim=-2)
    return ViewAngles(
        yaw=torch.atan2(-m[..., 2, 0], m[..., 2, 2]),
        pitch=torch.asin(m[..., 2, 1].clamp(-1, 1)),
        roll=torch.atan2(-m[..., 0, 1], m[..., 1, 1]),
    )


def picture_from_face(roll: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 2 2"]:
    """From face-aligned coordinates (y up) to the picture's (y down)."""
    c, s = roll.cos(), roll.sin()
    return torch.stack([torch.stack([c, -s], -1), torch.stack([-s, -c], -1)], dim=-2)


@dataclass(frozen=True, kw_only=True)
class LandmarkNoise:
    """A detector's noise over yaw, for yaws of zero and more; others by mirroring.

    ``bias`` has three rows per bin: a constant and slopes over pitch and over yaw from the bin's
    centre, per radian.
    """

    yaw_rad: Float[Tensor, "bin"]  # centres of the yaw bins, ascending from 0
    bias: Float[Tensor, "bin 3 landmark 2"]
    spread: Float[Tensor, "bin landmark 2"]
    mirror: Int[Tensor, "landmark"]  # mirror partner of each landmark
    floor_px: float  # a spread that no larger face gets rid of

    def at_pose(self, angles: ViewAngles, px_per_reference: Float[Tensor, "*batch"]) -> NoiseAtPose:
        """The noise of faces at given angles and scales, from the nearest yaw bin."""
        yaw = angles.yaw.abs()
        chosen = (yaw[..., None] - self.yaw_rad).abs().argmin(-1)
        ahead = (yaw - self.yaw_rad[chosen]).clamp(-0.3, 0.3)
        terms = torch.stack([torch.ones_like(yaw), angles.pitch.clamp(-0.6, 0.6), ahead], dim=-1)
        mirrored = (angles.yaw < 0)[..., None, None]
        bias = torch.einsum("...t,...tlc->...lc", terms, self.bias[chosen])
        bias = torch.where(mirrored, bias[..., self.mirror, :] * bias.new_tensor([-1.0, 1.0]), bias)
        bias = (picture_from_face(angles.roll)[..., None, :, :] @ bias[..., None]).squeeze(-1)
        spread = self.spread[chosen]
        spread = torch.where(mirrored, spread[..., self.mirror, :], spread)
        scale = px_per_reference[..., None, None]
        return NoiseAtPose(
            bias_px=scale * bias,
            # The axes of the spread stay the picture's: its x and y parts differ little.
            spread_px=((spread * scale) ** 2 + self.floor_px**2).sqrt(),
        )


def read_landmark_noise(path: Path, *, dtype: torch.dtype = torch.float32) -> LandmarkNoise:
    """Read a calibration written by tools/calibrate_landmarks.py.

    Raises:
        AssetError: The file is missing or damaged.
    """
    try:
        arrays = read_npz(path)
        values = {
            name: torch.as_tensor(arrays[name]).to(dtype) for name in ("yaw_rad", "bias", "spread")
        }
        return LandmarkNoise(
            **values,
            mirror=torch.as_tensor(arrays["mirror"].astype(np.int64)),
            floor_px=float(arrays["floor_px"]),
        )
    except FileNotFoundError as error:
        raise AssetError(
            f"The landmark calibration {path} is missing; reinstall face3d."
        ) from error
    except (NpzError, KeyError, ValueError) as error:
        raise AssetError(f"{path} is not a readable landmark calibration; reinstall.") from error
