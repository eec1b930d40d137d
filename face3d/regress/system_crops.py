"""Crops as published systems make them, from MediaPipe's landmarks.

A crop's corner pixels lie on the corners of a square around landmarks, and what is beyond the photo
is black. Systems that take the square from FAN's 68 landmarks get it from MediaPipe's points of the
same names. Sizes and factors: their authors' code, as listed in docs/design/regressors.md.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from face3d.core.errors import InputError

OUTLINE = (
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
)  # fmt: skip
"""MediaPipe's points for the jaw line and the brows of the 68: they span the box of them all."""

FAN_BOX = 1.1
"""DECA takes the mean of the box's sides this many times larger before its own factor."""


@dataclass(frozen=True, kw_only=True)
class CropRule:
    """How a system cuts faces out."""

    size_px: int
    factor: float  # the square's side over the mean side of the landmarks' box
    landmarks: tuple[int, ...] | None  # of MediaPipe's; None is all


CROP_RULES = {
    "deca": CropRule(size_px=224, factor=FAN_BOX * 1.25, landmarks=OUTLINE),
    "emoca": CropRule(size_px=224, factor=FAN_BOX * 1.25, landmarks=OUTLINE),
    "spectre": CropRule(size_px=224, factor=1.6, landmarks=OUTLINE),
    "smirk": CropRule(size_px=224, factor=1.4, landmarks=None),
    "teaser": CropRule(size_px=224, factor=1.4, landmarks=None),
}

ARCFACE_PX = 112
ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655],
     [70.7299, 92.2041]]
)  # fmt: skip
"""Where ArcFace's crops have the right and left eye, the nose's tip and the mouth's corners."""

RIGHT_EYE, LEFT_EYE = (33, 133, 159, 145), (263, 362, 386, 374)
NOSE_TIP, MOUTH_RIGHT, MOUTH_LEFT = 1, 61, 291


@dataclass(frozen=True, kw_only=True)
class SystemCrop:
    """A crop and where it comes from."""

    pixels: UInt8[np.ndarray, "s s 3"]
    photo_from_crop: Float[np.ndarray, "2 3"]  # px; a pixel's own place is its index, as there


def system_crop(
    system: str, rgb: UInt8[np.ndarray, "h w 3"], landmarks_px: Float[np.ndarray, "478 2"]
) -> SystemCrop:
    """Cut a face out as a published system does.

    Args:
        system: Its name.
        rgb: The photo.
        landmarks_px: MediaPipe's, of the face.

    Raises:
        InputError: The system is not known.
    """
    if system == "mica":
        into, size, border = _to_arcface(landmarks_px), ARCFACE_PX, cv2.BORDER_CONSTANT
    elif system in CROP_RULES:
        rule = CROP_RULES[system]
        into, size, border = _to_square(landmarks_px, rule), rule.size_px, cv2.BORDER_CONSTANT
    else:
        known = ", ".join([*CROP_RULES, "mica"])
        raise InputError(f"There is no regressor {system!r}; there are {known}.")
    pixels = cv2.warpAffine(
        np.ascontiguousarray(rgb), into, (size, size), flags=cv2.INTER_LINEAR, borderMode=border
    )
    back = np.linalg.inv(np.vstack([into, [0, 0, 1]]))[:2]
    return SystemCrop(pixels=pixels, photo_from_crop=back)


def _to_square(points: Float[np.ndarray, "478 2"], rule: CropRule) -> Float[np.ndarray, "2 3"]:
    """The map of a square's corners onto the corner pixels."""
    chosen = points if rule.landmarks is None else points[list(rule.landmarks)]
    low, high = chosen.min(0), chosen.max(0)
    side = int(float((high - low).mean()) * rule.factor)
    scale = (rule.size_px - 1) / max(side, 1)
    corner = (low + high) / 2 - side / 2
    return np.column_stack([scale * np.eye(2), -scale * corner])


def _to_arcface(points: Float[np.ndarray, "478 2"]) -> Float[np.ndarray, "2 3"]:
    """The similarity that brings five points nearest to where ArcFace has them (Umeyama, 1991)."""
    five = np.stack(
        [points[list(RIGHT_EYE)].mean(0), points[list(LEFT_EYE)].mean(0), points[NOSE_TIP],
         points[MOUTH_RIGHT], points[MOUTH_LEFT]]
    )  # fmt: skip
    a, b = five - five.mean(0), ARCFACE - ARCFACE.mean(0)
    # As complex numbers, turning and scaling is one factor.
    za, zb = a[:, 0] + 1j * a[:, 1], b[:, 0] + 1j * b[:, 1]
    factor = (za.conj() * zb).sum() / (abs(za) ** 2).sum()
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([turn, ARCFACE.mean(0) - turn @ five.mean(0)])
