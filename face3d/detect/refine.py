"""From a rough guess where a face is to its landmarks, or to the verdict that there is none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from face3d.detect.crops import FACE_MARGIN, Patch, Square, square_from_landmarks
from face3d.detect.mirror import mirrored_indices

MIN_FACE_PX = 12
"""Smaller faces carry no shape, and texture begins to look like them."""

MIN_INSIDE = 0.3
"""Share of the landmarks that must lie in the picture."""

# Shift to the right and down (fractions of the side), turn in radians, growth, mirrored or not.
# The network answers each view with its own error of about 0.6 % of the face's size; the mean of
# four has half of that, and mirroring cancels most of its lean to one side. The views differ as
# much as two sensible crops of one face would. Views in mirrored pairs were tried: they separate
# faces from other things less well.
_VIEWS = (
    (0.00, 0.00, 0.00, 1.00, False),
    (0.04, 0.03, 0.12, 1.06, True),
    (-0.04, 0.03, -0.12, 0.95, False),
    (0.00, -0.05, 0.05, 1.12, True),
)

_SETTLED = 0.03  # of the face's size
_MAX_ROUNDS = 3


@runtime_checkable
class MeshModel(Protocol):
    """What a back end offers for one face."""

    crop_px: int  # side of its input
    crop_margin: float  # side of its input over that of the face in it

    def mesh(
        self, pixels: UInt8[np.ndarray, "h w 3"], square: Square
    ) -> Float[np.ndarray, "478 3"] | None:
        """Landmarks of the face that fills a square of a picture, in the picture's px, or none."""
        ...


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A place where a face may be."""

    square: Square  # FACE_MARGIN times the face
    score: float  # of the detector, 0 to 1


@dataclass(frozen=True, kw_only=True)
class Face:
    """A face that was confirmed."""

    landmarks: Float[np.ndarray, "478 3"]  # px in the picture
    score: float

    @property
    def box_xyxy(self) -> Float[np.ndarray, "4"]:
        """The bounding box of the landmarks, in px; it may reach beyond the picture."""
        xy = self.landmarks[:, :2]
        return np.concatenate([xy.min(axis=0), xy.max(axis=0)])


def refine(model: MeshModel, rgb: UInt8[np.ndarray, "h w 3"], proposal: Proposal) -> Face | None:
    """Find the landmarks of a proposed face, at the picture's own resolution.

    One crop after the detector's guess gives the place, and three more around it are averaged with
    it. A real face looks the same to the network in each of them; what merely resembles a face
    does not, and this separates the two better than any score that MediaPipe's networks give.

    Returns:
        The face, or None where there is none.
    """
    first = _mesh_views(model, rgb, proposal.square, _VIEWS[:1])
    if not first:
        return None
    seen, mean = first, first[0]
    for _ in range(_MAX_ROUNDS):
        square = square_from_landmarks(mean)
        size = square.side / FACE_MARGIN
        if size < MIN_FACE_PX:
            return None
        seen = seen + _mesh_views(model, rgb, square, _VIEWS[len(seen) :])
        if len(seen) < len(_VIEWS) - 1:
            return None
        previous, mean = mean, np.mean(seen, axis=0)
        # What lies outside the picture is the network's guess and differs more from view to view.
        inside = visible_in(mean, rgb.shape[1], rgb.shape[0]) > 0
        if inside.mean() < MIN_INSIDE:
            return None
        spread = _rms((np.stack(seen) - mean)[:, inside]) / size
        if _rms(mean - previous) < _SETTLED * size:
            break
        seen = []  # The guess was poor, so what was seen around it does not count.
    else:
        return None
    if spread > _allowed_spread(proposal.score):
        return None
    return Face(landmarks=mean, score=float(1.0 - spread / (2 * _allowed_spread(1.0))))


def _allowed_spread(score: float) -> float:
    """How far the views may disagree, as a share of the face's size.

    Measured on photographs and on things that the detector took for a face: 0.003 to 0.02 for
    faces, the latter for blurred ones and those of 15 px; 0.026 and more for the rest. The surer
    the detector, the more is let pass.
    """
    return 0.014 + 0.007 * float(np.clip((score - 0.5) / 0.3, 0.0, 1.0))


def _mesh_views(
    model: MeshModel,
    rgb: UInt8[np.ndarray, "h w 3"],
    square: Square,
    views: Sequence[tuple[float, float, float, float, bool]],
) -> list[Float[np.ndarray, "478 3"]]:
    """The landmarks seen in some of ``_VIEWS`` of a square, in px of the picture.

    Views in which the model sees no face are missing.
    """
    grow_margin = model.crop_margin / FACE_MARGIN
    wide = square.moved(right=0.0, down=0.0, turn_rad=0.0, grow=grow_margin)
    patch = Patch(rgb, wide, size_px=model.crop_px)
    seen: list[Float[np.ndarray, "478 3"]] = []
    for right, down, turn_rad, grow, mirrored in views:
        view = wide.moved(right=right, down=down, turn_rad=turn_rad, grow=grow)
        pixels = patch.mirrored_pixels if mirrored else patch.pixels
        landmarks = model.mesh(pixels, patch.square_in_patch(view, mirrored=mirrored))
        if landmarks is None:
            continue
        if mirrored:
            landmarks = landmarks[mirrored_indices()] * [-1, 1, 1] + [pixels.shape[1], 0, 0]
        seen.append(patch.landmarks_in_picture(landmarks))
    return seen


def _rms(difference: Float[np.ndarray, "*batch xyz"]) -> float:
    """Root mean square length in the picture's plane, in px."""
    return float(np.sqrt((difference[..., :2] ** 2).sum(axis=-1).mean()))


def visible_in(
    landmarks: Float[np.ndarray, "*batch landmark 3"], width: int, height: int
) -> Float[np.ndarray, "*batch landmark"]:
    """1 for the landmarks inside the picture, 0 for the others."""
    x, y = landmarks[..., 0], landmarks[..., 1]
    return ((x >= 0) & (x <= width) & (y >= 0) & (y <= height)).astype(np.float64)
