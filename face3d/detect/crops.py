"""Square, rotated cut-outs of a picture and the way back from them.

Coordinates are continuous: the centre of the first pixel is at (0.5, 0.5), and a picture of width
w spans 0 to w, whatever its scale. So going from a crop to the picture needs no half-pixel
corrections.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from face3d.core.landmarks import EYE_OUTER_LEFT, EYE_OUTER_RIGHT

FACE_MARGIN = 1.5
"""Side of a crop over that of the face in it; what MediaPipe's mesh network was trained on."""


@dataclass(frozen=True, kw_only=True)
class Square:
    """A rotated square in a picture."""

    x: float  # of the centre, px
    y: float  # of the centre, px
    side: float  # px
    angle_rad: float = 0.0  # from the picture's x axis to the square's, clockwise as seen

    def moved(self, *, right: float, down: float, turn_rad: float, grow: float) -> "Square":
        """A square shifted by fractions of its side, turned and scaled."""
        return replace(
            self,
            x=self.x + right * self.side,
            y=self.y + down * self.side,
            side=self.side * grow,
            angle_rad=self.angle_rad + turn_rad,
        )

    def picture_from_crop(self, size_px: int) -> Float[np.ndarray, "2 3"]:
        """The affine map from a crop of this square with ``size_px`` a side to the picture."""
        scale = self.side / size_px
        cosine, sine = scale * math.cos(self.angle_rad), scale * math.sin(self.angle_rad)
        linear = np.array([[cosine, -sine], [sine, cosine]])
        offset = np.array([self.x, self.y]) - linear @ np.full(2, size_px / 2)
        return np.column_stack([linear, offset])


def square_from_landmarks(landmarks: Float[np.ndarray, "478 _"]) -> Square:
    """The square around a face, with its eyes level."""
    right_to_left = landmarks[EYE_OUTER_LEFT, :2] - landmarks[EYE_OUTER_RIGHT, :2]
    angle_rad = math.atan2(right_to_left[1], right_to_left[0])
    cosine, sine = math.cos(angle_rad), math.sin(angle_rad)
    picture_from_level = np.array([[cosine, -sine], [sine, cosine]])
    level = landmarks[:, :2] @ picture_from_level
    low, high = level.min(axis=0), level.max(axis=0)
    centre = picture_from_level @ ((low + high) / 2)
    return Square(
        x=float(centre[0]),
        y=float(centre[1]),
        side=FACE_MARGIN * float((high - low).max()),
        angle_rad=angle_rad,
    )


class Patch:
    """The surroundings of a square, ready to be looked at several times.

    Beyond the picture its border is repeated, as MediaPipe does it. A patch much finer than a
    network's input is reduced by averaging first, because what follows only interpolates.

    Args:
        rgb: The picture.
        square: Squares moved a little from this one will be looked at.
        size_px: Side of the network's input.
    """

    def __init__(self, rgb: UInt8[np.ndarray, "h w 3"], square: Square, *, size_px: int) -> None:
        # A rotated square reaches sqrt(2) of half its side; the rest is room for moving it.
        reach = 0.85 * square.side + 2
        low = np.floor([square.x - reach, square.y - reach]).astype(int)
        high = np.ceil([square.x + reach, square.y + reach]).astype(int)
        inside_low = np.clip(low, 0, [rgb.shape[1] - 1, rgb.shape[0] - 1])
        inside_high = np.clip(high, inside_low + 1, [rgb.shape[1], rgb.shape[0]])
        pixels = rgb[inside_low[1] : inside_high[1], inside_low[0] : inside_high[0]]
        before, after = np.maximum(inside_low - low, 0), np.maximum(high - inside_high, 0)
        if before.any() or after.any():
            margins = ((before[1], after[1]), (before[0], after[0]), (0, 0))
            pixels = np.pad(pixels, margins, mode="edge")
        self._origin = (inside_low - before).astype(float)
        self._reduction = max(1, int(square.side / size_px))
        if self._reduction > 1:
            pixels = np.array(Image.fromarray(pixels).reduce(self._reduction))
        self.pixels = np.ascontiguousarray(pixels)
        self.mirrored_pixels = np.ascontiguousarray(pixels[:, ::-1])

    def square_in_patch(self, square: Square, *, mirrored: bool = False) -> Square:
        """A square of the picture as one of ``pixels``, or of ``mirrored_pixels``."""
        x, y = (np.array([square.x, square.y]) - self._origin) / self._reduction
        return Square(
            x=float(self.pixels.shape[1] - x if mirrored else x),
            y=float(y),
            side=square.side / self._reduction,
            angle_rad=-square.angle_rad if mirrored else square.angle_rad,
        )

    def landmarks_in_picture(
        self, landmarks: Float[np.ndarray, "landmark 3"]
    ) -> Float[np.ndarray, "landmark 3"]:
        """Bring points of ``pixels`` to the picture; z, which is scaled like x, grows with them."""
        return landmarks * self._reduction + [*self._origin, 0.0]


def crop(
    pixels: UInt8[np.ndarray, "h w 3"], square: Square, *, size_px: int
) -> UInt8[np.ndarray, "s s 3"]:
    """Cut a square out of a picture by bilinear interpolation."""
    coefficients = tuple(float(value) for value in square.picture_from_crop(size_px).ravel())
    return np.array(
        Image.fromarray(pixels).transform(
            (size_px, size_px), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
        )
    )


def landmarks_from_crop(
    square: Square, size_px: int, landmarks: Float[np.ndarray, "landmark 3"]
) -> Float[np.ndarray, "landmark 3"]:
    """Bring points of a crop to the picture; z, which is scaled like x, grows with them."""
    matrix = square.picture_from_crop(size_px)
    xy = landmarks[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return np.column_stack([xy, landmarks[:, 2] * square.side / size_px])


def averaged_crop(
    rgb: UInt8[np.ndarray, "h w 3"], square: Square, size_px: int
) -> UInt8[np.ndarray, "s s 3"]:
    """Cut a square out; of large ones the mean of whole pixels, so that nothing flickers."""
    finer = max(1, int(square.side / size_px))
    fine = crop(rgb, square, size_px=finer * size_px)
    if finer == 1:
        return fine
    blocks = fine.reshape(size_px, finer, size_px, finer, 3)
    return (blocks.mean((1, 3)) + 0.5).astype(np.uint8)
