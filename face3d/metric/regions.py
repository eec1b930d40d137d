"""Errors by region of the face, with correspondences that nearest points cannot give.

After Chai et al., REALY: Rethinking the Evaluation of 3D Face Reconstruction (2022): each region
is aligned for itself, so that a wrong chin does not blur what is said of the nose, and then
compared between points that belong together.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from face3d.core.errors import InputError
from face3d.metric.alignment import align_landmarks, align_surface, apply_transform
from face3d.metric.nonrigid import Anchors, register
from face3d.metric.now import face_ball
from face3d.metric.surface_distance import Surface
from face3d.metric.visibility import seen_from_front

REGIONS = ("nose", "mouth", "forehead", "cheek")
LEAST_VERTICES = 12
MARGIN_M = 0.012
"""So much around a region bends with it: a border has no neighbours to say where it belongs."""
LANDMARK_SD_M = 0.002
FACING = 0.2
"""Least cosine between a region's normals and straight ahead: no inner lips, no nostrils."""


@dataclass(frozen=True, kw_only=True)
class RegionErrors:
    """Errors of one region in millimetres."""

    rms_mm: float  # between points that belong together
    mean_mm: float
    nearest_mean_mm: float  # what ICP would say: to the nearest point of the scan
    count: int  # vertices of the prediction


@dataclass(frozen=True, kw_only=True)
class FaceFrame:
    """Axes of a face from seven landmarks: across, up and ahead, about the bottom of the nose."""

    origin: Float[np.ndarray, "3"]
    axes: Float[np.ndarray, "3 3"]  # rows; to the subject's left, up, ahead
    half_width: float  # half the distance between the outer eye corners
    height: float  # from the bottom of the nose up to the eyes
    mouth: float  # the mouth's height in heights, negative
    centre: Float[np.ndarray, "3"]  # of the protocol's ball
    radius: float

    def coordinates(self, points: Float[np.ndarray, "point 3"]) -> Float[np.ndarray, "point 2"]:
        """Across in half widths and up in heights."""
        return (points - self.origin) @ self.axes[:2].T / [self.half_width, self.height]


def face_frame(landmarks: Float[np.ndarray, "7 3"]) -> FaceFrame:
    """The axes of a face.

    Raises:
        InputError: The landmarks do not lie as on a face.
    """
    eyes, bottom, mouth = landmarks[:4].mean(0), landmarks[4], landmarks[5:].mean(0)
    across = landmarks[3] - landmarks[0]
    width = float(np.linalg.norm(across))
    across = across / max(width, 1e-12)
    up = eyes - mouth
    up = up - (up @ across) * across
    length = float(np.linalg.norm(up))
    up = up / max(length, 1e-12)
    height = float((eyes - bottom) @ up)
    below = float((mouth - bottom) @ up)
    ahead = np.cross(across, up)
    # With left and right exchanged, the nose would point into the head.
    out = float((bottom - (eyes + mouth) / 2) @ ahead)
    if not (height > 0 > below and width > 0 and out > 0):
        raise InputError(
            "The landmarks do not lie as on a face (eyes above nose above mouth, left and right "
            "the subject's); check their order."
        )
    centre, radius = face_ball(landmarks)
    return FaceFrame(
        origin=bottom,
        axes=np.stack([across, up, ahead]),
        half_width=width / 2,
        height=height,
        mouth=below / height,
        centre=centre,
        radius=radius,
    )


def region_mask(
    name: str, frame: FaceFrame, points: Float[np.ndarray, "point 3"]
) -> Bool[np.ndarray, "point"]:
    """Which points lie in a region of the face.

    Regions are bounded by the scan's landmarks and not by a mesh's own names, so that they are
    the same part of the person whatever is compared.

    Args:
        name: One of REGIONS.
        frame: Of the scan.
        points: In the scan's frame.
    """
    across, up = frame.coordinates(points).T
    across = np.abs(across)
    # In half widths and heights; brows lie at about 1.3, the wings of the nose at 0.4.
    inside: dict[str, Callable[[], np.ndarray]] = {
        "nose": lambda: (across < 0.45) & (up > -0.12) & (up < 0.95),
        "mouth": lambda: (across < 0.8) & (up <= -0.12) & (up > 2 * frame.mouth - 0.1),
        "forehead": lambda: (across < 1.1) & (up > 1.4),
        "cheek": lambda: (across >= 0.45) & (across < 1.3) & (up > frame.mouth) & (up < 0.7),
    }
    mask = inside[name]() & (np.linalg.norm(points - frame.centre, axis=1) <= frame.radius)
    return mask & ~_mouth_over_cheek(name, frame, across, up)


def _mouth_over_cheek(
    name: str,
    frame: FaceFrame,
    across: Float[np.ndarray, "point"],
    up: Float[np.ndarray, "point"],
) -> Bool[np.ndarray, "point"]:
    """What the cheek's bounds share with the mouth's belongs to the mouth."""
    return (name == "cheek") & (across < 0.8) & (up <= -0.12) & (up > 2 * frame.mouth - 0.1)


def region_errors(
    mesh: Surface,
    mesh_landmarks: Float[np.ndarray, "7 3"],
    scan: Surface,
    scan_landmarks: Float[np.ndarray, "7 3"],
) -> dict[str, RegionErrors]:
    """Errors of a prediction in each region of the face that both surfaces have.

    Each region is aligned rigidly and in scale from the landmarks on, then bent onto the scan;
    the error is the distance between the rigidly aligned vertices and their places on the scan.

    Args:
        mesh: The predicted surface of the person at rest, in any unit.
        mesh_landmarks: The seven points on it, ordered as now.LANDMARKS.
        scan: Metres.
        scan_landmarks: The seven points on the scan.

    Raises:
        InputError: The landmarks cannot be used, or there is no region that both have.
    """
    start = align_landmarks(mesh_landmarks, scan_landmarks, scale=True)
    frame = face_frame(scan_landmarks)
    facing = _facing(scan, frame)
    # Only skin is aligned and bent: eyeballs and teeth lie too close behind it.
    near = Surface(apply_transform(start, mesh.vertices), mesh.faces)
    seen = seen_from_front(near, frame.axes, frame.centre, frame.radius)[mesh.faces].any(1)
    if not seen.any():
        raise InputError("The prediction turns its inside out or its back; check the landmarks.")
    skin = Surface(mesh.vertices, mesh.faces[seen])
    out: dict[str, RegionErrors] = {}
    for name in REGIONS:
        points = scan.vertices[region_mask(name, frame, scan.vertices) & facing]
        if len(points) < LEAST_VERTICES:
            continue
        placed = align_surface(points, skin, start, scale=True).points_from_mesh
        moved = Surface(apply_transform(placed, skin.vertices), skin.faces)
        pairs = (apply_transform(placed, mesh_landmarks), scan_landmarks)
        error = _region_error(name, frame, moved, scan, pairs)
        if error is not None:
            out[name] = error
    if not out:
        raise InputError(
            "No region of the face has enough vertices on both surfaces; check the landmarks."
        )
    return out


def _region_error(
    name: str,
    frame: FaceFrame,
    mesh: Surface,
    scan: Surface,
    landmarks: tuple[Float[np.ndarray, "7 3"], Float[np.ndarray, "7 3"]],
) -> RegionErrors | None:
    """The error of one region of a mesh in place; nothing if it has too few vertices there."""
    vertices = mesh.vertices
    inside = region_mask(name, frame, vertices) & _facing(mesh, frame)
    if inside.sum() < LEAST_VERTICES:
        return None
    used, faces = _patch(vertices, mesh.faces, inside)
    anchors = _anchors(vertices[used], *landmarks)
    found = register(vertices[used], faces, scan, anchors)
    counted = inside[used]
    mm = found.distances[counted] * 1e3
    if len(mm) < LEAST_VERTICES:
        return None
    nearest = scan.closest(vertices[used][counted]).distances * 1e3
    return RegionErrors(
        rms_mm=float(np.sqrt((mm**2).mean())),
        mean_mm=float(mm.mean()),
        nearest_mean_mm=float(nearest.mean()),
        count=len(mm),
    )


def _facing(surface: Surface, frame: FaceFrame) -> Bool[np.ndarray, "vertex"]:
    """What a camera in front sees and what is turned to it."""
    seen = seen_from_front(surface, frame.axes, frame.centre, frame.radius)
    return seen & (surface.vertex_normals() @ frame.axes[2] > FACING)


def _patch(
    vertices: Float[np.ndarray, "vertex 3"],
    faces: Int[np.ndarray, "face 3"],
    inside: Bool[np.ndarray, "vertex"],
) -> tuple[Int[np.ndarray, "used"], Int[np.ndarray, "kept 3"]]:
    """A region with some skin around it: the vertices, and the faces in their numbers."""
    around = KDTree(vertices[inside]).query(vertices)[0] < MARGIN_M
    kept = faces[around[faces].all(1)]
    used, own = np.unique(kept, return_inverse=True)
    return used, own.reshape(-1, 3)


def _anchors(
    vertices: Float[np.ndarray, "vertex 3"],
    here: Float[np.ndarray, "7 3"],
    there: Float[np.ndarray, "7 3"],
) -> Anchors | None:
    """The landmarks that lie on a patch."""
    far, nearest = (np.asarray(found) for found in KDTree(vertices).query(here))
    on = far < MARGIN_M / 2
    if not on.any():
        return None
    # The vertex stands for the landmark, so it goes as far beside the goal as it is beside it.
    beside = vertices[nearest[on]] - here[on]
    return Anchors(vertex=nearest[on], places=there[on] + beside, sd_m=LANDMARK_SD_M)
