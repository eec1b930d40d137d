"""Errors of what pictures show: landmarks, normals and textures."""

import numpy as np
from jaxtyping import Bool, Float

from face3d.core.errors import InputError


def landmark_nme(
    predicted: Float[np.ndarray, "*batch landmark axis"],
    true: Float[np.ndarray, "*batch landmark axis"],
    *,
    norm: Float[np.ndarray, "*batch"],
) -> Float[np.ndarray, "*batch"]:
    """Mean distance of landmarks over a length of the face.

    Args:
        predicted: Landmarks, px.
        true: The same, px.
        norm: The length, px: see outer_eye_distance and box_size.

    Raises:
        InputError: A length is not positive.
    """
    if not (norm > 0).all():
        raise InputError("A face has no size to relate landmark errors to; check the landmarks.")
    return np.asarray(np.linalg.norm(predicted - true, axis=-1).mean(-1) / norm)


def outer_eye_distance(
    landmarks: Float[np.ndarray, "*batch landmark axis"], *, right: int, left: int
) -> Float[np.ndarray, "*batch"]:
    """Distance between the outer eye corners, whose numbers in the layout are given."""
    return np.asarray(np.linalg.norm(landmarks[..., right, :] - landmarks[..., left, :], axis=-1))


def box_size(landmarks: Float[np.ndarray, "*batch landmark axis"]) -> Float[np.ndarray, "*batch"]:
    """The geometric mean of width and height of the landmarks' box."""
    sides = np.ptp(landmarks[..., :2], axis=-2)
    return np.asarray(np.sqrt(sides.prod(-1)))


def normal_angles(
    predicted: Float[np.ndarray, "*grid 3"],
    true: Float[np.ndarray, "*grid 3"],
    mask: Bool[np.ndarray, "*grid"] | None = None,
) -> Float[np.ndarray, "pixel"]:
    """Angles between normals in radians, where the mask is true and both have a direction.

    Args:
        predicted: Of any length.
        true: Of any length.
        mask: Where to compare; everywhere when left out.

    Raises:
        InputError: No pixel is left.
    """
    used = (np.linalg.norm(predicted, axis=-1) > 0) & (np.linalg.norm(true, axis=-1) > 0)
    if mask is not None:
        used = used & mask
    if not used.any():
        raise InputError("The mask leaves no normals to compare; give one that covers the face.")
    a, b = predicted[used], true[used]
    # The arc cosine loses half the digits where normals nearly agree.
    return np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1))


def texture_psnr(
    predicted: Float[np.ndarray, "h w channel"],
    true: Float[np.ndarray, "h w channel"],
    mask: Bool[np.ndarray, "h w"] | None = None,
) -> float:
    """Peak signal-to-noise ratio in decibels of colours in [0, 1]; infinite if they are the same.

    Raises:
        InputError: The mask leaves nothing.
    """
    difference = (predicted - true) ** 2
    if mask is not None:
        difference = difference[mask]
    if not difference.size:
        raise InputError("The mask leaves no texels to compare; give one that covers the face.")
    error = float(difference.mean())
    return float("inf") if error == 0 else -10 * float(np.log10(error))
