"""The end of a landmark fit: the identity stays, all else follows the points."""

import torch
from jaxtyping import Bool
from torch import Tensor

from face3d.fit.landmark_problem import FitState, LandmarkProblem


def settled(problem: LandmarkProblem, state: FitState, *, iterations: int) -> FitState:
    """Fit all but the identity, picture by picture.

    Args:
        problem: With all landmarks; its noise is looked up for the state.
        state: Where to start.
        iterations: At most this many steps.
    """
    problem.set_noise(state)
    part = problem.at.identity
    cost = problem.cost(state)
    damping = torch.full_like(cost, 1e-4)
    for _ in range(iterations):
        hessian, gradient = problem.normal_equations(state)
        hessian[:, part, :] = 0.0
        hessian[:, :, part] = 0.0
        hessian[:, part, part] = torch.eye(part.stop - part.start, dtype=hessian.dtype)
        gradient[:, part] = 0.0
        trial = problem.move(state, problem.step(state, hessian, gradient, damping))
        trial_cost = problem.cost(trial)
        better = trial_cost < cost
        state = chosen(better, trial, state)
        done = (cost - trial_cost).abs() < 1e-3 * cost
        cost = torch.where(better, trial_cost, cost)
        damping = torch.where(better, damping * 0.1, damping * 10).clamp(1e-8, 1e6)
        if bool(done.all()):
            break
    return state


def chosen(take: Bool[Tensor, "batch"], a: FitState, b: FitState) -> FitState:
    """Faces of ``a`` where they are to be taken, of ``b`` elsewhere."""
    return FitState(
        vector=torch.where(take[:, None], a.vector, b.vector),
        rotation=torch.where(take[:, None, None], a.rotation, b.rotation),
    )
