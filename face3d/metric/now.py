"""The NoW protocol: how far a scan's face lies from a predicted surface.

Sanyal et al., Learning to Regress 3D Face Shape and Expression from an Image without 3D
Supervision (2019). Seven landmarks lay the prediction on the scan, with scale (non-metric) or
without (metric); the scan is cut to a ball around the face; the prediction then moves until the
squared distances of the scan's vertices to it are least; every vertex of the cut scan counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from face3d.core.errors import InputError
from face3d.metric.alignment import align_landmarks, align_surface, apply_transform
from face3d.metric.surface_distance import Surface

LANDMARKS = (
    "right eye, outer corner",
    "right eye, inner corner",
    "left eye, inner corner",
    "left eye, outer corner",
    "bottom of the nose",
    "right corner of the mouth",
    "left corner of the mouth",
)
"""The order of the seven; left and right are the subject's."""

FROM_IBUG68 = (36, 39, 42, 45, 33, 48, 54)
FROM_IBUG51 = (19, 22, 25, 28, 16, 31, 37)
FROM_MEDIAPIPE478 = (33, 133, 362, 263, 2, 61, 291)

METRES = {"mm": 1e-3, "cm": 1e-2, "m": 1.0}
_EYES_M = (0.03, 0.3)
"""Bounds of the distance between the outer eye corners: a decade, so that only one unit fits."""

CURVE_MM = tuple(round(0.1 * k, 1) for k in range(71))
"""Where the cumulative curve is sampled."""


@dataclass(frozen=True, kw_only=True)
class ErrorSummary:
    """Errors in millimetres."""

    median_mm: float
    mean_mm: float
    sd_mm: float
    count: int


@dataclass(frozen=True, kw_only=True)
class NowResult:
    """One prediction against one scan."""

    distances_m: Float[np.ndarray, "point"]  # of every vertex of the cut scan
    inside: Bool[np.ndarray, "vertex"]  # the scan's vertices that were cut out
    scan_from_mesh: Float[np.ndarray, "4 4"]
    converged: bool


def unit_of(landmarks: Float[np.ndarray, "7 3"]) -> str:
    """The unit in which the outer eye corners are 3 to 30 cm apart: mm, cm or m.

    Raises:
        InputError: There is none.
    """
    apart = float(np.linalg.norm(landmarks[0] - landmarks[3]))
    for unit, metres in METRES.items():
        if _EYES_M[0] <= apart * metres < _EYES_M[1]:
            return unit
    raise InputError(
        f"The outer eye corners are {apart:.4g} apart, which is no face in mm, cm or m; "
        "check the landmarks' order or give --unit."
    )


def face_ball(landmarks: Float[np.ndarray, "7 3"]) -> tuple[Float[np.ndarray, "3"], float]:
    """Centre and radius of the ball that cuts the face out of a scan.

    The centre lies 30% of the way from the bottom of the nose to its bridge, which is midway
    between the inner eye corners; the radius is 0.7 times the sum of the distance between the
    outer eye corners and the distance from bridge to bottom.
    """
    bridge, bottom = landmarks[1:3].mean(0), landmarks[4]
    eyes = np.linalg.norm(landmarks[0] - landmarks[3])
    return bottom + 0.3 * (bridge - bottom), float(0.7 * (eyes + np.linalg.norm(bridge - bottom)))


def now_distances(
    surface: Surface,
    mesh_landmarks: Float[np.ndarray, "7 3"],
    scan_vertices: Float[np.ndarray, "vertex 3"],
    scan_landmarks: Float[np.ndarray, "7 3"],
    *,
    metric: bool,
) -> NowResult:
    """Distances of a scan's face to a prediction, after the protocol's alignment.

    Args:
        surface: The predicted surface of the person at rest. In metres if ``metric``, else in
            any unit.
        mesh_landmarks: The seven points on it, ordered as LANDMARKS.
        scan_vertices: Metres.
        scan_landmarks: The seven points on the scan.
        metric: Whether the prediction keeps its size.

    Raises:
        InputError: The landmarks cannot be aligned, or the scan has no face where they are.

    Example:
        >>> result = now_distances(surface, mine, scan, theirs, metric=False)  # doctest: +SKIP
        >>> summary(result.distances_m).median_mm  # doctest: +SKIP
    """
    start = align_landmarks(mesh_landmarks, scan_landmarks, scale=not metric)
    centre, radius = face_ball(scan_landmarks)
    inside = np.linalg.norm(scan_vertices - centre, axis=1) <= radius
    if inside.sum() < 7:
        raise InputError(
            f"Only {int(inside.sum())} vertices of the scan lie within {radius * 1e3:.0f} mm of "
            "the face that the landmarks mark; check that both are in one unit and frame."
        )
    placed = align_surface(scan_vertices[inside], surface, start, scale=not metric)
    return NowResult(
        distances_m=placed.distances,
        inside=inside,
        scan_from_mesh=placed.points_from_mesh,
        converged=placed.converged,
    )


def landmark_distances(
    result: NowResult,
    mesh_landmarks: Float[np.ndarray, "7 3"],
    scan_landmarks: Float[np.ndarray, "7 3"],
) -> Float[np.ndarray, "7"]:
    """How far the landmarks of the aligned prediction lie from the scan's, metres."""
    moved = apply_transform(result.scan_from_mesh, mesh_landmarks)
    return np.linalg.norm(moved - scan_landmarks, axis=1)


def summary(distances_m: Float[np.ndarray, "point"]) -> ErrorSummary:
    """Median, mean and standard deviation.

    Raises:
        InputError: There are no distances.
    """
    if not len(distances_m):
        raise InputError("There are no distances to sum up; give at least one prediction.")
    mm = distances_m * 1e3
    return ErrorSummary(
        median_mm=float(np.median(mm)),
        mean_mm=float(mm.mean()),
        sd_mm=float(mm.std()),
        count=len(mm),
    )


def pooled(results: Mapping[str, Sequence[Float[np.ndarray, "_"]]]) -> dict[str, ErrorSummary]:
    """Summaries over all vertices of all pictures, as the NoW table has them, by group and all."""
    out = {name: summary(np.concatenate(list(parts))) for name, parts in results.items()}
    every = [part for parts in results.values() for part in parts]
    return {"all": summary(np.concatenate(every)) if every else summary(np.zeros(0)), **out}


def cumulative(distances_m: Float[np.ndarray, "point"]) -> Float[np.ndarray, "threshold"]:
    """The share of distances that are at most each of CURVE_MM."""
    ordered = np.sort(distances_m) * 1e3
    return np.searchsorted(ordered, np.array(CURVE_MM), side="right") / max(len(ordered), 1)
