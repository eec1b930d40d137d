"""Finer faces for a surface whose relief is to be in its vertices."""

import torch
from jaxtyping import Float, Int
from numpy import ndarray, unique
from torch import Tensor

from face3d.core.types import HeadMesh, Topology
from face3d.render import vertex_normals
from face3d.render.rows import index_tensor

ROUND = 0.75
"""How far new vertices go from the middle of an edge to the curved surface."""


def subdivided(mesh: HeadMesh, times: int) -> HeadMesh:
    """Make four faces of each, so that the surface is rounder than the faces were.

    New vertices lie in the middle of edges and are drawn to the planes that touch the surface at
    the edge's ends (Boubekeur & Alexa, Phong tessellation, 2008). Old vertices stay.

    Args:
        mesh: One surface.
        times: How often.

    Returns:
        Each face's four follow each other; vertex sets hold what lies between their members.
    """
    for _ in range(times):
        mesh = _once(mesh)
    return mesh


def _once(mesh: HeadMesh) -> HeadMesh:
    old = mesh.topology
    count = mesh.vertices.shape[-2]
    edges, faces = _split(old.faces, count)
    normals = vertex_normals(mesh.vertices, index_tensor(old.faces))
    ends = torch.as_tensor(edges)
    middle = _rounded(mesh.vertices[ends], normals[ends])
    uv, uv_faces = old.uv, old.uv_faces
    if uv is not None and uv_faces is not None:
        uv_edges, uv_faces = _split(uv_faces, len(uv))
        between = torch.as_tensor(uv)[torch.as_tensor(uv_edges)].mean(1)
        uv = torch.cat([torch.as_tensor(uv), between]).numpy()
    regions = {
        name: torch.cat([torch.as_tensor(member), torch.as_tensor(member)[ends].all(1)]).numpy()
        for name, member in old.regions.items()
    }
    return HeadMesh(
        vertices=torch.cat([mesh.vertices, middle]),
        frame=mesh.frame,
        topology=Topology(faces=faces, uv=uv, uv_faces=uv_faces, regions=regions),
    )


def _split(
    faces: Int[ndarray, "face 3"], count: int
) -> tuple[Int[ndarray, "edge 2"], Int[ndarray, "finer 3"]]:
    """The edges, whose middles become points from ``count`` on, and four faces for each."""
    t = torch.as_tensor(faces)
    sides = torch.stack([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]], dim=1)
    edges, places = unique(
        sides.sort(dim=-1).values.reshape(-1, 2).numpy(), axis=0, return_inverse=True
    )
    ab, bc, ca = (torch.as_tensor(places).reshape(-1, 3) + count).unbind(1)
    a, b, c = t.unbind(1)
    four = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    finer = torch.stack([torch.stack(one, dim=1) for one in four], dim=1).reshape(-1, 3)
    return edges, finer.numpy()


def _rounded(
    ends: Float[Tensor, "edge 2 3"], normals: Float[Tensor, "edge 2 3"]
) -> Float[Tensor, "edge 3"]:
    middle = ends.mean(1)
    above = ((middle[:, None] - ends) * normals).sum(-1, keepdim=True) * normals
    return middle - ROUND * above.mean(1)
