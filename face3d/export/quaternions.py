"""Unit quaternions, which glTF and USD store rotations as; x, y, z, w in glTF's order."""

import numpy as np
import torch
from jaxtyping import Float

from face3d.core.rotations import axis_angle_from_matrix, matrix_from_axis_angle


def quaternion_from_axis_angle(
    axis_angle: Float[np.ndarray, "*batch 3"],
) -> Float[np.ndarray, "*batch 4"]:
    """The unit quaternion of a rotation vector in radians, computed in float64."""
    half = axis_angle.astype(np.float64) / 2
    size = np.linalg.norm(half, axis=-1, keepdims=True)
    # numpy's sinc is sin(pi x) / (pi x), which is right at zero too.
    quaternion = np.concatenate([np.sinc(size / np.pi) * half, np.cos(size)], axis=-1)
    return quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)


def quaternion_from_matrix(
    matrix: Float[np.ndarray, "*batch 3 3"],
) -> Float[np.ndarray, "*batch 4"]:
    """The unit quaternion with w >= 0 of a rotation matrix."""
    vector = axis_angle_from_matrix(torch.from_numpy(matrix.astype(np.float64)))
    return quaternion_from_axis_angle(vector.numpy())


def axis_angle_from_quaternion(
    quaternion: Float[np.ndarray, "*batch 4"],
) -> Float[np.ndarray, "*batch 3"]:
    """The shortest rotation vector, in radians, of a quaternion of any length but zero."""
    # q and -q are one rotation; the one with w >= 0 has the shorter angle.
    wide = quaternion.astype(np.float64)
    upper = np.where(wide[..., 3:] < 0, -wide, wide)
    sine = np.linalg.norm(upper[..., :3], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, upper[..., 3:])
    factor = np.where(sine < 1e-12, 2.0, angle / np.where(sine < 1e-12, 1.0, sine))
    return factor * upper[..., :3]


def matrix_from_quaternion(
    quaternion: Float[np.ndarray, "*batch 4"],
) -> Float[np.ndarray, "*batch 3 3"]:
    """The rotation matrix of a quaternion of any length but zero."""
    return matrix_from_axis_angle(torch.from_numpy(axis_angle_from_quaternion(quaternion))).numpy()


def with_continuous_sign(
    quaternions: Float[np.ndarray, "time *batch 4"],
) -> Float[np.ndarray, "time *batch 4"]:
    """The same rotations, each with the sign that is nearer to the one before it in time.

    Readers interpolate the four numbers; without this a track could turn the long way round.
    """
    turns_over = (quaternions[1:] * quaternions[:-1]).sum(-1, keepdims=True) < 0
    sign = np.ones((*quaternions.shape[:-1], 1))
    sign[1:] = np.where(np.cumsum(turns_over, axis=0) % 2 == 1, -1.0, 1.0)
    return sign * quaternions
