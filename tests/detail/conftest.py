"""A square of skin with texture coordinates, flat or bent."""

import math

import numpy as np
import pytest
import torch
from squares import square

from face3d.core import HeadMesh, Topology

SIDE = 0.1
"""Metres that the texture spans."""


def make_sheet(steps: int = 9, *, wide: float = 1.0, tall: float = 1.0) -> HeadMesh:
    """A square in the plane z = 0 that faces +z; ``wide`` and ``tall`` stretch it."""
    uv, faces = square(steps)
    corners = np.stack([uv[:, 0] * SIDE * wide, uv[:, 1] * SIDE * tall, np.zeros(len(uv))], -1)
    return HeadMesh(
        vertices=torch.tensor(corners).float(),
        frame="head",
        topology=Topology(faces=faces, uv=uv, uv_faces=faces),
    )


def turned(mesh: HeadMesh, degrees: float) -> HeadMesh:
    """About +z, and moved away."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    vertices = mesh.vertices @ turn.T + torch.tensor([0.1, 0.2, 0.3])
    return HeadMesh(vertices=vertices, frame="world", topology=mesh.topology)


@pytest.fixture(scope="session")
def sheets():
    """The functions that make and turn sheets."""

    class Sheets:
        side = SIDE
        make = staticmethod(make_sheet)
        turned = staticmethod(turned)

    return Sheets
