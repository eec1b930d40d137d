"""Non-rigid registration: where each vertex of one surface belongs on another.

The nearest point is a poor correspondence: a nose that sits too high is near to something
everywhere. Here the surface is bent onto the other, stiff at first and softer step by step
(Amberg et al., Optimal Step Nonrigid ICP Algorithms for Surface Registration, 2007), with the
membrane energy of the displacements as stiffness.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from scipy.sparse.linalg import splu

from face3d.metric.surface_distance import Closest, Surface

STIFFNESS_M = (0.06, 0.03, 0.015, 0.008, 0.004, 0.002)
"""Over what distance displacements are alike, metres, stage by stage."""
STEPS = 5
ALONG = 0.05
"""Weight of the distance along the other surface; across it weighs one."""
FARTHEST_M = 0.015
ALIKE = 0.5
"""Least cosine between the normals of points that may belong together."""


@dataclass(frozen=True, kw_only=True)
class Anchors:
    """Points of the surface whose places on the other are known."""

    vertex: Int[np.ndarray, "anchor"]
    places: Float[np.ndarray, "anchor 3"]
    sd_m: float  # how well they are known


def register(
    vertices: Float[np.ndarray, "vertex 3"],
    faces: Int[np.ndarray, "face 3"],
    target: Surface,
    anchors: Anchors | None = None,
) -> Closest:
    """Where each vertex belongs on the other surface.

    Args:
        vertices: Metres, aligned with the target; every one a corner of some face.
        faces: Their triangles.
        target: The other surface, metres.
        anchors: Pairs that are known.

    Returns:
        The places on the target, and how far the vertices are from them.
    """
    area, stiffness = _membrane(vertices, faces)
    edge, normals = _border_faces(target.faces), target.face_normals()
    moved = vertices.copy()
    for length in STIFFNESS_M:
        # Both terms are integrals over the surface, so the balance is the same on any mesh.
        smooth = sparse.kron(length**2 * stiffness, sparse.identity(3))
        for _ in range(STEPS):
            near = target.closest(moved)
            across = normals[near.face_index]
            own = Surface(moved, faces).vertex_normals()
            fits = (across * own).sum(1) > ALIKE
            fits &= (near.distances < FARTHEST_M) & ~edge[near.face_index]
            each = across[:, :, None] * across[:, None, :] + ALONG * np.eye(3)
            each *= (area * fits)[:, None, None]
            goal = np.einsum("vab,vb->va", each, near.points - vertices)
            if anchors is not None:
                pull = (0.005 / anchors.sd_m) ** 2 * float(area.mean())
                np.add.at(each, anchors.vertex, pull * np.eye(3))
                np.add.at(goal, anchors.vertex, pull * (anchors.places - vertices[anchors.vertex]))
            # A little of everything keeps parts without any match where they are.
            each += 1e-6 * float(area.mean()) * np.eye(3)
            system = (_block_diagonal(each) + smooth).tocsc()
            step = splu(system).solve(goal.ravel()).reshape(-1, 3) + vertices - moved
            moved = moved + step
            if np.abs(step).max() < 1e-5:
                break
    found = target.closest(moved)
    return Closest(
        points=found.points,
        face_index=found.face_index,
        distances=np.linalg.norm(vertices - found.points, axis=1),
    )


def _block_diagonal(blocks: Float[np.ndarray, "vertex 3 3"]) -> sparse.bsr_matrix:
    count = len(blocks)
    return sparse.bsr_matrix((blocks, np.arange(count), np.arange(count + 1)))


def _membrane(
    vertices: Float[np.ndarray, "vertex 3"], faces: Int[np.ndarray, "face 3"]
) -> tuple[Float[np.ndarray, "vertex"], sparse.csr_matrix]:
    """Each vertex's share of the area, and the cotangent form of the membrane energy."""
    count = len(vertices)
    area = np.zeros(count)
    rows: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    values: list[np.ndarray] = []
    for k in range(3):
        at, i, j = faces[:, k], faces[:, (k + 1) % 3], faces[:, (k + 2) % 3]
        a, b = vertices[i] - vertices[at], vertices[j] - vertices[at]
        doubled = np.linalg.norm(np.cross(a, b), axis=1)
        np.add.at(area, at, doubled / 6)
        # Negative cotangents would reward differences, huge ones come from slivers.
        half = ((a * b).sum(1) / np.maximum(doubled, 1e-12)).clip(0.01, 10) / 2
        rows += [i, j, i, j]
        columns += [j, i, i, j]
        values += [-half, -half, half, half]
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return area, sparse.csr_matrix(entries, shape=(count, count))


def _border_faces(faces: Int[np.ndarray, "face 3"]) -> np.ndarray:
    """Which faces have an edge that no other face has: what lies beyond them is unknown."""
    sides = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    _, which, count = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
    return (count[which.reshape(-1, 3)] == 1).any(1)
