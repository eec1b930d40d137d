"""A first guess of pose and distance: scaled orthography on the mean head."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class StartingPose:
    """Pose of the head in the camera's frame, and a focal length that goes with it."""

    rotation: Float[Tensor, "batch 3 3"]
    origin_px: Float[Tensor, "batch 2"]  # of the head frame, relative to the principal point
    log_scale: Float[Tensor, "batch"]  # focal length over depth, px per metre
    log_focal: Float[Tensor, "batch"]


def starting_pose(
    points_head: Float[Tensor, "landmark 3"],
    points_px: Float[Tensor, "batch landmark 2"],
    visibility: Float[Tensor, "batch landmark"],
    log_focal_mean: Float[Tensor, "batch"],
    log_focal_sd: Float[Tensor, "batch"],
    distance_m: float,
    log_distance_sd: float,
) -> StartingPose:
    """Solve pixels = s R[:2] p + t by linear least squares and make R a rotation.

    A scaled orthographic picture fixes only focal length over distance; the two are split as
    their priors say.

    Args:
        points_head: Landmarks of the mean head, metres.
        points_px: Detected landmarks relative to the principal point.
        visibility: Weights.
        log_focal_mean: Prior of log focal length (px).
        log_focal_sd: Its standard deviation.
        distance_m: Prior median of the distance.
        log_distance_sd: Standard deviation of its logarithm.
    """
    w = visibility / visibility.sum(-1, keepdim=True).clamp(min=1e-9)
    model_mean = w @ points_head
    pixel_mean = (w[..., None] * points_px).sum(1)
    model = points_head - model_mean[:, None]
    pixel = points_px - pixel_mean[:, None]
    normal = model.mT @ (w[..., None] * model)
    ridge = 1e-6 * normal.diagonal(dim1=-2, dim2=-1).mean(-1)
    eye = torch.eye(3, dtype=normal.dtype)
    rows = torch.linalg.solve(
        normal + ridge[:, None, None] * eye, model.mT @ (w[..., None] * pixel)
    ).mT
    scale = rows.norm(dim=-1).mean(-1)
    u, _, vt = torch.linalg.svd(rows, full_matrices=False)
    two = u @ vt
    rotation = torch.cat([two, torch.linalg.cross(two[:, 0], two[:, 1])[:, None]], dim=1)
    # log f - log d is known to be log scale; the priors share the rest by their variances.
    trust = log_focal_sd**2 / (log_focal_sd**2 + log_distance_sd**2)
    implied = scale.log() + torch.tensor(distance_m, dtype=scale.dtype).log()
    log_focal = (1 - trust) * log_focal_mean + trust * implied
    turned_mean = (rotation @ model_mean[..., None]).squeeze(-1)
    # The landmarks lie in front of the head's origin, and so are drawn larger than it.
    depth = (log_focal - scale.log()).exp()
    log_scale = log_focal - (depth - turned_mean[:, 2]).clamp(min=0.1).log()
    origin = pixel_mean - log_scale.exp()[:, None] * turned_mean[:, :2]
    return StartingPose(
        rotation=rotation, origin_px=origin, log_scale=log_scale, log_focal=log_focal
    )
