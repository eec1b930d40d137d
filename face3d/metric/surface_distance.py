"""True distances of points to a triangle mesh."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from face3d.core.checks import require_finite
from face3d.core.errors import InputError
from face3d.metric.numba_closest import build_boxes, closest


@dataclass(frozen=True, kw_only=True)
class Closest:
    """The nearest places of a surface."""

    points: Float[np.ndarray, "point 3"]  # on the surface
    face_index: Int[np.ndarray, "point"]
    distances: Float[np.ndarray, "point"]


class Surface:
    """A triangle mesh that answers where it is closest to a point.

    Attributes:
        vertices: Any unit; distances come in the same.
        faces: Corners of the triangles. Triangles without area count as the line that they are.
    """

    def __init__(
        self, vertices: Shaped[np.ndarray, "vertex 3"], faces: Shaped[np.ndarray, "face 3"]
    ) -> None:
        self.vertices = np.ascontiguousarray(vertices, dtype=np.float64)
        self.faces = np.ascontiguousarray(faces, dtype=np.int64)
        require_finite("The surface's vertices", self.vertices)
        if not len(self.faces):
            raise InputError("The surface has no triangles; give a mesh, not a cloud of points.")
        if self.faces.min() < 0 or self.faces.max() >= len(self.vertices):
            raise InputError(
                f"The surface has {len(self.vertices)} vertices, but its faces name vertices "
                f"{self.faces.min()} to {self.faces.max()}; the mesh is damaged."
            )
        self._corners = self.vertices[self.faces]
        self._tree = build_boxes(self._corners)

    def closest(
        self,
        points: Shaped[np.ndarray, "point 3"],
        *,
        guess: Int[np.ndarray, "point"] | None = None,
    ) -> Closest:
        """The nearest place of the surface to each point, exact.

        Args:
            points: In the unit and frame of the vertices.
            guess: Triangles that may be near, such as those of the last search; only for speed.

        Raises:
            InputError: A point is not finite.

        Example:
            >>> triangle = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
            >>> surface = Surface(triangle, np.array([[0, 1, 2]]))
            >>> surface.closest(np.array([[0.25, 0.25, 2.0]])).distances
            array([2.])
        """
        require_finite("The points", points)
        asked = np.ascontiguousarray(points, dtype=np.float64)
        found = np.zeros_like(asked)
        face = np.full(len(asked), -1) if guess is None else guess.astype(np.int64)
        closest(asked, self._corners, *self._tree, found, face)
        return Closest(
            points=found, face_index=face, distances=np.linalg.norm(asked - found, axis=1)
        )

    def normals_at(self, places: Closest) -> Float[np.ndarray, "point 3"]:
        """Unit normals at places on the surface, smooth between the vertices."""
        corners = self._corners[places.face_index]
        away = corners - places.points[:, None]
        # Each corner's share is the area of the triangle that the others make with the place.
        shares = np.linalg.norm(
            np.cross(np.roll(away, -1, axis=1), np.roll(away, -2, axis=1)), axis=-1
        )
        normals = self.vertex_normals()[self.faces[places.face_index]]
        return _unit((shares[..., None] * normals).sum(1))

    def face_normals(self) -> Float[np.ndarray, "face 3"]:
        """Unit normals of the triangles; zero where there is no area."""
        a, b, c = self._corners.transpose(1, 0, 2)
        return _unit(np.cross(b - a, c - a))

    def vertex_normals(self) -> Float[np.ndarray, "vertex 3"]:
        """Unit normals of the vertices, weighted by area; zero where there is none."""
        a, b, c = self._corners.transpose(1, 0, 2)
        normals = np.zeros_like(self.vertices)
        for corner in self.faces.T:
            np.add.at(normals, corner, np.cross(b - a, c - a))
        return _unit(normals)


def _unit(vectors: Float[np.ndarray, "row 3"]) -> Float[np.ndarray, "row 3"]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)


def closest_plain(
    points: Float[np.ndarray, "point 3"],
    vertices: Float[np.ndarray, "vertex 3"],
    faces: Int[np.ndarray, "face 3"],
) -> Closest:
    """The same by trying every triangle: what the tree is held to."""
    corners = vertices[faces]
    p = points[:, None, None]  # point, face, side
    start, along = corners[None], np.roll(corners, -1, axis=1)[None] - corners[None]
    length = np.maximum((along**2).sum(-1), 1e-300)
    share = (((p - start) * along).sum(-1) / length).clip(0, 1)
    feet = start + share[..., None] * along
    normal = np.cross(along[:, :, 0], along[:, :, 1])
    size = np.maximum((normal**2).sum(-1, keepdims=True), 1e-300)
    off = ((p[:, :, 0] - start[:, :, 0]) * normal).sum(-1, keepdims=True) / size
    foot = p[:, :, 0] - off * normal
    turn = (np.cross(along, foot[:, :, None] - start) * normal[:, :, None]).sum(-1)
    inside = (turn >= 0).all(-1) & ((normal**2).sum(-1) > 0)
    every = np.concatenate([feet, foot[:, :, None]], axis=2)
    squared = ((p - every) ** 2).sum(-1)
    squared[..., 3][~inside] = np.inf
    flat = squared.reshape(len(points), -1)
    best = flat.argmin(1)
    rows = np.arange(len(points))
    return Closest(
        points=every.reshape(len(points), -1, 3)[rows, best],
        face_index=best // 4,
        distances=np.sqrt(flat[rows, best]),
    )
