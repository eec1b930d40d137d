"""Where the landmark fit ended, and the records that callers get of it."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from face3d.core.transforms import rigid_from_parts
from face3d.core.types import Camera, FitResult, HeadParams
from face3d.fit.landmark_problem import FitState, LandmarkProblem


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Where the iteration ended."""

    vector: Float[Tensor, "batch parameter"]
    rotation: Float[Tensor, "batch 3 3"]
    hessian: Float[Tensor, "batch parameter parameter"]  # of the last step
    converged: Bool[Tensor, "batch"]
    iterations: Int[Tensor, "batch"]

    def pick(self, k: int) -> "Solution":
        """One face of the batch, as a batch of one."""
        return Solution(**{f.name: getattr(self, f.name)[k : k + 1] for f in fields(self)})


def outside_inference(solution: Solution) -> Solution:
    """Copies that autograd may use."""
    return Solution(**{f.name: getattr(solution, f.name).clone() for f in fields(solution)})


def packed_result(
    found: Solution,
    problem: LandmarkProblem,
    batch: tuple[int, ...],
    width_px: int,
    height_px: int,
) -> FitResult:
    """Pack a solution into records.

    Args:
        found: Its Hessian is that of the last step, and gives the deviations.
        problem: With all landmarks; its noise is looked up for the solution's pose.
        batch: Leading axes of the records.
        width_px: Of the pictures.
        height_px: Likewise.
    """
    state = FitState(vector=found.vector, rotation=found.rotation)
    v, at = state.vector, problem.at
    noise = problem.set_noise(state)
    whitened = problem.whitened(state)
    counted = (problem.observed.visibility > 0.5).float()
    residual = whitened * noise.spread_px

    def mean_length(difference: Tensor) -> Tensor:
        return (difference.norm(dim=-1) * counted).sum(-1) / counted.sum(-1).clamp(min=1)

    variance = torch.cholesky_inverse(torch.linalg.cholesky_ex(found.hessian)[0])
    deviation = variance.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()

    energies = problem.energies(state, whitened)

    def shaped(value: Tensor) -> Tensor:
        return value.reshape((*batch, *value.shape[1:])).float()

    def eyes(value: Tensor) -> Tensor:
        return shaped(torch.stack([value[:, at.left_eye], value[:, at.right_eye]], dim=1))

    focal = shaped(v[:, at.log_focal].exp())
    # Products of many rotations drift off the group; this is Newton's step back to it.
    drifted = state.rotation
    rotation = 0.5 * (3 * drifted - drifted @ drifted.mT @ drifted)
    pose = rigid_from_parts(rotation, problem.translation(state))
    return FitResult(
        params=HeadParams(
            shape=shaped(v[:, at.identity]),
            expression=shaped(v[:, at.expression]),
            neck=shaped(torch.zeros(len(v), 3)),
            jaw=shaped(v[:, at.jaw]),
            eyes=eyes(v),
            world_from_head=shaped(pose),
        ),
        camera=Camera(
            fx=focal,
            fy=focal,
            cx=shaped(problem.observed.centre_px[:, 0]),
            cy=shaped(problem.observed.centre_px[:, 1]),
            width=width_px,
            height=height_px,
            camera_from_world=shaped(torch.eye(4).repeat(len(v), 1, 1)),
        ),
        energies={name: shaped(e) for name, e in energies.items()},
        landmark_error_px=shaped(mean_length(residual)),
        reprojection_error_px=shaped(mean_length(residual + noise.bias_px)),
        converged=(found.converged & torch.isfinite(v).all(-1)).reshape(batch),
        iterations=found.iterations.reshape(batch),
        standard_deviation={
            "shape": shaped(deviation[:, at.identity]),
            "expression": shaped(deviation[:, at.expression]),
            "jaw": shaped(deviation[:, at.jaw]),
            "eyes": eyes(deviation),
            "rotation": shaped(deviation[:, at.rotation]),
            "place_px_px_log": shaped(deviation[:, at.place]),
            "log_focal": shaped(deviation[:, at.log_focal]),
        },
    )
