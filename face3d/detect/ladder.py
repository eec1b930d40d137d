"""Where to look for faces, from the whole picture down to small parts of it."""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from face3d.core import Detection, Frame, InputError
from face3d.detect.crops import FACE_MARGIN, Square
from face3d.detect.refine import Face, MeshModel, Proposal, refine, visible_in

Reach = Literal["near", "far"]
"""near: faces from about a fifth of the picture; far: from about a twentieth."""

# Sides of the tiles, as shares of the picture's longer side. They overlap by half, so that each
# face of up to half a tile is whole in one of them.
_TILE_SHARES = (0.67, 0.4, 0.22)
_MIN_TILE_PX = 96

# The detectors see 128 or 192 px; they sample larger pictures without averaging.
_VIEW_PX = 384


@runtime_checkable
class FaceModel(MeshModel, Protocol):
    """What a back end must offer."""

    reaches: tuple[Reach, ...]  # the detectors it has

    def propose(self, rgb: UInt8[np.ndarray, "h w 3"], reach: Reach) -> Sequence[Proposal]:
        """Places in a picture where a face may be, in its px."""
        ...


@dataclass(frozen=True, kw_only=True)
class _View:
    """A part of the picture, perhaps turned, that a detector looks at."""

    x: int
    y: int
    width: int
    height: int
    quarter_turns: int = 0  # counterclockwise


@dataclass(frozen=True, kw_only=True)
class _Rung:
    """One kind of search."""

    views: Sequence[_View]
    reaches: tuple[Reach, ...]
    only_below_px: float  # once faces are known: run only if the smallest is below this


def find_faces(model: FaceModel, frame: Frame, *, max_faces: int) -> Detection:
    """Find up to ``max_faces`` faces, largest first.

    The whole picture comes first and usually suffices. Tiles follow where nothing was found, or
    where faces of the size that tiles are good for were found and more are wanted; turned
    pictures are the last resort.
    """
    if max_faces < 1:
        raise InputError(f"max_faces is {max_faces}; ask for at least one face.")
    height, width = frame.rgb.shape[:2]
    faces: list[Face] = []
    refused: list[np.ndarray] = []  # boxes
    for rung in _rungs(width, height):
        if len(faces) >= max_faces:
            break
        if faces and min(_side(face.box_xyxy) for face in faces) >= rung.only_below_px:
            continue
        for reach in rung.reaches:
            if reach in model.reaches and (not faces or len(faces) < max_faces):
                _climb(model, frame.rgb, rung.views, reach, faces, refused)
    faces.sort(key=lambda face: -_area(face.box_xyxy))
    return _detection(faces[:max_faces], width, height)


def _rungs(width: int, height: int) -> Generator[_Rung]:
    """The searches, cheapest first."""
    whole = _View(x=0, y=0, width=width, height=height)
    # Separate rungs: for one face wanted, the first detector is enough.
    yield _Rung(views=[whole], reaches=("near",), only_below_px=math.inf)
    yield _Rung(views=[whole], reaches=("far",), only_below_px=math.inf)
    sides = [share * max(width, height) for share in _TILE_SHARES]
    if min(width, height) < sides[1]:
        sides.insert(2, float(min(width, height)))  # panoramas: tiles as high as the picture
    for side in sides:
        if side >= _MIN_TILE_PX:
            tiles = list(_tiles(width, height, round(side)))
            yield _Rung(views=tiles, reaches=("near", "far"), only_below_px=side / 4)
    turned = [
        _View(x=0, y=0, width=width, height=height, quarter_turns=turns) for turns in (1, 3, 2)
    ]
    yield _Rung(views=turned, reaches=("near", "far"), only_below_px=0.0)


def _tiles(width: int, height: int, side: int) -> Generator[_View]:
    """Squares that overlap by at least half and cover the picture."""

    def starts(length: int) -> list[int]:
        steps = max(0, math.ceil((length - side) / (side / 2)))
        return [round(i * (length - side) / steps) for i in range(steps + 1)] if steps else [0]

    for y in starts(height):
        for x in starts(width):
            yield _View(x=x, y=y, width=min(side, width), height=min(side, height))


def _climb(
    model: FaceModel,
    rgb: UInt8[np.ndarray, "h w 3"],
    views: Sequence[_View],
    reach: Reach,
    faces: list[Face],
    refused: list[np.ndarray],
) -> None:
    """Add to ``faces`` what is seen in the views and not known or refused yet."""
    proposals = [found for view in views for found in _propose(model, rgb, view, reach)]
    # Tiles see a face several times; the surest sight of it is tried first.
    proposals.sort(key=lambda proposal: -proposal.score)
    for proposal in proposals:
        half = proposal.square.side / FACE_MARGIN / 2
        x, y = proposal.square.x, proposal.square.y
        box = np.array([x - half, y - half, x + half, y + half])
        if any(_overlap(box, face.box_xyxy) > 0.3 for face in faces):
            continue
        # A face may be refused for a poor guess, so only nearly the same guess is not repeated.
        if any(_overlap(box, other) > 0.8 for other in refused):
            continue
        face = refine(model, rgb, proposal)
        if face is None:
            refused.append(box)
        elif all(_overlap(face.box_xyxy, known.box_xyxy) <= 0.3 for known in faces):
            faces.append(face)


def _propose(
    model: FaceModel, rgb: UInt8[np.ndarray, "h w 3"], view: _View, reach: Reach
) -> Generator[Proposal]:
    """Proposals in one view, in px of the picture."""
    pixels = rgb[view.y : view.y + view.height, view.x : view.x + view.width]
    reduction = max(1, max(view.width, view.height) // _VIEW_PX)
    if reduction > 1:
        pixels = np.array(Image.fromarray(np.ascontiguousarray(pixels)).reduce(reduction))
    turned = np.ascontiguousarray(np.rot90(pixels, view.quarter_turns))
    for proposal in model.propose(turned, reach):
        square = _turned_back(proposal.square, view.quarter_turns, turned.shape[1], turned.shape[0])
        yield Proposal(
            square=Square(
                x=square.x * reduction + view.x,
                y=square.y * reduction + view.y,
                side=square.side * reduction,
                angle_rad=square.angle_rad,
            ),
            score=proposal.score,
        )


def _turned_back(square: Square, quarter_turns: int, width: int, height: int) -> Square:
    """Undo ``np.rot90``; width and height are those of the turned picture, in px."""
    for _ in range(quarter_turns):
        square = Square(
            x=height - square.y, y=square.x, side=square.side,
            angle_rad=square.angle_rad + math.pi / 2,
        )  # fmt: skip
        width, height = height, width
    return square


def _side(box_xyxy: Float[np.ndarray, "4"]) -> float:
    return float(max(box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1]))


def _area(box_xyxy: Float[np.ndarray, "4"]) -> float:
    return float((box_xyxy[2] - box_xyxy[0]) * (box_xyxy[3] - box_xyxy[1]))


def _overlap(a_xyxy: Float[np.ndarray, "4"], b_xyxy: Float[np.ndarray, "4"]) -> float:
    """Intersection over union of two boxes."""
    low, high = np.maximum(a_xyxy[:2], b_xyxy[:2]), np.minimum(a_xyxy[2:], b_xyxy[2:])
    common = float(np.prod(np.maximum(high - low, 0.0)))
    return common / (_area(a_xyxy) + _area(b_xyxy) - common)


def _detection(faces: Sequence[Face], width: int, height: int) -> Detection:
    """The record of some faces, or of none."""
    landmarks = np.array([face.landmarks for face in faces]).reshape(-1, 478, 3)
    return Detection(
        box_xyxy=np.array([face.box_xyxy for face in faces]).reshape(-1, 4),
        landmarks=landmarks,
        layout="mediapipe478",
        score=np.array([face.score for face in faces], dtype=np.float64),
        visibility=visible_in(landmarks, width, height),
    )
