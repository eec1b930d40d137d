"""Bringing a predicted surface to measured points, with or without its size."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from face3d.core.checks import require_finite
from face3d.core.errors import InputError
from face3d.core.rotations import matrix_from_axis_angle
from face3d.core.transforms import procrustes
from face3d.metric.surface_distance import Surface

MAX_STEPS = 60
MAX_HALVINGS = 5
LONGEST = 0.5
"""Bound of one step, in radians, spreads or logarithms of the size: far off, the linear form of the
problem says nothing, and could even take the size to zero."""
SETTLED = 1e-5
"""A step that moves no point by more than this share of their spread ends the search."""


@dataclass(frozen=True, kw_only=True)
class SurfaceAlignment:
    """A surface in place."""

    points_from_mesh: Float[np.ndarray, "4 4"]
    distances: Float[np.ndarray, "point"]  # of the points, in their unit
    converged: bool


def apply_transform(
    b_from_a: Float[np.ndarray, "4 4"], points: Float[np.ndarray, "point 3"]
) -> Float[np.ndarray, "point 3"]:
    """Points of frame ``a`` in frame ``b``."""
    return points @ b_from_a[:3, :3].T + b_from_a[:3, 3]


def scale_of(b_from_a: Float[np.ndarray, "4 4"]) -> float:
    """The scale of a similarity transform."""
    return float(np.cbrt(np.linalg.det(b_from_a[:3, :3])))


def align_landmarks(
    source: Float[np.ndarray, "landmark 3"],
    target: Float[np.ndarray, "goal 3"],
    *,
    scale: bool,
) -> Float[np.ndarray, "4 4"]:
    """The transform that brings landmarks closest to others in least squares.

    Args:
        source: Landmarks to move.
        target: The same landmarks where they should lie.
        scale: Whether the size may change too.

    Returns:
        ``target_from_source``.

    Raises:
        InputError: They are fewer than three, not finite, all on one line, or of another number.
    """
    if len(source) != len(target) or len(source) < 3:
        raise InputError(
            f"{len(source)} landmarks cannot be laid on {len(target)}; give the same, at least 3."
        )
    for name, points in (("source", source), ("target", target)):
        require_finite(f"The {name} landmarks", points)
        spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
        if spread[1] <= 1e-6 * spread[0]:
            raise InputError(
                f"The {name} landmarks lie on one line or in one point; check their file."
            )
    return procrustes(torch.tensor(source), torch.tensor(target), scale=scale).numpy()


def align_surface(
    points: Float[np.ndarray, "point 3"],
    surface: Surface,
    start: Float[np.ndarray, "4 4"],
    *,
    scale: bool,
) -> SurfaceAlignment:
    """Move a surface so that the squared distances of points to it are least.

    Gauss-Newton on the true distances: their gradient is the direction to the closest point. The
    surface moves, the points stay, so that distances keep the points' unit whatever the scale.

    Args:
        points: Where the surface should pass; usually a scan's vertices.
        surface: What moves.
        start: ``points_from_mesh`` to begin with; its scale stays unless ``scale``.
        scale: Whether the size may change too.

    Raises:
        InputError: There are fewer than 7 points.
    """
    if len(points) < 7:
        raise InputError(f"Only {len(points)} points are left to align to; give more of the scan.")
    problem = _Problem(points=points, surface=surface, scale=scale)
    placed = start
    distances, rows = problem.linearized(placed)
    for _ in range(MAX_STEPS):
        step = np.linalg.lstsq(rows, distances, rcond=None)[0]
        step = step * min(1.0, LONGEST / max(float(np.abs(step).max()), 1e-300))
        for _ in range(MAX_HALVINGS):
            trial = problem.moved(placed, step)
            new, new_rows = problem.linearized(trial)
            if (new**2).sum() <= (distances**2).sum():
                break
            step = step / 2
        else:
            return SurfaceAlignment(points_from_mesh=placed, distances=distances, converged=True)
        placed, distances, rows = trial, new, new_rows
        if np.abs(step).max() < SETTLED:
            return SurfaceAlignment(points_from_mesh=placed, distances=distances, converged=True)
    return SurfaceAlignment(points_from_mesh=placed, distances=distances, converged=False)


class _Problem:
    """Distances under small motions, in coordinates about the points' middle, spread one."""

    def __init__(self, *, points: np.ndarray, surface: Surface, scale: bool) -> None:
        self._points, self._surface, self._scale = points, surface, scale
        self._normals = surface.face_normals()
        self._last: np.ndarray | None = None
        self._middle = points.mean(0)
        self._spread = float(np.sqrt(((points - self._middle) ** 2).sum(1).mean()))

    def linearized(
        self, placed: Float[np.ndarray, "4 4"]
    ) -> tuple[Float[np.ndarray, "point"], Float[np.ndarray, "point motion"]]:
        """Distances, and how much each motion lessens them."""
        # The tree stays where it is built: the points go to the mesh, the answers come back.
        there = apply_transform(np.linalg.inv(placed), self._points)
        near = self._surface.closest(there, guess=self._last)
        self._last = near.face_index
        feet = apply_transform(placed, near.points)
        offset = self._points - feet
        distances = np.linalg.norm(offset, axis=1)
        turned = self._normals[near.face_index] @ placed[:3, :3].T / scale_of(placed)
        touching = distances <= 1e-9 * self._spread
        towards = offset / np.where(touching, 1.0, distances)[:, None]
        towards[touching] = turned[touching]
        z = (feet - self._middle) / self._spread
        rows = [np.cross(z, towards), towards]
        if self._scale:
            rows.append((z * towards).sum(1, keepdims=True))
        return distances, self._spread * np.concatenate(rows, axis=1)

    def moved(
        self, placed: Float[np.ndarray, "4 4"], step: Float[np.ndarray, "motion"]
    ) -> Float[np.ndarray, "4 4"]:
        """The placement after a motion."""
        motion = np.eye(4)
        motion[:3, :3] = matrix_from_axis_angle(torch.tensor(step[:3])).numpy()
        if self._scale:
            motion[:3, :3] *= np.exp(step[6])
        motion[:3, 3] = self._middle + self._spread * step[3:6] - motion[:3, :3] @ self._middle
        return motion @ placed
