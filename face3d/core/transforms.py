"""Rigid and similarity transforms as 4x4 matrices, named ``b_from_a``."""

import torch
from jaxtyping import Float
from torch import Tensor


def rigid_from_parts(
    rotation: Float[Tensor, "*batch 3 3"], translation: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 4 4"]:
    """The homogeneous matrix of ``p -> rotation @ p + translation``."""
    top = torch.cat([rotation, translation[..., None]], dim=-1)
    bottom = top.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*top.shape[:-2], 1, 4)
    return torch.cat([top, bottom], dim=-2)


def transform_points(
    b_from_a: Float[Tensor, "*#batch 4 4"], points: Float[Tensor, "*#batch point 3"]
) -> Float[Tensor, "*_ point 3"]:
    """Apply a transform to points of frame ``a``; leading axes are broadcast."""
    return points @ b_from_a[..., :3, :3].mT + b_from_a[..., None, :3, 3]


def invert_rigid(b_from_a: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """``a_from_b`` of a rigid transform, without a matrix inversion."""
    rotation = b_from_a[..., :3, :3].mT
    return rigid_from_parts(rotation, -(rotation @ b_from_a[..., :3, 3:]).squeeze(-1))


def procrustes(
    source: Float[Tensor, "*batch point 3"],
    target: Float[Tensor, "*batch point 3"],
    weights: Float[Tensor, "*batch point"] | None = None,
    *,
    scale: bool = False,
) -> Float[Tensor, "*batch 4 4"]:
    """The rigid (or similarity) transform that brings ``source`` closest to ``target``.

    Weighted least squares by singular value decomposition, proper rotations only (Umeyama, 1991).

    Args:
        source: Points to move.
        target: Where they should come to lie.
        weights: One non-negative weight per point; all equal when left out.
        scale: Whether a uniform scale is estimated too.

    Returns:
        ``target_from_source``.
    """
    if weights is None:
        weights = source.new_ones(source.shape[:-1])
    w = (weights / weights.sum(-1, keepdim=True))[..., None]
    source_mean = (w * source).sum(-2, keepdim=True)
    target_mean = (w * target).sum(-2, keepdim=True)
    a, b = source - source_mean, target - target_mean
    u, singular, vt = torch.linalg.svd((w * b).mT @ a)
    sign = torch.ones_like(singular)
    sign[..., -1] = torch.linalg.det(u @ vt).sign()
    rotation = (u * sign[..., None, :]) @ vt
    if scale:
        variance = (w * a * a).sum((-2, -1))
        rotation = rotation * ((singular * sign).sum(-1) / variance)[..., None, None]
    translation = target_mean - source_mean @ rotation.mT
    return rigid_from_parts(rotation, translation.squeeze(-2))
