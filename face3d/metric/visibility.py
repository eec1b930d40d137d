"""Which vertices of a head are skin that a scanner in front of it would see."""

import numpy as np
import torch
from jaxtyping import Bool, Float

from face3d.core.types import Camera, HeadMesh, Topology
from face3d.metric.surface_distance import Surface
from face3d.render import rasterize

SIDE_PX = 512
FAR_TIMES = 30.0
"""Distance of the camera in radii: far enough that what is seen hardly depends on it."""
BEHIND = 0.02
"""So much, in radii, may a vertex lie behind what its pixel shows and still be what it shows."""


def seen_from_front(
    surface: Surface,
    axes: Float[np.ndarray, "3 3"],
    centre: Float[np.ndarray, "3"],
    radius: float,
) -> Bool[np.ndarray, "vertex"]:
    """Which vertices a distant camera straight ahead of a face sees.

    Teeth, tongue, throat and the backs of eyeballs lie close behind the skin, where they would
    be taken for it.

    Args:
        surface: Of any unit.
        axes: Rows: to the subject's left, up, ahead.
        centre: Of what the camera looks at.
        radius: How far from the centre it looks; what lies beside the picture is not seen,
            nor what is on an outline, whose pixel may show nothing.
    """
    # Units of the radius, so that the renderer's bounds hold for any unit.
    local = (surface.vertices - centre) @ axes.T / radius
    x, y, z = local[:, 0], -local[:, 1], FAR_TIMES - local[:, 2]
    half = torch.tensor(SIDE_PX / 2)
    focal = half * FAR_TIMES * 0.95
    camera = Camera(
        fx=focal, fy=focal, cx=half, cy=half, width=SIDE_PX, height=SIDE_PX,
        camera_from_world=torch.eye(4),
    )  # fmt: skip
    mesh = HeadMesh(
        vertices=torch.tensor(np.stack([x, y, z], axis=1)).float(),
        frame="world",
        topology=Topology(faces=surface.faces),
    )
    depth = rasterize(mesh, camera).depth_m.numpy()
    ahead = z > 1
    safe = np.where(ahead, z, 1.0)
    column = np.floor(float(focal) * x / safe + SIDE_PX / 2).astype(np.int64)
    row = np.floor(float(focal) * y / safe + SIDE_PX / 2).astype(np.int64)
    within = ahead & (column >= 0) & (column < SIDE_PX) & (row >= 0) & (row < SIDE_PX)
    shown = depth[row.clip(0, SIDE_PX - 1), column.clip(0, SIDE_PX - 1)]
    return within & np.isfinite(shown) & (z < shown + BEHIND)
