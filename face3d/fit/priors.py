"""What is known about a head before its landmarks are seen."""

from dataclasses import dataclass

import torch
from torch import Tensor

from face3d.model.data import HeadData

GAZE_RANGE_RAD = {"In": 0.6, "Out": 0.6, "Up": 0.45, "Down": 0.5}
"""Eye rotation at which an eyeLook shape reaches one."""

SPREADS = {
    # What faces in pictures show most.
    "mouthSmile": 0.7, "jawOpen": 0.6, "eyeBlink": 0.5, "eyeSquint": 0.4,
    # What they show less often, or what a smile is easily taken apart into.
    "mouthDimple": 0.2, "mouthPress": 0.2, "mouthStretch": 0.2, "mouthUpperUp": 0.3,
    "mouthLowerDown": 0.3, "noseSneer": 0.2, "mouthRollLower": 0.2, "mouthRollUpper": 0.2,
    "mouthShrugLower": 0.2, "mouthShrugUpper": 0.2, "mouthLeft": 0.2, "mouthRight": 0.2,
    "mouthFunnel": 0.2, "cheekPuff": 0.1, "jawForward": 0.1, "jawLeft": 0.12, "jawRight": 0.12,
    "mouthClose": 0.12, "tongueOut": 0.02,
}  # fmt: skip
"""Prior standard deviations of ARKit weights, by name without its side."""


@dataclass(frozen=True, kw_only=True)
class FitPriors:
    """Spreads of a face's parameters; all Gaussian, weights of named shapes cut to [0, 1]."""

    # Of unit-variance codes. Less than one, because neighbouring landmarks err together and so say
    # less than their number (docs/design/landmark-noise.md).
    identity: float = 0.6
    expression: float = 0.35  # of ARKit weights that are not listed in SPREADS
    free_expression: float = 1.0  # of codes of a head without ARKit's names
    side_difference: float = 0.2  # between the left and the right shape of a pair
    jaw_rad: float = 0.03  # of the joint; jawOpen says the rest where the head has it
    gaze_rad: float = 0.35
    vergence_rad: float = 0.06  # between the two eyes
    lids_follow: float = 0.15  # of eyeLook weights about what the gaze asks for
    focal_ratio: float = 1.5  # focal length over the longer side of the picture
    log_focal: float = 0.4
    log_focal_exif: float = 0.1  # where EXIF gives the focal length
    distance_m: float = 1.4
    log_distance: float = 0.7


@dataclass(frozen=True, kw_only=True)
class ParameterLayout:
    """Where each parameter stands in the fit's vector."""

    identity: slice
    expression: slice
    jaw: slice
    left_eye: slice
    right_eye: slice
    rotation: slice
    place: slice  # the head's origin in px from the principal point, log of focal over depth
    log_focal: int
    count: int


def parameter_layout(identity: int, expression: int) -> ParameterLayout:
    """Lay the parameters out one after the other."""
    start = 0

    def take(size: int) -> slice:
        nonlocal start
        start += size
        return slice(start - size, start)

    return ParameterLayout(
        identity=take(identity),
        expression=take(expression),
        jaw=take(3),
        left_eye=take(3),
        right_eye=take(3),
        rotation=take(3),
        place=take(3),
        log_focal=take(1).start,
        count=start,
    )


def is_arkit(data: HeadData) -> bool:
    """Whether the head's expressions are weights with ARKit's names."""
    return "jawOpen" in data.expression_names


def prior_precision(data: HeadData, layout: ParameterLayout, priors: FitPriors) -> Tensor:
    """The prior's Hessian (p, p); its mean is zero but for pose, distance and focal length."""
    p = torch.zeros(layout.count, layout.count, dtype=torch.float64)
    diagonal = p.diagonal()
    diagonal[layout.identity] = priors.identity**-2
    # Without a jaw shape the joint alone opens the mouth.
    jaw = priors.jaw_rad if is_arkit(data) else 10 * priors.jaw_rad
    diagonal[layout.jaw] = torch.tensor([jaw, jaw / 3, jaw / 6], dtype=torch.float64) ** -2
    for eye in (layout.left_eye, layout.right_eye):
        diagonal[eye] = (
            torch.tensor([priors.gaze_rad, priors.gaze_rad, 0.01], dtype=torch.float64) ** -2
        )
    for k in range(2):
        _tie(p, {layout.left_eye.start + k: 1.0, layout.right_eye.start + k: -1.0},
             priors.vergence_rad)  # fmt: skip
    if not is_arkit(data):
        diagonal[layout.expression] = priors.free_expression**-2
        return p
    column = {n: layout.expression.start + k for k, n in enumerate(data.expression_names)}
    for name, k in column.items():
        stem = name if name in SPREADS else name.removesuffix("Left").removesuffix("Right")
        spread = SPREADS.get(stem, priors.expression)
        diagonal[k] = (1.0 if name.startswith("eyeLook") else spread) ** -2
    for name, k in column.items():
        twin = column.get(name.removesuffix("Left") + "Right")
        # Looking, and moving the jaw or the mouth sideways, are not done by both sides alike.
        sideways = name.startswith("eyeLook") or name in ("jawLeft", "mouthLeft")
        if name.endswith("Left") and twin is not None and not sideways:
            _tie(p, {k: 1.0, twin: -1.0}, priors.side_difference)
    _tie_lids(p, column, layout, priors)
    return p


def _tie(precision: Tensor, coefficients: dict[int, float], spread: float) -> None:
    """Add the information that a linear combination is zero within ``spread``."""
    index = torch.tensor(list(coefficients))
    value = torch.tensor(list(coefficients.values()), dtype=torch.float64) / spread
    precision[index[:, None], index[None, :]] += value[:, None] * value[None, :]


def _tie_lids(
    precision: Tensor, column: dict[str, int], layout: ParameterLayout, priors: FitPriors
) -> None:
    """Lids follow the gaze: Up - Down and Out - In are the eye's angles over their ranges."""
    for side, eye, outwards in (("Left", layout.left_eye, 1.0), ("Right", layout.right_eye, -1.0)):
        # A positive turn about +x looks down, about +y to the subject's left.
        for plus, minus, axis, sign in (("Down", "Up", 0, 1.0), ("Out", "In", 1, outwards)):
            names = (f"eyeLook{plus}{side}", f"eyeLook{minus}{side}")
            if not set(names) <= set(column):
                continue
            reach = 0.5 * (GAZE_RANGE_RAD[plus] + GAZE_RANGE_RAD[minus])
            _tie(
                precision,
                {column[names[0]]: 1.0, column[names[1]]: -1.0, eye.start + axis: -sign / reach},
                priors.lids_follow,
            )
