"""The rasterizer for CUDA devices, in NVIDIA Warp; its CPU device runs the same kernels for tests.

One thread per face fills coverage by an atomic maximum over (inverse depth, face) per pixel, so
that the result does not depend on the order of threads; one thread per pixel then computes
barycentrics. The arithmetic is that of face3d.render.numba_raster. The derivatives by the corners
are sums in double precision in no fixed order: on a GPU their last bits may differ from run to run.
"""

from typing import Any, no_type_check

import torch
import warp as wp
from torch import Tensor

from face3d.render.autograd import first_order
from face3d.render.numba_raster import GUARD_PX, OVERSHOOT, SUBPIXEL
from face3d.render.rasterize import NEAR_M, RasterJob, RasterResult

wp.config.quiet = True  # type: ignore[attr-defined]
wp.init()

Polygon = wp.types.matrix(shape=(8, 3), dtype=wp.float64)
STEPS = wp.constant(wp.int64(SUBPIXEL))
HALF = wp.constant(wp.int64(SUBPIXEL // 2))
GUARD = wp.constant(wp.float64(GUARD_PX))
NEAR = wp.constant(wp.float64(NEAR_M))
LEAST = wp.constant(wp.float64(-OVERSHOOT))
NOTHING = wp.constant(wp.int64(0))
LAST_FACE = wp.constant(wp.int64(0x7FFFFFFF))


@wp.func
@no_type_check
def _snap(value: wp.float64) -> wp.int64:
    return wp.int64(wp.floor(value * wp.float64(STEPS) + wp.float64(0.5)))


@wp.func
@no_type_check
def _floor_div(a: wp.int64) -> wp.int64:
    """By STEPS, rounded down also for negative numbers, which Warp's own division is not."""
    return a >> wp.int64(8)


@wp.func
@no_type_check
def _distance(p: wp.vec3d, plane: wp.int32) -> wp.float64:
    """To the planes that bound what can be drawn; negative is outside."""
    if plane == 0:
        return p[2] - NEAR
    if plane == 1:
        return GUARD * p[2] - p[0]
    if plane == 2:
        return GUARD * p[2] + p[0]
    if plane == 3:
        return GUARD * p[2] - p[1]
    return GUARD * p[2] + p[1]


@wp.func
@no_type_check
def _corner(polygon: Polygon, k: wp.int32) -> wp.vec3d:
    return wp.vec3d(polygon[k, 0], polygon[k, 1], polygon[k, 2])


@wp.func
@no_type_check
def _fill(
    p0: wp.vec3d,
    p1: wp.vec3d,
    p2: wp.vec3d,
    face: wp.int32,
    image: wp.int32,
    width: wp.int32,
    height: wp.int32,
    cull_back: wp.bool,
    best: wp.array(dtype=wp.int64, ndim=3),
):
    """Fill one triangle in front of the camera."""
    x0, y0 = _snap(p0[0] / p0[2]), _snap(p0[1] / p0[2])
    x1, y1 = _snap(p1[0] / p1[2]), _snap(p1[1] / p1[2])
    x2, y2 = _snap(p2[0] / p2[2]), _snap(p2[1] / p2[2])
    one = wp.float64(1.0)
    r0, r1, r2 = one / p0[2], one / p1[2], one / p2[2]
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    if area == NOTHING or (cull_back and area > NOTHING):
        return
    if area < NOTHING:
        x, y, r = x1, y1, r1
        x1, y1, r1 = x2, y2, r2
        x2, y2, r2 = x, y, r
        area = -area
    low_x, high_x = wp.min(x0, wp.min(x1, x2)), wp.max(x0, wp.max(x1, x2))
    low_y, high_y = wp.min(y0, wp.min(y1, y2)), wp.max(y0, wp.max(y1, y2))
    unit = wp.int64(1)
    left = wp.max(NOTHING, _floor_div(low_x - HALF + STEPS - unit))
    right = wp.min(wp.int64(width) - unit, _floor_div(high_x - HALF))
    top = wp.max(NOTHING, _floor_div(low_y - HALF + STEPS - unit))
    bottom = wp.min(wp.int64(height) - unit, _floor_div(high_y - HALF))
    dx0, dy0 = x2 - x1, y2 - y1
    dx1, dy1 = x0 - x2, y0 - y2
    dx2, dy2 = x1 - x0, y1 - y0
    bias0, bias1, bias2 = -unit, -unit, -unit
    if dy0 < NOTHING or (dy0 == NOTHING and dx0 > NOTHING):
        bias0 = NOTHING
    if dy1 < NOTHING or (dy1 == NOTHING and dx1 > NOTHING):
        bias1 = NOTHING
    if dy2 < NOTHING or (dy2 == NOTHING and dx2 > NOTHING):
        bias2 = NOTHING
    share = one / wp.float64(area)
    row = top
    while row <= bottom:
        py = row * STEPS + HALF
        column = left
        while column <= right:
            px = column * STEPS + HALF
            e0 = dx0 * (py - y1) - dy0 * (px - x1)
            e1 = dx1 * (py - y2) - dy1 * (px - x2)
            e2 = dx2 * (py - y0) - dy2 * (px - x0)
            if e0 + bias0 >= NOTHING and e1 + bias1 >= NOTHING and e2 + bias2 >= NOTHING:
                near = wp.float32(
                    (wp.float64(e0) * r0 + wp.float64(e1) * r1 + wp.float64(e2) * r2) * share
                )
                # Bits of positive floats are ordered as they are; of equals the first face wins.
                bits = wp.int64(wp.cast(near, wp.int32))
                key = (bits << wp.int64(31)) | (LAST_FACE - wp.int64(face))
                wp.atomic_max(best, image, wp.int32(row), wp.int32(column), key)
            column = column + unit
        row = row + unit


@wp.kernel(enable_backward=False)  # type: ignore[untyped-decorator]
@no_type_check
def _fill_faces(
    corners: wp.array(dtype=wp.vec3d, ndim=2),
    faces: wp.array(dtype=wp.int64, ndim=2),
    cull_back: wp.bool,
    best: wp.array(dtype=wp.int64, ndim=3),
):
    image, face = wp.tid()
    polygon = Polygon()
    height, width = best.shape[1], best.shape[2]
    outside = wp.bool(False)
    for k in range(3):
        p = corners[image, wp.int32(faces[face, k])]
        for c in range(3):
            polygon[k, c] = p[c]
        for plane in range(5):
            if _distance(p, plane) < wp.float64(0.0):
                outside = wp.bool(True)
    if not outside:
        _fill(_corner(polygon, 0), _corner(polygon, 1), _corner(polygon, 2),
              face, image, width, height, cull_back, best)  # fmt: skip
        return
    # Sutherland & Hodgman (1974); each plane adds at most one corner.
    count = wp.int32(3)
    for plane in range(5):
        other = Polygon()
        kept = wp.int32(0)
        for k in range(8):
            if k < count:
                here, following = _corner(polygon, k), _corner(polygon, (k + 1) % count)
                a, b = _distance(here, plane), _distance(following, plane)
                zero = wp.float64(0.0)
                if a >= zero:
                    for c in range(3):
                        other[kept, c] = here[c]
                    kept = kept + 1
                if (a >= zero) != (b >= zero):
                    # From the inside out, whichever way the face runs: neighbours agree.
                    met = following + (here - following) * (b / (b - a))
                    if a >= zero:
                        met = here + (following - here) * (a / (a - b))
                    for c in range(3):
                        other[kept, c] = met[c]
                    kept = kept + 1
        polygon = other
        count = kept
    for k in range(1, 7):
        if k < count - 1:
            _fill(_corner(polygon, 0), _corner(polygon, k), _corner(polygon, k + 1),
                  face, image, width, height, cull_back, best)  # fmt: skip


@wp.kernel(enable_backward=False)  # type: ignore[untyped-decorator]
@no_type_check
def _resolve(
    corners: wp.array(dtype=wp.vec3d, ndim=2),
    faces: wp.array(dtype=wp.int64, ndim=2),
    best: wp.array(dtype=wp.int64, ndim=3),
    seen: wp.array(dtype=wp.int64, ndim=3),
    bary: wp.array(dtype=wp.float64, ndim=4),
    depth: wp.array(dtype=wp.float64, ndim=3),
):
    image, row, column = wp.tid()
    key = best[image, row, column]
    if key == NOTHING:
        seen[image, row, column] = wp.int64(-1)
        depth[image, row, column] = wp.float64(wp.inf)
        return
    face = wp.int32(LAST_FACE - (key & LAST_FACE))
    seen[image, row, column] = wp.int64(face)
    a = corners[image, wp.int32(faces[face, 0])]
    b = corners[image, wp.int32(faces[face, 1])]
    c = corners[image, wp.int32(faces[face, 2])]
    ray = _ray(row, column)
    w = wp.vec3d(_weight(b, c, ray), _weight(c, a, ray), _weight(a, b, ray))
    zero = wp.float64(0.0)
    total = w[0] + w[1] + w[2]
    if total != zero:
        w = w / total
    else:
        w = wp.vec3d(wp.float64(1.0), wp.float64(1.0), wp.float64(1.0))
    if total == zero or wp.min(w[0], wp.min(w[1], w[2])) < LEAST:
        w = wp.vec3d(wp.max(w[0], zero), wp.max(w[1], zero), wp.max(w[2], zero))
        w = w / (w[0] + w[1] + w[2])
    for k in range(3):
        bary[image, row, column, k] = w[k]
    depth[image, row, column] = w[0] * a[2] + w[1] * b[2] + w[2] * c[2]


@wp.func
@no_type_check
def _ray(row: wp.int32, column: wp.int32) -> wp.vec3d:
    """Through a pixel's centre, in homogeneous pixels."""
    half = wp.float64(0.5)
    return wp.vec3d(wp.float64(column) + half, wp.float64(row) + half, wp.float64(1.0))


@wp.func
@no_type_check
def _weight(p: wp.vec3d, q: wp.vec3d, ray: wp.vec3d) -> wp.float64:
    """Of the third corner, up to the sum: the cross product of two, taken from the pixel."""
    xp, yp = p[0] - ray[0] * p[2], p[1] - ray[1] * p[2]
    xq, yq = q[0] - ray[0] * q[2], q[1] - ray[1] * q[2]
    return xp * yq - xq * yp


@wp.kernel(enable_backward=False)  # type: ignore[untyped-decorator]
@no_type_check
def _pull_back(
    corners: wp.array(dtype=wp.vec3d, ndim=2),
    faces: wp.array(dtype=wp.int64, ndim=2),
    seen: wp.array(dtype=wp.int64, ndim=3),
    by_bary: wp.array(dtype=wp.float64, ndim=4),
    by_depth: wp.array(dtype=wp.float64, ndim=3),
    by_corners: wp.array(dtype=wp.vec3d, ndim=2),
):
    """As of face3d.render.numba_raster, with w = (b x c, c x a, a x b) . ray."""
    image, row, column = wp.tid()
    if seen[image, row, column] < NOTHING:
        return
    face = wp.int32(seen[image, row, column])
    i, j, k = (
        wp.int32(faces[face, 0]),
        wp.int32(faces[face, 1]),
        wp.int32(faces[face, 2]),
    )
    a, b, c = corners[image, i], corners[image, j], corners[image, k]
    ray = _ray(row, column)
    w = wp.vec3d(_weight(b, c, ray), _weight(c, a, ray), _weight(a, b, ray))
    total = w[0] + w[1] + w[2]
    if total == wp.float64(0.0):
        return
    s = w / total
    if wp.min(s[0], wp.min(s[1], s[2])) < LEAST:
        return
    gd = by_depth[image, row, column]
    g = wp.vec3d(
        by_bary[image, row, column, 0] + gd * a[2],
        by_bary[image, row, column, 1] + gd * b[2],
        by_bary[image, row, column, 2] + gd * c[2],
    )
    mean = wp.dot(g, s)
    g = (g - wp.vec3d(mean, mean, mean)) / total
    # w is linear in each corner: its derivative by a is the cross product of the rest and the ray.
    zero = wp.float64(0.0)
    by_a = g[1] * wp.cross(ray, c) + g[2] * wp.cross(b, ray) + wp.vec3d(zero, zero, gd * s[0])
    by_b = g[2] * wp.cross(ray, a) + g[0] * wp.cross(c, ray) + wp.vec3d(zero, zero, gd * s[1])
    by_c = g[0] * wp.cross(ray, b) + g[1] * wp.cross(a, ray) + wp.vec3d(zero, zero, gd * s[2])
    wp.atomic_add(by_corners, image, i, by_a)
    wp.atomic_add(by_corners, image, j, by_b)
    wp.atomic_add(by_corners, image, k, by_c)


def _array(tensor: Tensor, dtype: Any) -> Any:
    return wp.from_torch(tensor.contiguous(), dtype=dtype)


class _Warp(torch.autograd.Function):
    """The kernels as one differentiable operation."""

    @staticmethod
    def forward(ctx: Any, corners: Tensor, job: RasterJob) -> RasterResult:
        """Rasterize ``corners``; the job's own are not used."""
        device = corners.device
        exact = corners.detach().double().contiguous()
        faces = torch.as_tensor(job.faces).to(device)
        size = (len(corners), job.height, job.width)
        best = torch.zeros(size, dtype=torch.int64, device=device)
        seen = torch.zeros(size, dtype=torch.int64, device=device)
        bary = torch.zeros(*size, 3, dtype=torch.float64, device=device)
        depth = torch.zeros(size, dtype=torch.float64, device=device)
        on = wp.device_from_torch(device)
        shared = [_array(exact, wp.vec3d), _array(faces, wp.int64)]
        if len(faces):
            wp.launch(
                _fill_faces,
                dim=(len(corners), len(faces)),
                inputs=[*shared, job.cull_back, _array(best, wp.int64)],
                device=on,
            )
        outputs = [_array(best, wp.int64), _array(seen, wp.int64), _array(bary, wp.float64)]
        wp.launch(
            _resolve, dim=size, inputs=[*shared, *outputs, _array(depth, wp.float64)], device=on
        )
        ctx.size = size
        ctx.save_for_backward(exact, faces, seen)
        ctx.mark_non_differentiable(seen)
        return seen, bary.to(corners.dtype), depth.to(corners.dtype)

    @staticmethod
    @first_order
    def backward(ctx: Any, *by_output: Tensor) -> tuple[Tensor, None]:
        """Derivatives by the corners."""
        exact, faces, seen = ctx.saved_tensors
        _, by_bary, by_depth = by_output
        pulled = torch.zeros_like(exact)
        wp.launch(
            _pull_back,
            dim=ctx.size,
            inputs=[
                _array(exact, wp.vec3d),
                _array(faces, wp.int64),
                _array(seen, wp.int64),
                _array(by_bary.double(), wp.float64),
                _array(by_depth.double(), wp.float64),
                _array(pulled, wp.vec3d),
            ],
            device=wp.device_from_torch(exact.device),
        )
        return pulled.to(by_bary.dtype), None


def rasterize_warp(job: RasterJob) -> RasterResult:
    """Rasterize on the device of the corners."""
    return _Warp.apply(job.corners, job)  # type: ignore[no-any-return]
