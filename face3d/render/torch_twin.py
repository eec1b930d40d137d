"""The rasterizer once more, in plain torch: slow, short, and what the fast one is held to."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SUBPIXEL = 256
GUARD_PX = 2.0**20
OVERSHOOT = 0.05


def _snapped(corners: Float[Tensor, "corner 3"]) -> Int[Tensor, "corner 2"]:
    return torch.floor(corners[:, :2] / corners[:, 2:] * SUBPIXEL + 0.5).long()


def clip_polygon(polygon: list[Tensor], near_m: float) -> list[Tensor]:
    """Clip homogeneous corners at the near plane and the guard band (Sutherland & Hodgman)."""
    planes = torch.tensor(
        [[0, 0, 1], [-1, 0, GUARD_PX], [1, 0, GUARD_PX], [0, -1, GUARD_PX], [0, 1, GUARD_PX]],
        dtype=torch.float64,
    )
    for k, plane in enumerate(planes):
        offset = near_m if k == 0 else 0.0
        distance = [float(p @ plane) - offset for p in polygon]
        kept: list[Tensor] = []
        for i, (point, a) in enumerate(zip(polygon, distance, strict=True)):
            following, b = polygon[(i + 1) % len(polygon)], distance[(i + 1) % len(polygon)]
            if a >= 0:
                kept.append(point)
            if (a >= 0) != (b >= 0):
                inner, outer, share = (point, following, a / (a - b)) if a >= 0 else (
                    following, point, b / (b - a)
                )  # fmt: skip
                kept.append(inner + (outer - inner) * share)
        polygon = kept
    return polygon


def faces_seen(
    corners: Float[Tensor, "vertex 3"],
    faces: Int[Tensor, "face 3"],
    height: int,
    width: int,
    *,
    near_m: float,
    cull_back: bool,
) -> Int[Tensor, "h w"]:
    """The nearest face at every pixel centre, -1 where there is none.

    Args:
        corners: Homogeneous pixels ``(u z, v z, z)``.
        faces: Corner indices.
        height: Rows.
        width: Columns.
        near_m: Faces are clipped at this depth.
        cull_back: Leave out faces that turn their back.
    """
    nearness = torch.zeros(height, width)
    seen = torch.full((height, width), -1)
    for index, face in enumerate(corners.detach().double()[faces]):
        polygon = clip_polygon(list(face), near_m)
        for k in range(1, len(polygon) - 1):
            triangle = torch.stack([polygon[0], polygon[k], polygon[k + 1]])
            inside, near = _triangle(triangle, height, width, cull_back)
            win = inside & (near > nearness)
            nearness = torch.where(win, near, nearness)
            seen = torch.where(win, torch.full_like(seen, index), seen)
    return seen


def _triangle(
    corners: Float[Tensor, "3 3"], height: int, width: int, cull_back: bool
) -> tuple[Bool[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Which pixels a triangle covers, and the inverse depth there."""
    rows = (torch.arange(height) * SUBPIXEL + SUBPIXEL // 2)[:, None]
    columns = (torch.arange(width) * SUBPIXEL + SUBPIXEL // 2)[None, :]
    p = _snapped(corners)
    u, v = p[1] - p[0], p[2] - p[0]
    area = int(u[0] * v[1] - u[1] * v[0])
    inside = torch.full((height, width), area != 0 and not (cull_back and area > 0))
    near = torch.zeros(height, width, dtype=torch.float64)
    for k in range(3):
        a, b = (p[(k + 1) % 3], p[(k + 2) % 3])[:: 1 if area > 0 else -1]
        dx, dy = b[0] - a[0], b[1] - a[1]
        edge = dx * (rows - a[1]) - dy * (columns - a[0])
        top_left = bool(dy < 0) or bool(dy == 0 and dx > 0)
        inside = inside & (edge >= (0 if top_left else 1))
        near = near + edge / (max(1, abs(area)) * corners[k, 2])
    return inside, near.float()


def barycentrics_at(
    corners: Float[Tensor, "vertex 3"], faces: Int[Tensor, "face 3"], seen: Int[Tensor, "h w"]
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"]]:
    """Where each pixel's ray meets the face it sees, and the depth there; differentiable.

    Args:
        corners: Homogeneous pixels ``(u z, v z, z)``.
        faces: Corner indices.
        seen: Face of each pixel or -1.

    Returns:
        Barycentrics, zero where nothing is seen, and depths, infinity where nothing is.
    """
    rows, columns = torch.nonzero(seen >= 0, as_tuple=True)
    centre = torch.stack([columns, rows], dim=-1).double() + 0.5
    at = corners.double()[faces[seen[rows, columns]]]  # (n, 3, 3)
    z = at[..., 2]
    from_pixel = at[..., :2] - centre[:, None] * z[..., None]
    after, before = from_pixel.roll(-1, dims=1), from_pixel.roll(-2, dims=1)
    area = after[..., 0] * before[..., 1] - after[..., 1] * before[..., 0]
    total = area.sum(-1, keepdim=True)
    share = area / torch.where(total == 0, torch.ones_like(total), total)
    share = torch.where(total == 0, torch.full_like(share, 1 / 3), share)
    cut = share.detach().clamp(min=0)
    sliver = share.amin(-1, keepdim=True) < -OVERSHOOT
    share = torch.where(sliver, cut / cut.sum(-1, keepdim=True), share)
    z = torch.where(sliver, z.detach(), z)
    index = (rows, columns)
    met = (share * z).sum(-1)
    barycentric = corners.new_zeros(*seen.shape, 3).index_put(index, share.to(corners.dtype))
    depth = corners.new_full(seen.shape, torch.inf).index_put(index, met.to(corners.dtype))
    return barycentric, depth
