"""Rotations: axis-angle vectors, matrices and their derivatives.

Batched over free leading axes, differentiable everywhere including zero, float32 and float64.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

# Taylor coefficients in the squared angle, constant first: exact to double precision below 1e-2.
_SINE_SERIES = [(-1) ** k / math.factorial(2 * k + 1) for k in range(5)]
_COSINE_SERIES = [(-1) ** k / math.factorial(2 * k + 2) for k in range(5)]
_THIRD_SERIES = [(-1) ** k / math.factorial(2 * k + 3) for k in range(5)]


def _horner(x: Tensor, coefficients: list[float]) -> Tensor:
    """The polynomial with these coefficients, constant first."""
    value = x * coefficients[-1]
    for c in reversed(coefficients[1:-1]):
        value = (value + c) * x
    return value + coefficients[0]


def skew_from_vector(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The matrix ``K`` with ``K @ p == cross(vector, p)``."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    return torch.stack(rows, dim=-1).reshape(*vector.shape[:-1], 3, 3)


def _small_and_safe(
    squared: Float[Tensor, "*batch"],
) -> tuple[Tensor, Float[Tensor, "*batch"]]:
    """Where the Taylor series is used, and squared angles that are harmless elsewhere.

    ``where`` passes NaN gradients of the branch that is not taken through, so that branch gets
    an angle of one.
    """
    small = squared < 1e-2
    return small, torch.where(small, torch.ones_like(squared), squared)


def _sine_and_cosine_terms(
    squared: Float[Tensor, "*batch"],
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """``sin a / a`` and ``(1 - cos a) / a^2`` from ``a^2``."""
    small, safe = _small_and_safe(squared)
    angle, s = safe.sqrt(), squared
    sine = torch.where(small, _horner(s, _SINE_SERIES), angle.sin() / angle)
    cosine = torch.where(small, _horner(s, _COSINE_SERIES), (1 - angle.cos()) / safe)
    return sine, cosine


def _third_term(squared: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """``(a - sin a) / a^3`` from ``a^2``."""
    small, safe = _small_and_safe(squared)
    angle, s = safe.sqrt(), squared
    return torch.where(small, _horner(s, _THIRD_SERIES), (angle - angle.sin()) / (safe * angle))


def matrix_from_axis_angle(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rodrigues' formula; the length of the vector is the angle in radians."""
    sine, cosine = _sine_and_cosine_terms((axis_angle * axis_angle).sum(-1))
    k = skew_from_vector(axis_angle)
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return eye + sine[..., None, None] * k + cosine[..., None, None] * (k @ k)


def left_jacobian(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """``J`` with ``R(a + da) ~= R(J(a) da) @ R(a)`` to first order (Barfoot, 2017, eq. 7.77)."""
    squared = (axis_angle * axis_angle).sum(-1)
    _, cosine = _sine_and_cosine_terms(squared)
    third = _third_term(squared)
    k = skew_from_vector(axis_angle)
    eye = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return eye + cosine[..., None, None] * k + third[..., None, None] * (k @ k)


def axis_angle_from_matrix(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """The shortest axis-angle vector of a rotation, by way of a unit quaternion.

    The quaternion is taken from the column of ``q q^T`` with the largest diagonal entry, which
    keeps full accuracy at every angle, half turns included.
    """
    m = matrix
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    diagonal = torch.stack(
        [
            1 + trace,
            1 + 2 * m[..., 0, 0] - trace,
            1 + 2 * m[..., 1, 1] - trace,
            1 + 2 * m[..., 2, 2] - trace,
        ],
        dim=-1,
    )
    wx = m[..., 2, 1] - m[..., 1, 2]
    wy = m[..., 0, 2] - m[..., 2, 0]
    wz = m[..., 1, 0] - m[..., 0, 1]
    xy = m[..., 0, 1] + m[..., 1, 0]
    xz = m[..., 0, 2] + m[..., 2, 0]
    yz = m[..., 1, 2] + m[..., 2, 1]
    outer = torch.stack(
        [
            torch.stack([diagonal[..., 0], wx, wy, wz], dim=-1),
            torch.stack([wx, diagonal[..., 1], xy, xz], dim=-1),
            torch.stack([wy, xy, diagonal[..., 2], yz], dim=-1),
            torch.stack([wz, xz, yz, diagonal[..., 3]], dim=-1),
        ],
        dim=-2,
    )
    best = diagonal.argmax(-1)
    rows = torch.gather(outer, -2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    quaternion = rows / rows.norm(dim=-1, keepdim=True)
    # q and -q are one rotation; the one with w >= 0 has the shorter angle.
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    w, vector = quaternion[..., 0], quaternion[..., 1:]
    squared = (vector * vector).sum(-1)
    small = squared < 1e-12
    sine = torch.where(small, torch.ones_like(squared), squared).sqrt()
    factor = torch.where(small, 2 / w.clamp(min=0.5), 2 * torch.atan2(sine, w) / sine)
    return factor[..., None] * vector
