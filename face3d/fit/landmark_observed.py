"""What a landmark fit is given of pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True, kw_only=True)
class LandmarkObservations:
    """Detected landmarks of a batch of faces, each in its own picture."""

    points_px: Float[Tensor, "*batch landmark 2"]
    visibility: Float[Tensor, "*batch landmark"]  # 0 to 1
    width_px: Float[Tensor, "*batch"]
    height_px: Float[Tensor, "*batch"]
    focal_px: Float[Tensor, "*batch"]  # from EXIF; NaN where it is not known
    # Of each point; where they are not given, the detector's calibration tells them.
    spread_px: Float[Tensor, "*batch landmark"] | None = None
    # How much of the detector's calibrated bias the points still have; none says all of it.
    bias_share: Float[Tensor, "*batch"] | None = None
    # How closely the rest follows once the identity is found; as the spread where not given.
    close_px: Float[Tensor, "*batch landmark"] | None = None
    # What a network says of the identity beside: a Gaussian's precision, and that times its mean.
    shape_trust: Float[Tensor, "*batch identity identity"] | None = None
    shape_pull: Float[Tensor, "*batch identity"] | None = None


def stacked(each: Sequence[LandmarkObservations]) -> LandmarkObservations:
    """Several pictures as a batch; what not all of them have is left out."""
    columns: dict[str, list[Tensor | None]] = {
        f.name: [getattr(one, f.name) for one in each] for f in fields(LandmarkObservations)
    }
    whole = {
        name: torch.stack([v for v in values if v is not None])
        for name, values in columns.items()
        if all(v is not None for v in values)
    }
    return LandmarkObservations(**whole)


def closer(observed: LandmarkObservations) -> LandmarkObservations:
    """The same as it counts once the identity is found."""
    if observed.close_px is None:
        return observed
    return replace(observed, spread_px=observed.close_px)


def own_noise(observed: LandmarkObservations, indices: Int[Tensor, "chosen"]) -> dict[str, Tensor]:
    """What is said of the noise of some of the points, as a flat batch."""
    out: dict[str, Tensor] = {}
    if observed.spread_px is not None:
        some = observed.spread_px[..., indices].float()
        out["spread_px"] = some.reshape(-1, some.shape[-1])
    if observed.bias_share is not None:
        out["bias_share"] = observed.bias_share.float().reshape(-1)
    return out


def said_of_identity(observed: LandmarkObservations, count: int) -> dict[str, Tensor]:
    """What is said of the identity components that a stage has; of those beyond, nothing is."""
    trust, pull = observed.shape_trust, observed.shape_pull
    if trust is None or pull is None:
        return {}
    trust = trust.reshape(-1, *trust.shape[-2:])[:, :count, :count].double()
    pull = pull.reshape(-1, pull.shape[-1])[:, :count].double()
    beyond = count - pull.shape[1]
    return {
        "shape_trust": pad(trust, (0, beyond, 0, beyond)), "shape_pull": pad(pull, (0, beyond))
    }  # fmt: skip
