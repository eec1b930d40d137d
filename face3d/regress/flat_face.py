"""A face laid out flat: every landmark always in one place of the picture.

What a network is to say of each landmark then has a fixed place, and turns, sizes and expressions
are taken out as far as the landmarks know them.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from scipy.ndimage import distance_transform_edt
from scipy.sparse import csr_matrix
from scipy.spatial import Delaunay

from face3d.core.landmarks import EYE_OUTER_LEFT, EYE_OUTER_RIGHT, IRISES_FROM

SIDE = 128
"""Side of the flat picture, px."""

FILLED = 0.9
"""Share of the side that the landmarks span."""

BEHIND_M = 0.11
"""From the foremost landmark back to the axis of the cylinder onto which the face is laid."""

RADIUS_M = 0.095

REACH = 2.2
"""From the landmarks' middle to the frame's unit, in their rms distance from it."""

USUAL_PX = 150
"""Larger faces are reduced to this before they are laid out: it is what the network has seen."""


def flat_places(landmarks_m: Float[np.ndarray, "478 3"]) -> Float[np.ndarray, "478 2"]:
    """Where the flat picture has each landmark, -1 to 1 from its left and upper border.

    Args:
        landmarks_m: The mean head's, in its own frame.
    """
    x, y, z = landmarks_m.T.astype(np.float64)
    around = np.arctan2(x, z - (z.max() - BEHIND_M)) * RADIUS_M
    flat = np.stack([around, -y], axis=1)
    low, high = flat[:IRISES_FROM].min(0), flat[:IRISES_FROM].max(0)
    return ((flat - (low + high) / 2) * (2 * FILLED / (high - low).max())).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class FaceFrames:
    """Upright frames of faces in pictures: x to the subject's left, y down."""

    centre_px: Float[np.ndarray, "face 2"]
    from_picture: Float[np.ndarray, "face 2 2"]  # px to the frame's unit, about 11 cm

    @property
    def px(self) -> Float[np.ndarray, "face"]:
        """The unit's length."""
        return 1 / np.sqrt(np.linalg.det(self.from_picture))


def face_frames(landmarks_px: Float[np.ndarray, "face 478 2"]) -> FaceFrames:
    """The frames that landmarks span: their middle, the eyes' line, their rms distance."""
    skin = landmarks_px[:, :IRISES_FROM]
    centre = skin.mean(1)
    across = landmarks_px[:, EYE_OUTER_LEFT] - landmarks_px[:, EYE_OUTER_RIGHT]
    angle = np.arctan2(across[:, 1], across[:, 0])
    unit = REACH * np.sqrt(((skin - centre[:, None]) ** 2).sum(2).mean(1))
    c, s = np.cos(angle), np.sin(angle)
    turn = np.stack([np.stack([c, s], 1), np.stack([-s, c], 1)], axis=1)
    return FaceFrames(centre_px=centre, from_picture=turn / unit[:, None, None])


@dataclass(frozen=True, eq=False)
class FlatFace:
    """The flat picture's layout.

    Attributes:
        places: As ``flat_places`` gives them.
    """

    places: Float[np.ndarray, "478 2"]

    @cached_property
    def _parts(self) -> tuple[csr_matrix, Float[np.ndarray, "pixel 2"]]:
        """Each pixel as a mix of landmarks, and how far beside their hull it lies."""
        skin = self.places[:IRISES_FROM].astype(np.float64)
        steps = (2 * np.arange(SIDE) + 1) / SIDE - 1
        pixels = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        mesh = Delaunay(skin)
        found = mesh.find_simplex(pixels)
        inside = (found >= 0).reshape(SIDE, SIDE)
        # A pixel beside the hull goes with the nearest one in it.
        where = np.asarray(
            distance_transform_edt(~inside, return_distances=False, return_indices=True)
        )
        nearest = (where[0] * SIDE + where[1]).ravel()
        triangle = found[nearest]
        maps = mesh.transform[triangle]
        two = np.einsum("pij,pj->pi", maps[:, :2], pixels[nearest] - maps[:, 2])
        weights = np.column_stack([two, 1 - two.sum(1)])
        rows = np.repeat(np.arange(len(pixels)), 3)
        mix = csr_matrix(
            (weights.ravel(), (rows, mesh.simplices[triangle].ravel())),
            shape=(len(pixels), len(skin)),
        )
        return mix, (pixels - pixels[nearest]) / FILLED

    def laid_out(
        self, rgb: UInt8[np.ndarray, "h w 3"], landmarks_px: Float[np.ndarray, "478 2"],
        frame: FaceFrames, face: int = 0,
    ) -> tuple[UInt8[np.ndarray, "128 128 3"], Float[np.ndarray, "128 128 2"]]:  # fmt: skip
        """The flat picture, and where the face's frame has each of its pixels.

        Args:
            rgb: The photo.
            landmarks_px: Of the face in it.
            frame: As ``face_frames`` gives it.
            face: Which of the frame's faces this is.
        """
        mix, beside = self._parts
        skin = (landmarks_px[:IRISES_FROM] - frame.centre_px[face]) @ frame.from_picture[face].T
        places = mix @ skin + beside
        in_photo = places @ np.linalg.inv(frame.from_picture[face]).T + frame.centre_px[face]
        # Pixel centres lie at half integers here and at integers in OpenCV.
        at = (in_photo - 0.5).astype(np.float32).reshape(SIDE, SIDE, 2)
        flat = cv2.remap(
            np.ascontiguousarray(rgb), at[..., 0], at[..., 1], cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        return flat, places.astype(np.float32).reshape(SIDE, SIDE, 2)


def reduced(
    rgb: UInt8[np.ndarray, "h w 3"], landmarks_px: Float[np.ndarray, "478 2"]
) -> tuple[UInt8[np.ndarray, "h2 w2 3"], Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """The part of a photo that holds a face, no larger than the network is used to.

    Returns:
        The part; the photo's px at its upper left corner; and the photo's px per one of its own,
        across and down.
    """
    low, high = landmarks_px[:IRISES_FROM].min(0), landmarks_px[:IRISES_FROM].max(0)
    extent = float((high - low).max())
    margin = 0.25 * extent + 4
    height, width = rgb.shape[:2]
    left, top = np.clip(np.floor(low - margin), 0, [width - 2, height - 2]).astype(int)
    right, bottom = np.clip(np.ceil(high + margin), [left + 2, top + 2], [width, height]).astype(
        int
    )
    part = np.ascontiguousarray(rgb[top:bottom, left:right])
    shrink = max(1.0, extent / USUAL_PX)
    corner = np.array([left, top], np.float64)
    if shrink == 1.0:
        return part, corner, np.ones(2)
    size = np.maximum(np.round(np.array([right - left, bottom - top]) / shrink), 1).astype(int)
    small = cv2.resize(part, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    return small, corner, np.array([right - left, bottom - top]) / size
