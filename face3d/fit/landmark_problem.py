"""The energy of the landmark fit for a batch of faces, and its derivatives."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from face3d.core.rotations import matrix_from_axis_angle
from face3d.core.transforms import rigid_from_parts
from face3d.core.types import HeadParams
from face3d.fit.bounded_step import bounded_step
from face3d.fit.landmark_head import LandmarkHead
from face3d.fit.landmark_noise import REFERENCE_M, LandmarkNoise, NoiseAtPose, view_angles
from face3d.fit.priors import FitPriors, ParameterLayout
from face3d.fit.starting_pose import starting_pose

STUDENT_DEGREES = 6.0
"""Degrees of freedom of the landmarks' independent noise; fewer forgive outliers more."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Landmarks of a flat batch."""

    points_px: Float[Tensor, "batch landmark 2"]
    visibility: Float[Tensor, "batch landmark"]
    centre_px: Float[Tensor, "batch 2"]  # the principal point
    longer_side_px: Float[Tensor, "batch"]
    focal_px: Float[Tensor, "batch"]  # NaN where it is not known
    spread_px: Float[Tensor, "batch landmark"] | None = None
    bias_share: Float[Tensor, "batch"] | None = None
    shape_trust: Float[Tensor, "batch identity identity"] | None = None  # double precision
    shape_pull: Float[Tensor, "batch identity"] | None = None


@dataclass(frozen=True, kw_only=True)
class FitState:
    """The unknowns of a batch; the rotation has no entries of its own in ``vector``.

    Place and distance are kept as the origin's pixel and as the logarithm of focal length over
    depth: these are what a picture fixes, and the focal length is then nearly independent of them.
    """

    vector: Float[Tensor, "batch parameter"]
    rotation: Float[Tensor, "batch 3 3"]  # camera from head


class LandmarkProblem:
    """Negative log posterior of a batch.

    Args:
        head: The head's landmarks.
        noise: The detector's calibration.
        priors: What is known beforehand.
        precision: The priors' Hessian (p, p).
        layout: Where each parameter stands.
        bounded: Whether expression weights must stay in [0, 1].
        observed: What was detected.
    """

    def __init__(
        self,
        head: LandmarkHead,
        noise: LandmarkNoise,
        priors: FitPriors,
        precision: Tensor,
        layout: ParameterLayout,
        bounded: bool,
        observed: Observed,
    ) -> None:
        self.head, self.noise_model, self.priors = head, noise, priors
        self.precision, self.at, self.bounded = precision, layout, bounded
        self.observed = observed
        behind = range(layout.expression.stop, layout.count)
        self.others = torch.tensor([*range(layout.expression.start), *behind])
        known = torch.isfinite(observed.focal_px)
        guess = priors.focal_ratio * observed.longer_side_px
        self.log_focal_mean = torch.where(known, observed.focal_px, guess).log()
        self.log_focal_sd = torch.where(known, priors.log_focal_exif, priors.log_focal)
        self.noise: NoiseAtPose | None = None
        # Of one person's pictures: a detector errs alike in each of them, so they say together
        # what one says, only from more sides (docs/design/landmark-noise.md).
        self.share = 1 / len(observed.points_px)

    def start(self) -> FitState:
        """The mean head, posed by a scaled orthographic fit."""
        pose = starting_pose(
            self.head.template,
            self.observed.points_px - self.observed.centre_px[:, None],
            self.observed.visibility,
            self.log_focal_mean,
            self.log_focal_sd,
            self.priors.distance_m,
            self.priors.log_distance,
        )
        vector = pose.log_focal.new_zeros(len(pose.log_focal), self.at.count)
        vector[:, self.at.place] = torch.cat([pose.origin_px, pose.log_scale[:, None]], dim=-1)
        vector[:, self.at.log_focal] = pose.log_focal
        return FitState(vector=vector, rotation=pose.rotation)

    def state_of(self, params: HeadParams) -> FitState:
        """A state to begin with, before cameras of the focal lengths' prior means.

        Args:
            params: Of each face; the world is the camera's frame. Components that this head does
                not have are left out.
        """
        log_focal = self.log_focal_mean
        vector = log_focal.new_zeros(len(log_focal), self.at.count)

        def put(part: slice, values: Tensor) -> None:
            rows = values.reshape(-1, values.shape[-1])[:, : part.stop - part.start]
            vector[:, part.start : part.start + rows.shape[1]] = rows

        put(self.at.identity, params.shape)
        put(
            self.at.expression, params.expression.clamp(0, 1) if self.bounded else params.expression
        )
        put(self.at.jaw, params.jaw)
        put(self.at.left_eye, params.eyes[..., 0, :])
        put(self.at.right_eye, params.eyes[..., 1, :])
        pose = params.world_from_head.reshape(-1, 4, 4)
        x, y, z = pose[:, :3, 3].unbind(-1)
        per_metre = log_focal.exp() / z.clamp(min=0.05)
        place = torch.stack([x * per_metre, y * per_metre, per_metre.log()], dim=-1)
        vector[:, self.at.place] = place
        vector[:, self.at.log_focal] = log_focal
        return FitState(vector=vector, rotation=pose[:, :3, :3].clone())

    def translation(self, state: FitState) -> Float[Tensor, "batch 3"]:
        """The head's origin in the camera frame, metres."""
        u, v, log_scale = state.vector[:, self.at.place].unbind(-1)
        metres_per_px = (-log_scale).exp()
        depth = state.vector[:, self.at.log_focal].exp() * metres_per_px
        return torch.stack([u * metres_per_px, v * metres_per_px, depth], dim=-1)

    def set_noise(self, state: FitState) -> NoiseAtPose:
        """Look the detector's noise up for the heads' present poses and sizes."""
        pose = rigid_from_parts(state.rotation, self.translation(state))
        scale = state.vector[:, self.at.place.stop - 1].exp() * REFERENCE_M
        noise = self.noise_model.at_pose(view_angles(pose), scale).pick(self.head.indices)
        share, spread = self.observed.bias_share, self.observed.spread_px
        if share is not None:
            noise = replace(noise, bias_px=share[:, None, None] * noise.bias_px)
        if spread is not None:
            noise = replace(noise, spread_px=spread[..., None].expand(*spread.shape, 2))
        self.noise = noise
        return noise

    def _joints(self, vector: Tensor) -> Tensor:
        parts = [vector[:, s] for s in (self.at.jaw, self.at.left_eye, self.at.right_eye)]
        return torch.stack(parts, dim=1)

    def _project(self, state: FitState, points: Tensor) -> tuple[Tensor, Tensor]:
        """Camera points (b, l, 3), and pixels (b, l, 2) from the principal point."""
        camera = points @ state.rotation.mT + self.translation(state)[:, None]
        focal = state.vector[:, self.at.log_focal].exp()[:, None, None]
        return camera, focal * camera[..., :2] / camera[..., 2:].clamp(min=0.02)

    def _whitened(self, pixels: Tensor) -> Tensor:
        """Residuals (b, l, 2) over their spread, for pixels from the principal point."""
        assert self.noise is not None
        expected = pixels + self.observed.centre_px[:, None] + self.noise.bias_px
        return (self.observed.points_px - expected) / self.noise.spread_px

    def whitened(self, state: FitState) -> Float[Tensor, "batch landmark 2"]:
        """What is observed less what the detector should see, over the detector's spread.

        It should see the head's landmarks at their projection plus its bias.
        """
        return self._whitened(self._pixels(state))

    def _pixels(self, state: FitState) -> Float[Tensor, "batch landmark 2"]:
        """The head's own landmarks, px from the principal point."""
        v = state.vector
        points = self.head.points(v[:, self.at.identity], v[:, self.at.expression], self._joints(v))
        return self._project(state, points)[1]

    def energies(self, state: FitState, whitened: Tensor) -> dict[str, Tensor]:
        """Terms of the negative log posterior, (b,) each, from the whitened residuals."""
        squared = (whitened**2).sum(-1)
        landmark = 0.5 * (STUDENT_DEGREES + 2) * torch.log1p(squared / STUDENT_DEGREES)
        v, p = state.vector, self.priors

        def quadratic(part: slice) -> Tensor:
            x = v[:, part].double()
            return 0.5 * ((x @ self.precision[part, part]) * x).sum(-1)

        whole = quadratic(slice(None))
        identity = quadratic(self.at.identity)
        focal = (v[:, self.at.log_focal] - self.log_focal_mean) / self.log_focal_sd
        return {
            "landmark": (self.observed.visibility * landmark).sum(-1),
            "identity": identity,
            "guess": self._guess_cost(v.double()),
            "expression_and_gaze": whole - identity,
            "focal": 0.5 * focal**2,
            "distance": 0.5 * (self._distance_score(v) / p.log_distance) ** 2,
        }

    def _distance_score(self, vector: Tensor) -> Tensor:
        """Logarithm of the distance over its prior median."""
        log_depth = vector[:, self.at.log_focal] - vector[:, self.at.place.stop - 1]
        return log_depth - torch.tensor(self.priors.distance_m, dtype=vector.dtype).log()

    def cost(self, state: FitState) -> Float[Tensor, "batch"]:
        """The negative log posterior: the sum of the energies, without telling them apart."""
        squared = (self.whitened(state) ** 2).sum(-1)
        landmark = torch.log1p(squared / STUDENT_DEGREES) * self.observed.visibility
        x = state.vector.double()
        focal = (x[:, self.at.log_focal] - self.log_focal_mean) / self.log_focal_sd
        distance = self._distance_score(x) / self.priors.log_distance
        prior = ((x @ self.precision) * x).sum(-1) + focal**2 + distance**2
        return 0.5 * ((STUDENT_DEGREES + 2) * landmark.sum(-1) + prior) + self._guess_cost(x)

    def _guess_cost(self, vector: Tensor) -> Tensor:
        """How unlikely the identity is by what a network says of it; up to a constant."""
        trust, pull = self.observed.shape_trust, self.observed.shape_pull
        if trust is None or pull is None:
            return vector.new_zeros(len(vector))
        x = vector[:, self.at.identity]
        return (x * (0.5 * (trust @ x[..., None]).squeeze(-1) - pull)).sum(-1)

    def weighted_jacobian(self, state: FitState) -> tuple[Tensor, Tensor]:
        """Whitened residuals (b, l, 2) and derivatives of the whitened prediction (b, l, 2, p).

        Both are multiplied by the root of the weight that Student-t noise has as weighted least
        squares (Lange et al., 1989).
        """
        assert self.noise is not None
        v, at = state.vector, self.at
        pose = self.head.pose(v[:, at.identity], v[:, at.expression], self._joints(v))
        camera, pixels = self._project(state, pose.points)
        translation = self.translation(state)
        residual = self._whitened(pixels)
        squared = (residual**2).sum(-1)
        weight = self.observed.visibility * (STUDENT_DEGREES + 2) / (STUDENT_DEGREES + squared)
        root = weight.sqrt()[..., None]
        per_px = root / self.noise.spread_px
        scale = v[:, at.log_focal].exp()[:, None] / camera[..., 2].clamp(min=0.02)
        # d(f x / z) = f / z (dx - x / z dz)
        rows = camera.new_zeros(*camera.shape[:2], 2, 3)
        rows[..., 0, 0] = rows[..., 1, 1] = scale
        rows[..., 2] = -pixels / camera[..., 2:].clamp(min=0.02)
        rows = rows * per_px[..., None]
        of_head = (rows.flatten(1, 2) @ state.rotation).view_as(rows)
        out = camera.new_empty(*camera.shape[:2], 2, at.count)
        out[..., at.identity.start : at.expression.stop] = self.head.by_code(pose, of_head)
        out[..., at.jaw.start : at.right_eye.stop] = self.head.by_joints(pose, of_head)
        # r . (a x p) = a . (p x r)
        arm = (camera - translation[:, None])[..., None, :]
        out[..., at.rotation] = torch.linalg.cross(arm, rows)
        metres_per_px = (-v[:, at.place.stop - 1]).exp()[:, None, None]
        out[..., at.place.start : at.place.start + 2] = rows[..., :2] * metres_per_px[..., None]
        out[..., at.place.stop - 1] = -(rows.flatten(1, 2) @ translation[..., None]).view_as(pixels)
        out[..., at.log_focal] = pixels * per_px + rows[..., 2] * translation[:, None, 2:]
        return residual * root, out

    def normal_equations(self, state: FitState) -> tuple[Tensor, Tensor]:
        """Gauss-Newton Hessian (b, p, p) and gradient (b, p) of the negative log posterior."""
        residual, jacobian = self.weighted_jacobian(state)
        flat = jacobian.flatten(1, 2)
        # Summed in the observations' precision, solved in double: the prior's part is exact.
        hessian = (flat.mT @ flat).double() + self.precision
        gradient = -(flat.mT @ residual.flatten(1)[..., None]).squeeze(-1).double()
        gradient = gradient + state.vector.double() @ self.precision
        focal, scale = self.at.log_focal, self.at.place.stop - 1
        trust = self.log_focal_sd**-2
        hessian[:, focal, focal] += trust
        gradient[:, focal] += (state.vector[:, focal] - self.log_focal_mean) * trust
        if self.observed.shape_trust is not None and self.observed.shape_pull is not None:
            part, trust = self.at.identity, self.observed.shape_trust
            hessian[:, part, part] += trust
            x = state.vector[:, part, None].double()
            gradient[:, part] += (trust @ x).squeeze(-1) - self.observed.shape_pull
        trust = self.priors.log_distance**-2
        score = self._distance_score(state.vector)
        for a, sign_a in ((focal, 1.0), (scale, -1.0)):
            gradient[:, a] += sign_a * score * trust
            for b, sign_b in ((focal, 1.0), (scale, -1.0)):
                hessian[:, a, b] += sign_a * sign_b * trust
        return hessian, gradient

    def step(
        self, state: FitState, hessian: Tensor, gradient: Tensor, damping: Tensor
    ) -> Float[Tensor, "batch parameter"]:
        """A damped Newton step that stays within the bounds of the weights.

        Hessian, gradient and damping are in double precision, the step in the state's.
        """
        damped = hessian.clone()
        damped.diagonal(dim1=-2, dim2=-1).mul_(1 + damping[:, None])
        if not self.bounded:
            factor, _ = torch.linalg.cholesky_ex(damped)
            step = torch.cholesky_solve(-gradient[..., None], factor).squeeze(-1)
            return step.to(state.vector.dtype)
        part, others = self.at.expression, self.others
        # The unbounded parameters are eliminated once, so that only the weights are iterated on.
        coupling = damped[:, others][..., part]
        factor, _ = torch.linalg.cholesky_ex(damped[:, others][..., others])
        sides = torch.cat([coupling, gradient[:, others, None]], dim=-1)
        solved = torch.cholesky_solve(sides, factor)
        reduced = torch.cat([damped[:, part, part], gradient[:, part, None]], dim=-1)
        reduced = reduced - coupling.mT @ solved
        weights = state.vector[:, part].double()
        by_weights = bounded_step(reduced[..., :-1], reduced[..., -1], weights, gradient[:, part])
        step = torch.empty_like(gradient)
        step[:, part] = by_weights
        step[:, others] = -solved[..., -1] - (solved[..., :-1] @ by_weights[..., None]).squeeze(-1)
        return step.to(state.vector.dtype)

    def cost_together(self, state: FitState) -> Float[Tensor, ""]:
        """The negative log posterior of a batch that shows one person: identity counts once."""
        x = state.vector[0, self.at.identity].double()
        own = 0.5 * (x @ self.precision[self.at.identity, self.at.identity]) @ x
        return self.share * (self.cost(state) - own).sum() + own

    def step_together(
        self, state: FitState, hessian: Tensor, gradient: Tensor, damping: float
    ) -> tuple[Float[Tensor, "batch parameter"], Float[Tensor, "batch parameter parameter"]]:
        """A damped Newton step of one person in several pictures.

        All but the identity is eliminated picture by picture (Schur complement), the sum of what
        is left gives the identity's step, and each picture's step follows from that, within its
        bounds.

        Returns:
            The step, with the same identity for all; and the Hessian of each picture, whose
            identity part is that of all pictures.
        """
        part = self.at.identity
        rest = torch.tensor([k for k in range(self.at.count) if not part.start <= k < part.stop])
        prior = self.precision[part, part]
        x = state.vector.double()
        damped = hessian.clone()
        damped.diagonal(dim1=-2, dim2=-1).mul_(1 + damping)
        # Weights that press against a bound stay there: they say nothing of the identity.
        free = torch.ones(len(x), self.at.count, dtype=torch.bool)
        if self.bounded:
            weights, slope = x[:, self.at.expression], gradient[:, self.at.expression]
            pressed = ((weights <= 0) & (slope > 0)) | ((weights >= 1) & (slope < 0))
            free[:, self.at.expression] = ~pressed
        free = free[:, rest]
        own = torch.where(free[:, :, None] & free[:, None, :], damped[:, rest][..., rest], 0.0)
        own.diagonal(dim1=-2, dim2=-1).add_(~free)
        coupling = torch.where(free[..., None], damped[:, rest][..., part], 0.0)
        slope = torch.where(free, gradient[:, rest], 0.0)
        factor, _ = torch.linalg.cholesky_ex(own)
        solved = torch.cholesky_solve(torch.cat([coupling, slope[..., None]], dim=-1), factor)
        reduced = damped[:, part, part] - coupling.mT @ solved[..., :-1] - prior
        right = gradient[:, part] - (coupling.mT @ solved[..., -1:])[..., 0] - x[:, part] @ prior
        total = self.share * reduced.sum(0) + prior
        by_identity = -torch.linalg.solve(total, self.share * right.sum(0) + x[0, part] @ prior)
        # The identity's step is given now: what it asks of the rest, within bounds.
        given, asked = hessian.clone(), gradient.clone()
        asked[:, rest] += hessian[:, rest][..., part] @ by_identity
        given[:, part, :] = 0.0
        given[:, :, part] = 0.0
        given[:, part, part] = torch.eye(len(by_identity), dtype=given.dtype)
        asked[:, part] = -by_identity
        still = torch.full_like(asked[:, 0], damping)
        step = self.step(state, given, asked, still)
        step[:, part] = by_identity.to(step.dtype)
        known = hessian.clone()
        known[:, part, part] = total + (coupling.mT @ solved[..., :-1]).mean(0)
        return step, known

    def move(self, state: FitState, step: Tensor) -> FitState:
        """Apply a step: rotations multiply, weights are cut to their bounds."""
        vector = state.vector + step
        vector[:, self.at.rotation] = 0.0
        if self.bounded:
            vector[:, self.at.expression] = vector[:, self.at.expression].clamp(0, 1)
        turn = matrix_from_axis_angle(step[:, self.at.rotation])
        return FitState(vector=vector, rotation=turn @ state.rotation)
