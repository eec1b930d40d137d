"""Newton steps of weights that must stay between zero and one."""

import torch
from jaxtyping import Float
from torch import Tensor

ACTIVE_SET_ROUNDS = 8
"""At most this many solves in one step; two or three are usual."""


def bounded_step(
    hessian: Float[Tensor, "batch weight weight"],
    gradient: Float[Tensor, "batch weight"],
    weights: Float[Tensor, "batch weight"],
    slope: Float[Tensor, "batch weight"],
) -> Float[Tensor, "batch weight"]:
    """The minimum of a quadratic model over steps that keep the weights in [0, 1], nearly.

    Weights on a bound whose ``slope`` presses them against it are held. Those that the free step
    would carry over a bound are put on it and the others are solved for anew, until none crosses.
    """
    held = ((weights <= 0) & (slope > 0)) | ((weights >= 1) & (slope < 0))
    fixed = torch.zeros_like(gradient)
    step = fixed
    for _ in range(ACTIVE_SET_ROUNDS):
        free = ~held
        target = gradient + (hessian @ fixed[..., None]).squeeze(-1)
        system = torch.where(free[:, :, None] & free[:, None, :], hessian, 0.0)
        system.diagonal(dim1=-2, dim2=-1).add_(held)
        factor, _ = torch.linalg.cholesky_ex(system)
        right = torch.where(free, target, 0.0)
        step = fixed - torch.cholesky_solve(right[..., None], factor).squeeze(-1)
        reached = weights + step
        crossing = ((reached < -1e-9) | (reached > 1 + 1e-9)) & free
        if not bool(crossing.any()):
            break
        held |= crossing
        fixed = torch.where(crossing, reached.clamp(0, 1) - weights, fixed)
    return step
