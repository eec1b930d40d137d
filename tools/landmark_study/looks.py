"""Procedural skins for renders on which the landmark detector is studied."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from face3d.model.data import HeadData
from face3d.render import texel_fragments

LIGHT_SKIN = np.array([0.82, 0.62, 0.52])
DARK_SKIN = np.array([0.24, 0.15, 0.11])
HAIR = np.array([[0.08, 0.06, 0.05], [0.25, 0.16, 0.10], [0.55, 0.42, 0.25], [0.6, 0.6, 0.6]])
IRIS = np.array([[0.25, 0.15, 0.08], [0.30, 0.42, 0.55], [0.30, 0.40, 0.25], [0.12, 0.08, 0.06]])


@dataclass(frozen=True, kw_only=True)
class TexelMap:
    """What each texel of a square texture shows on the mean head."""

    size: int
    covered: np.ndarray  # (s, s)
    position: np.ndarray  # (s, s, 3) metres
    masks: dict[str, np.ndarray]  # (s, s) in [0, 1]
    eye_centre: np.ndarray  # of the left eye
    eye_radius: float


def make_texel_map(data: HeadData, size: int) -> TexelMap:
    """Interpolate positions and region masks over the texture."""
    fragments = texel_fragments(data.topology, size)
    index = fragments.face_index.numpy()
    covered = index >= 0
    corners = data.faces[np.where(covered, index, 0)]
    weight = np.where(covered[..., None], fragments.barycentric.numpy(), 0)
    position = (data.v_template[corners] * weight[..., None]).sum(-2)
    masks = {
        name: (mask.astype(float)[corners] * weight).sum(-1) for name, mask in data.regions.items()
    }
    eye = data.v_template[data.regions["left_eye"]]
    centre = data.joint_regressor[data.joint_names.index("left_eye")] @ data.v_template
    return TexelMap(
        size=size,
        covered=covered,
        position=position,
        masks=masks,
        eye_centre=centre,
        eye_radius=float(np.linalg.norm(eye - centre, axis=1).mean()),
    )


def _noise(rng: np.random.Generator, size: int, sigma: float) -> np.ndarray:
    field = gaussian_filter(rng.standard_normal((size, size)), sigma, mode="wrap")
    return field / field.std()


def _brow(rng: np.random.Generator, texels: TexelMap) -> np.ndarray:
    """Density of both eyebrows: a tapering arc above the eyes."""
    x, y, z = np.moveaxis(texels.position, -1, 0)
    cx, cy, cz = texels.eye_centre
    along = (np.abs(x) - (cx - 0.021)) / 0.047
    height = cy + 0.0175 + 0.002 * rng.standard_normal()
    bend = 0.005 + 0.002 * rng.standard_normal()
    arc = height + bend * (1 - ((along - 0.6) / 0.6) ** 2)
    thick = (0.0045 + 0.001 * rng.standard_normal()) * (1.1 - 0.7 * along)
    inside = np.clip(1.5 - np.abs(y - arc) / np.maximum(thick, 1e-4), 0, 1)
    inside *= np.clip(along / 0.08, 0, 1) * np.clip((1 - along) / 0.1, 0, 1)
    hair = np.clip(0.75 + 0.35 * _noise(rng, texels.size, 0.8), 0, 1)
    return inside * hair * (z > cz - 0.03) * texels.masks["skin"]


def make_skin(rng: np.random.Generator, texels: TexelMap) -> np.ndarray:
    """One sRGB texture (3, s, s), float32 in [0, 1]."""
    m, size = texels.masks, texels.size
    tone = rng.beta(1.3, 1.3)
    base = LIGHT_SKIN * (1 - tone) + DARK_SKIN * tone + 0.03 * rng.standard_normal(3)
    colour = np.broadcast_to(base, (size, size, 3)).copy()
    blotch = 0.05 * _noise(rng, size, size / 30) + 0.02 * _noise(rng, size, 1.0)
    colour *= 1 + blotch[..., None]

    def blend(mask: np.ndarray, tint: np.ndarray, amount: float) -> None:
        share = np.clip(mask * amount, 0, 1)[..., None]
        colour[:] = colour * (1 - share) + tint * share

    blend(m["cheeks"], base * [1.05, 0.82, 0.82], rng.uniform(0, 0.6))
    blend(m["lips"], base * [0.95, 0.6, 0.62], rng.uniform(0.5, 1.0))
    blend(m["eyelids"], base * 0.72, rng.uniform(0, 0.6))
    hair = HAIR[rng.integers(len(HAIR))] * rng.uniform(0.7, 1.2)
    blend(_brow(rng, texels), hair * 0.8, rng.uniform(0.5, 1.0))
    if rng.random() < 0.75:
        strands = np.clip(0.9 + 0.2 * _noise(rng, size, 1.0), 0, 1.2)[..., None]
        blend(gaussian_filter(m["scalp"], 2), hair * strands, 1.0)
    if rng.random() < 0.25:
        height = texels.position[..., 1]
        low = np.clip((texels.eye_centre[1] - 0.045 - height) / 0.02, 0, 1) * m["skin"]
        low = low * (1 - m["lips"]) * (1 - m["neck"])
        blend(gaussian_filter(low, 2), hair, rng.uniform(0.2, 0.9))
    lash = gaussian_filter(m["eye_sockets"], 1.0) * m["skin"]
    blend(lash, hair * 0.5, rng.uniform(0.3, 0.9))
    blend(m["mouth_interior"], np.array([0.25, 0.08, 0.08]), 1.0)
    blend(m["eye_sockets"], base * [0.8, 0.5, 0.5], 1.0)
    blend(m["gums"], np.array([0.65, 0.35, 0.33]), 1.0)
    blend(m["teeth"], np.array([0.88, 0.84, 0.74]) * rng.uniform(0.8, 1.05), 1.0)
    blend(m["tongue"], np.array([0.65, 0.33, 0.32]), 1.0)
    blend(m["eyes"], np.array([0.86, 0.83, 0.80]) * rng.uniform(0.85, 1.0), 1.0)
    iris = IRIS[rng.integers(len(IRIS))] * rng.uniform(0.7, 1.2)
    # Interpolated vertex masks give the iris a soft rim; sharpen it.
    blend(np.clip((m["iris"] + m["pupil"] - 0.45) * 8, 0, 1), iris, 1.0)
    blend(np.clip((m["pupil"] - 0.45) * 8, 0, 1), np.array([0.02, 0.02, 0.02]), 1.0)
    return np.moveaxis(np.clip(colour, 0.005, 1), -1, 0).astype(np.float32)
