"""The rasterizer once more, in plain torch: slow, short, and what the fast kernel is held to."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from face3d.core.types import Fragments

SUBPIXEL = 256


def rasterize_plain(
    points: Float[Tensor, "vertex 3"],
    faces: Int[Tensor, "face 3"],
    height: int,
    width: int,
    *,
    near_m: float,
    cull_back: bool,
) -> Fragments:
    """Rasterize one mesh, face by face, over whole images.

    Args:
        points: x and y in px, z the depth in metres.
        faces: Corner indices.
        height: Rows.
        width: Columns.
        near_m: Faces with a corner at or before this depth are left out.
        cull_back: Leave out faces that turn their back.
    """
    rows = (torch.arange(height) * SUBPIXEL + SUBPIXEL // 2)[:, None]
    columns = (torch.arange(width) * SUBPIXEL + SUBPIXEL // 2)[None, :]
    depth = torch.full((height, width), torch.inf)
    face_index = torch.full((height, width), -1)
    bary = torch.zeros(height, width, 3)
    snapped = torch.floor(points[:, :2].double() * SUBPIXEL + 0.5).long()
    for index, corners in enumerate(faces.tolist()):
        z = points[corners, 2].double()
        if not bool((z > near_m).all()):
            continue
        p = [snapped[c] for c in corners]
        area = (p[1][0] - p[0][0]) * (p[2][1] - p[0][1])
        area = area - (p[2][0] - p[0][0]) * (p[1][1] - p[0][1])
        if area == 0 or (cull_back and area > 0):
            continue
        sign = 1 if area > 0 else -1
        inside = torch.ones(height, width, dtype=torch.bool)
        weights = []
        for k in range(3):
            a, b = p[(k + 1) % 3], p[(k + 2) % 3]
            if sign < 0:
                a, b = b, a
            dx, dy = b[0] - a[0], b[1] - a[1]
            edge = dx * (rows - a[1]) - dy * (columns - a[0])
            top_left = bool(dy < 0) or bool(dy == 0 and dx > 0)
            inside &= edge >= (0 if top_left else 1)
            weights.append(edge.double() / abs(area) / z[k])
        total = weights[0] + weights[1] + weights[2]
        new_depth = (1 / torch.where(inside, total, torch.ones_like(total))).float()
        win = inside & (new_depth < depth)
        depth = torch.where(win, new_depth, depth)
        face_index = torch.where(win, torch.full_like(face_index, index), face_index)
        new_bary = (torch.stack(weights, dim=-1) * new_depth[..., None]).float()
        bary = torch.where(win[..., None], new_bary, bary)
    return Fragments(face_index=face_index, barycentric=bary, depth_m=depth)
