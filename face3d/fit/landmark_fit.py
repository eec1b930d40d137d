"""Landmarks to head, pose and camera: maximum a posteriori by Levenberg-Marquardt.

The unknowns of one face are identity, expression, jaw, eyes, the head's pose and the focal length.
The detector's bias and spread are in the energy (see face3d.fit.landmark_noise). Landmarks far
outside their spread are weighted down as under a Student-t distribution. Weights of ARKit shapes
stay in [0, 1] by an active-set method (Nocedal & Wright, 2006, chapter 16).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from face3d.core.errors import AssetError, InputError
from face3d.core.landmarks import LAYOUT_SIZES
from face3d.core.threads import one_thread
from face3d.core.types import FitResult, HeadParams
from face3d.fit.landmark_head import LandmarkHead, thinned_landmarks
from face3d.fit.landmark_noise import LandmarkNoise
from face3d.fit.landmark_observed import (
    LandmarkObservations,
    closer,
    own_noise,
    said_of_identity,
    stacked,
)
from face3d.fit.landmark_problem import FitState, LandmarkProblem, Observed
from face3d.fit.landmark_settle import chosen, settled
from face3d.fit.landmark_solution import Solution, outside_inference, packed_result
from face3d.fit.priors import (
    FitPriors,
    ParameterLayout,
    is_arkit,
    parameter_layout,
    prior_precision,
)
from face3d.model.data import HeadData

ROUGH_STEPS = 2
"""First steps, over which the noise follows the pose; then it stays, and the energy with it."""

MIN_LANDMARKS = 20
"""Fewer say nothing of a head."""

MIN_EXTENT_PX = 2.0
"""From the landmarks' middle to the farthest of them."""

SETTLING = 4
"""Steps of all but the identity, where they follow the points more closely than it does."""

ROUGH_IDENTITY = 40
"""Identity components of the first steps: those of the greatest variance."""


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """What one stage of the fit works with."""

    head: LandmarkHead
    layout: ParameterLayout
    precision: Tensor


class LandmarkFitter:
    """Fits one head to landmarks of one layout; build once, use for many pictures.

    Args:
        data: The head.
        noise: The detector's calibration.
        priors: What is known beforehand.
        layout: Landmark layout.

    Raises:
        AssetError: The head has no embedding for the layout, or the calibration is for another.
    """

    def __init__(
        self,
        data: HeadData,
        noise: LandmarkNoise,
        *,
        priors: FitPriors | None = None,
        layout: str = "mediapipe478",
    ) -> None:
        if len(noise.mirror) != LAYOUT_SIZES.get(layout):
            raise AssetError(
                f"The calibration has {len(noise.mirror)} landmarks and cannot be used for the "
                f"layout {layout!r}."
            )
        self.data = data
        self.noise = noise
        self.priors = priors or FitPriors()
        self.full = self._stage(data, LandmarkHead(data, layout))
        # The first steps only find the pose and the rough form: half the landmarks do.
        chosen = None
        if len(self.full.head.indices) == len(noise.mirror):
            chosen = thinned_landmarks(self.full.head.template, noise.mirror)
        basis = data.identity_basis[..., :ROUGH_IDENTITY]
        some = replace(data, identity_basis=basis, identity_axes={})
        self.rough = self._stage(some, LandmarkHead(some, layout, chosen=chosen))

    def _stage(self, data: HeadData, head: LandmarkHead) -> _Stage:
        layout = parameter_layout(data.identity_basis.shape[-1], data.expression_basis.shape[-1])
        return _Stage(
            head=head, layout=layout, precision=prior_precision(data, layout, self.priors)
        )

    def fit(
        self,
        observed: LandmarkObservations,
        *,
        start: HeadParams | None = None,
        iterations: int = 20,
        tolerance: float = 0.1,
    ) -> FitResult:
        """Fit every face of a batch.

        Args:
            observed: Landmarks in the layout's full order; those the head does not embed are
                ignored.
            start: Where to begin, before cameras of ``usual_focal_px``; by default with the mean
                head, posed as the landmarks say.
            iterations: At most this many steps.
            tolerance: A face is done when a step lowers its energy by less than this share.

        Returns:
            Parameters in float32; the world is the camera's frame.

        Raises:
            InputError: A visible landmark is not finite, a face shows too few landmarks or all of
                them in one place, the landmarks are of another layout, or the pictures differ in
                size.
        """
        self._require_usable(observed)
        # Inference mode spares torch's bookkeeping, a fifth of the time of such small operations.
        with one_thread(), torch.inference_mode():
            solution = self._settled(observed, self._solve(observed, iterations, tolerance, start))
        with one_thread(), torch.no_grad():
            return self._result(outside_inference(solution), observed)

    def usual_focal_px(self, observed: LandmarkObservations) -> Float[Tensor, "face"]:
        """The focal length of each picture, from EXIF or as pictures usually have it."""
        return self._problem(observed, self.rough).log_focal_mean.exp()

    def _require_usable(self, observed: LandmarkObservations) -> None:
        count = len(self.noise.mirror)
        if observed.points_px.shape[-2:] != (count, 2):
            raise InputError(
                f"The landmarks have shape {tuple(observed.points_px.shape)}; this fit takes "
                f"(..., {count}, 2)."
            )
        for name, sizes in (("width_px", observed.width_px), ("height_px", observed.height_px)):
            if bool((sizes != sizes.reshape(-1)[:1]).any()):
                raise InputError(f"The pictures differ in {name}; fit each size on its own.")
        visible = observed.visibility[..., self.full.head.indices] > 0
        if bool((visible.sum(-1) < MIN_LANDMARKS).any()):
            raise InputError(f"A face shows fewer than {MIN_LANDMARKS} landmarks; leave it out.")
        points = observed.points_px[..., self.full.head.indices, :]
        if not bool(torch.isfinite(points[visible]).all()):
            raise InputError("A visible landmark is NaN or infinite; mark it as not visible.")
        seen = torch.where(visible[..., None], points, torch.nan)
        extent = torch.nan_to_num(seen - seen.nanmean(-2, keepdim=True)).abs().amax((-1, -2))
        if bool((extent < MIN_EXTENT_PX).any()):
            raise InputError("All landmarks of a face lie in one place; leave it out.")

    def _solve(
        self,
        observed: LandmarkObservations,
        iterations: int,
        tolerance: float,
        start: HeadParams | None = None,
    ) -> Solution:
        rough = 0 if start is not None else ROUGH_STEPS
        problem = self._problem(observed, self.rough)
        state = problem.start()
        for _ in range(rough):
            # From the mean head, plain steps always lead closer; none is worth judging.
            problem.set_noise(state)
            hessian, gradient = problem.normal_equations(state)
            still = torch.full_like(state.vector[:, 0], 1e-3, dtype=torch.float64)
            state = problem.move(state, problem.step(state, hessian, gradient, still))
        problem = self._problem(observed, self.full)
        state = self._refined(state) if start is None else problem.state_of(start)
        problem.set_noise(state)
        hessian = self.full.precision
        cost = problem.cost(state)
        damping = torch.full_like(cost, 1e-4)
        active = torch.ones_like(cost, dtype=torch.bool)
        used = torch.full_like(cost, rough, dtype=torch.long)
        for _ in range(max(1, iterations - rough)):
            hessian, gradient = problem.normal_equations(state)
            trial = problem.move(state, problem.step(state, hessian, gradient, damping))
            trial_cost = problem.cost(trial)
            better = (trial_cost < cost) & active
            state = chosen(better, trial, state)
            gain = (cost - trial_cost) / cost.clamp(min=1e-9)
            used += active
            cost = torch.where(better, trial_cost, cost)
            damping = torch.where(better, damping * 0.1, damping * 10).clamp(1e-8, 1e6)
            active = active & ~((better & (gain < tolerance)) | (damping > 1e5))
            if not bool(active.any()):
                break
        return Solution(
            vector=state.vector,
            rotation=state.rotation,
            hessian=hessian,
            converged=~active,
            iterations=used,
        )

    def fit_person(
        self,
        observed: Sequence[LandmarkObservations],
        *,
        iterations: int = 20,
        tolerance: float = 0.01,
    ) -> tuple[list[FitResult], list[float]]:
        """Fit one person in several pictures: one identity, all else by picture.

        Args:
            observed: One face of each picture, without batch axes; sizes may differ.
            iterations: At most this many steps.
            tolerance: Done when a step lowers the sum of the energies by less than this share.

        Returns:
            One result for each picture, of the same ``shape``; and for each picture how much more
            energy its landmarks have than with an identity of their own.

        Raises:
            InputError: As of ``fit``.
        """
        for one in observed:
            self._require_usable(one)
        everything = stacked(observed)
        with one_thread(), torch.inference_mode():
            alone = self._solve(everything, iterations, tolerance)
            together = self._solve_together(everything, alone, iterations, tolerance)
            alone, together = (self._settled(everything, found) for found in (alone, together))
        with one_thread(), torch.no_grad():
            own, shared = outside_inference(alone), outside_inference(together)
            results = [self._result(shared.pick(k), one) for k, one in enumerate(observed)]
            free = [self._result(own.pick(k), one) for k, one in enumerate(observed)]
        misfits = [
            float(a.energies["landmark"] - b.energies["landmark"])
            for a, b in zip(results, free, strict=True)
        ]
        return results, misfits

    def problem(self, observed: Sequence[LandmarkObservations]) -> LandmarkProblem:
        """The energy of one person in several pictures, for fits that add to it."""
        return self._problem(stacked(observed), self.full)

    @property
    def bounded(self) -> bool:
        """Whether the head's expression weights must stay in [0, 1]."""
        return is_arkit(self.data)

    def packed(
        self, state: FitState, observed: Sequence[LandmarkObservations], *, steps: int
    ) -> list[FitResult]:
        """Results of a state that another fit has found, one for each picture.

        Deviations are those of the landmarks alone.
        """
        problem = self.problem(observed)
        problem.set_noise(state)
        hessian, _ = problem.normal_equations(state)
        count = len(observed)
        solution = Solution(
            vector=state.vector,
            rotation=state.rotation,
            hessian=hessian,
            converged=torch.ones(count, dtype=torch.bool),
            iterations=torch.full((count,), steps),
        )
        return [self._result(solution.pick(k), one) for k, one in enumerate(observed)]

    def as_given(
        self, params: HeadParams, observed: Sequence[LandmarkObservations]
    ) -> list[FitResult]:
        """Results of parameters that come from elsewhere, before cameras of ``usual_focal_px``.

        Args:
            params: One face of each picture; the world is the camera's frame, necks are at rest.
            observed: As of ``fit_person``; only judges them.
        """
        return self.packed(self.problem(observed).state_of(params), observed, steps=0)

    def with_identity(
        self, state: FitState, observed: Sequence[LandmarkObservations], *, iterations: int = 8
    ) -> FitState:
        """Fit all but the identity to the landmarks again, picture by picture.

        Args:
            state: Where to start; its identity stays.
            observed: As of ``fit_person``.
            iterations: At most this many steps.
        """
        problem = self.problem([closer(one) for one in observed])
        return settled(problem, state, iterations=iterations)

    def _settled(self, observed: LandmarkObservations, found: Solution) -> Solution:
        """The same identity, and all else as close to the points as they say."""
        if observed.close_px is None:
            return found
        state = FitState(vector=found.vector, rotation=found.rotation)
        problem = self._problem(closer(observed), self.full)
        state = settled(problem, state, iterations=SETTLING)
        return replace(found, vector=state.vector, rotation=state.rotation)

    def _solve_together(
        self, observed: LandmarkObservations, alone: Solution, iterations: int, tolerance: float
    ) -> Solution:
        """From the fits of the single pictures, whose identities start at their mean."""
        vector, part = alone.vector.clone(), self.full.layout.identity
        vector[:, part] = vector[:, part].mean(0)
        state = FitState(vector=vector, rotation=alone.rotation)
        problem = self._problem(observed, self.full)
        problem.set_noise(state)
        cost = float(problem.cost_together(state))
        hessian, damping, used, done = alone.hessian, 1e-4, 0, False
        for _ in range(iterations):
            used += 1
            hessian, gradient = problem.normal_equations(state)
            step, hessian = problem.step_together(state, hessian, gradient, damping)
            trial = problem.move(state, step)
            trial_cost = float(problem.cost_together(trial))
            gain = (cost - trial_cost) / max(cost, 1e-9)
            if gain > 0:
                state, cost, damping = trial, trial_cost, max(damping * 0.1, 1e-8)
            else:
                damping *= 10
            done = 0 <= gain < tolerance or damping > 1e5
            if done:
                break
        count = len(vector)
        return Solution(
            vector=state.vector,
            rotation=state.rotation,
            hessian=hessian,
            converged=torch.full((count,), done),
            iterations=alone.iterations + used,
        )

    def _refined(self, state: FitState) -> FitState:
        """The same state with the identity components that the rough stage leaves out."""
        at = self.rough.layout.identity.stop
        missing = self.full.layout.count - self.rough.layout.count
        parts = [state.vector[:, :at], state.vector.new_zeros(len(state.vector), missing)]
        return replace(state, vector=torch.cat([*parts, state.vector[:, at:]], dim=1))

    def _problem(self, observed: LandmarkObservations, stage: _Stage) -> LandmarkProblem:
        indices = stage.head.indices
        points = observed.points_px[..., indices, :].float()
        # Each landmark of a thinned set stands for those that were left out, too.
        share = len(self.full.head.indices) / len(indices)
        visibility = observed.visibility[..., indices].float() * share
        size = torch.stack([observed.width_px, observed.height_px], dim=-1).float()
        size = size.reshape(-1, 2)
        return LandmarkProblem(
            stage.head,
            self.noise,
            self.priors,
            stage.precision,
            stage.layout,
            self.bounded,
            Observed(
                points_px=torch.nan_to_num(points).reshape(-1, *points.shape[-2:]),
                visibility=visibility.reshape(-1, visibility.shape[-1]),
                centre_px=size / 2,
                longer_side_px=size.amax(-1),
                focal_px=observed.focal_px.float().reshape(-1),
                **own_noise(observed, indices),
                **said_of_identity(observed, stage.layout.identity.stop),
            ),
        )

    def _result(self, found: Solution, observed: LandmarkObservations) -> FitResult:
        """Records of a solution for these landmarks."""
        return packed_result(
            found,
            self._problem(observed, self.full),
            tuple(observed.points_px.shape[:-2]),
            int(observed.width_px.reshape(-1)[0]),
            int(observed.height_px.reshape(-1)[0]),
        )
