"""Faces that move as people's do: ARKit weights drawn at random."""

import numpy as np
from jaxtyping import Float

from face3d.fit.priors import GAZE_RANGE_RAD

PAIRS = ("eyeBlink", "eyeSquint", "eyeWide", "browDown", "browOuterUp", "cheekSquint")
MOUTH_PAIRS = (
    "mouthSmile", "mouthFrown", "mouthDimple", "mouthStretch", "mouthPress", "mouthLowerDown",
    "mouthUpperUp", "noseSneer",
)  # fmt: skip
MOUTH_SINGLES = (
    "mouthPucker", "mouthFunnel", "mouthLeft", "mouthRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "cheekPuff", "jawForward", "jawLeft", "jawRight",
)  # fmt: skip


def random_expression(
    rng: np.random.Generator, names: tuple[str, ...]
) -> Float[np.ndarray, "expression"]:
    """ARKit weights as faces show them: few at a time, sides mostly alike."""
    weights = dict.fromkeys(names, 0.0)
    if rng.random() < 0.15:
        return np.zeros(len(names))
    for stem in (*PAIRS, *MOUTH_PAIRS):
        if rng.random() < (0.3 if stem == "mouthSmile" else 0.15):
            strength = rng.beta(1.2, 1.8)
            for side in ("Left", "Right"):
                weights[stem + side] = strength * np.clip(rng.normal(1, 0.15), 0, 1.2)
    for name in MOUTH_SINGLES:
        if rng.random() < 0.07:
            weights[name] = rng.beta(1.2, 1.8)
    if rng.random() < 0.15:
        weights["browInnerUp"] = rng.beta(1.2, 1.5)
    if rng.random() < 0.4:
        weights["jawOpen"] = rng.beta(1.0, 2.5)
        if rng.random() < 0.2:
            weights["mouthClose"] = weights["jawOpen"] * rng.uniform(0.3, 1)
    return np.clip([weights[n] for n in names], 0, 1)


def add_gaze(
    expression: Float[np.ndarray, "expression"],
    names: tuple[str, ...],
    pitch_rad: float,
    yaw_rad: float,
) -> Float[np.ndarray, "expression"]:
    """Lids that follow the gaze; pitch up and yaw to the subject's left are positive."""
    out = expression.copy()
    moves = {
        "eyeLookUpLeft": pitch_rad, "eyeLookUpRight": pitch_rad,
        "eyeLookDownLeft": -pitch_rad, "eyeLookDownRight": -pitch_rad,
        "eyeLookOutLeft": yaw_rad, "eyeLookInRight": yaw_rad,
        "eyeLookInLeft": -yaw_rad, "eyeLookOutRight": -yaw_rad,
    }  # fmt: skip
    for name, angle in moves.items():
        side = name.removeprefix("eyeLook").removesuffix("Left").removesuffix("Right")
        out[names.index(name)] = np.clip(angle / GAZE_RANGE_RAD[side], 0, 1)
    return out
