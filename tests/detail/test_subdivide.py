"""Finer faces."""

import numpy as np
import torch
from numpy.testing import assert_allclose

import face3d
from face3d.core import HeadMesh, Topology
from face3d.detail import subdivided


def _sphere(radius: float) -> HeadMesh:
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=2, radius=radius)
    return HeadMesh(
        vertices=torch.tensor(np.asarray(ball.vertices)).float(),
        frame="head",
        topology=Topology(faces=np.asarray(ball.faces)),
    )


def test_a_ball_gets_rounder():
    coarse = _sphere(0.1)
    fine = subdivided(coarse, 2)
    assert len(fine.topology.faces) == 16 * len(coarse.topology.faces)
    off = (fine.vertices.norm(dim=-1) - 0.1).abs()
    flat = 0.1 - coarse.vertices[torch.as_tensor(coarse.topology.faces)].mean(1).norm(dim=-1)
    assert off.max() < 0.6 * flat.max()
    assert torch.equal(fine.vertices[: len(coarse.vertices)], coarse.vertices)


def test_a_plane_stays_plane_and_texture_goes_along(sheets):
    fine = subdivided(sheets.make(3), 2)
    assert fine.vertices[:, 2].abs().max() == 0
    assert_allclose(fine.topology.uv * sheets.side, fine.vertices[:, :2].numpy(), atol=1e-7)
    corners = fine.vertices[torch.as_tensor(fine.topology.faces)]
    up = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (up[:, 2] > 0).all()


def test_the_open_head_stays_closed_over_seams():
    mesh = face3d.load_head("open").data
    rest = HeadMesh(
        vertices=torch.tensor(mesh.v_template).float(), frame="head", topology=mesh.topology
    )
    fine = subdivided(rest, 1)
    # Faces that shared an edge still do: as many open edges as twice before.
    assert _open_edges(fine.topology.faces) == 2 * _open_edges(mesh.faces)
    assert set(fine.topology.regions) == set(mesh.regions)
    lips, finer = mesh.regions["lips"], fine.topology.regions["lips"]
    assert lips.sum() < finer.sum() < 5 * lips.sum()


def _open_edges(faces: np.ndarray) -> int:
    sides = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return int((np.unique(sides, axis=0, return_counts=True)[1] == 1).sum())
