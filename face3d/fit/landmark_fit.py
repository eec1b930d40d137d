"""Landmarks to head, pose and camera: maximum a posteriori by Levenberg-Marquardt.

The unknowns of one face are identity, expression, jaw, eyes, the head's pose and the focal length.
The detector's bias and spread are in the energy (see face3d.fit.landmark_noise). Landmarks far
outside their spread are weighted down as under a Student-t distribution. Weights of ARKit shapes
stay in [0, 1] by an active-set method (Nocedal & Wright, 2006, chapter 16).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from face3d.core.errors import InputError
from face3d.core.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from face3d.core.threads import one_thread
from face3d.core.transforms import rigid_from_parts
from face3d.core.types import Camera, FitResult, HeadParams
from face3d.fit.landmark_head import LandmarkHead
from face3d.fit.landmark_noise import LandmarkNoise
from face3d.fit.landmark_problem import FitState, LandmarkProblem, Observed
from face3d.fit.priors import FitPriors, is_arkit, parameter_layout, prior_precision
from face3d.model.data import HeadData

POSE_STEPS = 4
"""Steps over which the noise follows the pose; afterwards it stays, so that the energy is fixed."""


@dataclass(frozen=True, kw_only=True)
class LandmarkObservations:
    """Detected landmarks of a batch of faces, each in its own picture."""

    points_px: Float[Tensor, "*batch landmark 2"]
    visibility: Float[Tensor, "*batch landmark"]  # 0 to 1
    width_px: Float[Tensor, "*batch"]
    height_px: Float[Tensor, "*batch"]
    focal_px: Float[Tensor, "*batch"]  # from EXIF; NaN where it is not known


class LandmarkFitter:
    """Fits one head to landmarks of one layout; build once, use for many pictures.

    Args:
        data: The head.
        noise: The detector's calibration.
        priors: What is known beforehand.
        layout: Landmark layout.
    """

    def __init__(
        self,
        data: HeadData,
        noise: LandmarkNoise,
        *,
        priors: FitPriors | None = None,
        layout: str = "mediapipe478",
    ) -> None:
        self.data = data
        self.noise = noise
        self.priors = priors or FitPriors()
        self.head = LandmarkHead(data, layout)
        self.layout = parameter_layout(
            data.identity_basis.shape[-1],
            data.expression_basis.shape[-1],
        )
        self.precision = prior_precision(data, self.layout, self.priors)

    def fit(
        self, observed: LandmarkObservations, *, iterations: int = 20, tolerance: float = 1e-3
    ) -> FitResult:
        """Fit every face of a batch.

        Args:
            observed: Landmarks in the layout's full order; those the head does not embed are
                ignored.
            iterations: At most this many steps.
            tolerance: A face is done when a step lowers its energy by less than this share.

        Returns:
            Parameters in float32; the world is the camera's frame.

        Raises:
            InputError: A visible landmark is not finite.
        """
        with one_thread():
            return self._fit(observed, iterations, tolerance)

    def _fit(self, observed: LandmarkObservations, iterations: int, tolerance: float) -> FitResult:
        problem = self._problem(observed)
        state = problem.start()
        problem.set_noise(state)
        cost = problem.cost(state)
        damping = torch.full_like(cost, 1e-4, dtype=torch.float64)
        active = torch.ones_like(cost, dtype=torch.bool)
        used = torch.zeros_like(cost, dtype=torch.long)
        for step in range(iterations):
            hessian, gradient = problem.normal_equations(state)
            trial = problem.move(state, problem.step(state, hessian, gradient, damping))
            trial_cost = problem.cost(trial)
            better = (trial_cost < cost) & active
            state = _choose(better, trial, state)
            gain = (cost - trial_cost) / cost.clamp(min=1e-9)
            used += active
            cost = torch.where(better, trial_cost, cost)
            damping = torch.where(better, damping * 0.1, damping * 10).clamp(1e-8, 1e6)
            if step < POSE_STEPS:
                problem.set_noise(state)
                cost = problem.cost(state)
            else:
                active = active & ~((better & (gain < tolerance)) | (damping > 1e5))
            if not bool(active.any()):
                break
        return self._result(problem, state, ~active, used, observed)

    def _problem(self, observed: LandmarkObservations) -> LandmarkProblem:
        indices = self.head.indices
        points = observed.points_px[..., indices, :]
        visibility = observed.visibility[..., indices]
        if not bool(torch.isfinite(points[visibility > 0]).all()):
            raise InputError("A visible landmark is NaN or infinite; mark it as not visible.")
        size = torch.stack([observed.width_px, observed.height_px], dim=-1)
        size = size.reshape(-1, 2)
        return LandmarkProblem(
            self.head,
            self.noise,
            self.priors,
            self.precision,
            self.layout,
            is_arkit(self.data),
            Observed(
                points_px=torch.nan_to_num(points).reshape(-1, *points.shape[-2:]),
                visibility=visibility.reshape(-1, visibility.shape[-1]),
                centre_px=size / 2,
                longer_side_px=size.amax(-1),
                focal_px=observed.focal_px.reshape(-1),
            ),
        )

    def _result(
        self,
        problem: LandmarkProblem,
        state: FitState,
        converged: Tensor,
        iterations: Tensor,
        observed: LandmarkObservations,
    ) -> FitResult:
        """Pack the solution into records."""
        v, at = state.vector, self.layout
        batch = observed.points_px.shape[:-2]
        counted = (problem.observed.visibility > 0.5).float()
        error = (problem.observed.points_px - problem.expected(state)).norm(dim=-1)
        mean_error = (error * counted).sum(-1) / counted.sum(-1).clamp(min=1)
        hessian, _ = problem.normal_equations(state)
        variance = torch.cholesky_inverse(torch.linalg.cholesky_ex(hessian)[0])
        deviation = variance.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()

        def shaped(value: Tensor) -> Tensor:
            return value.reshape((*batch, *value.shape[1:])).float()

        def eyes(value: Tensor) -> Tensor:
            return shaped(torch.stack([value[:, at.left_eye], value[:, at.right_eye]], dim=1))

        focal = shaped(v[:, at.log_focal].exp())
        # Renormalise: products of many rotations drift off the group.
        rotation = matrix_from_axis_angle(axis_angle_from_matrix(state.rotation))
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
                width=int(observed.width_px.reshape(-1)[0]),
                height=int(observed.height_px.reshape(-1)[0]),
                camera_from_world=shaped(torch.eye(4).repeat(len(v), 1, 1)),
            ),
            energies={name: shaped(e) for name, e in problem.energies(state).items()},
            landmark_error_px=shaped(mean_error),
            converged=converged.reshape(batch),
            iterations=iterations.reshape(batch),
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


def _choose(take: Bool[Tensor, "batch"], a: FitState, b: FitState) -> FitState:
    return FitState(
        vector=torch.where(take[:, None], a.vector, b.vector),
        rotation=torch.where(take[:, None, None], a.rotation, b.rotation),
    )
