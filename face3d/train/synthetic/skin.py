"""Skin, brows, beards, make-up, eyes and teeth as textures, from a few random numbers each.

Skin's colour comes from melanin and blood in front of tissue that scatters white light (a
two-chromophore model as in Tsumura et al., 1999): the logarithm of a colour is linear in both.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter

from face3d.model.data import HeadData
from face3d.render import texel_fragments
from face3d.train.synthetic.noise import NoiseBank

TISSUE = np.array([0.80, 0.70, 0.62], np.float32)
"""Linear reflectance without melanin and blood."""

MELANIN = np.array([0.55, 0.85, 1.15], np.float32)
BLOOD = np.array([0.08, 1.0, 0.75], np.float32)
"""Absorption of one unit, by colour."""

HAIR = np.array(
    [[0.006, 0.005, 0.004], [0.03, 0.017, 0.010], [0.09, 0.05, 0.025], [0.25, 0.16, 0.08],
     [0.40, 0.31, 0.18], [0.22, 0.07, 0.025], [0.30, 0.30, 0.30], [0.6, 0.6, 0.58]],
    np.float32,
)  # fmt: skip
IRIS = np.array(
    [[0.05, 0.02, 0.008], [0.12, 0.06, 0.02], [0.07, 0.14, 0.26], [0.08, 0.13, 0.06],
     [0.02, 0.01, 0.006], [0.2, 0.25, 0.28]],
    np.float32,
)  # fmt: skip
IRIS_RADIUS_MM = 5.85
SOFT = {"eyelids": 2.5, "cheeks": 7.0, "nose": 4.0, "ears": 4.0, "scalp": 3.0, "forehead": 6.0}
"""Widths of the edges of regions' colours, in texels of a texture of 256."""


@dataclass(frozen=True, kw_only=True)
class TexelMap:
    """What each texel of a square texture shows on the mean head."""

    size: int
    covered: Bool[np.ndarray, "s s"]
    position_mm: Float[np.ndarray, "s s 3"]
    masks: dict[str, Float[np.ndarray, "s s"]]  # 0 to 1
    soft: dict[str, Float[np.ndarray, "s s"]]  # the same with soft edges, of some
    eye_mm: Float[np.ndarray, "3"]  # centre of the left eye
    from_pupil_mm: Float[np.ndarray, "s s"]  # across the eye's axis; large off the eyes
    around_pupil_rad: Float[np.ndarray, "s s"]
    eye_box: tuple[slice, slice]  # rows and columns with both irises


def make_texel_map(data: HeadData, size: int) -> TexelMap:
    """Interpolate positions and region masks over the texture."""
    fragments = texel_fragments(data.topology, size)
    index = fragments.face_index.numpy()
    covered = index >= 0
    corners = data.faces[np.where(covered, index, 0)]
    weight = np.where(covered[..., None], fragments.barycentric.numpy(), 0)
    position = 1000 * (data.v_template[corners] * weight[..., None]).sum(-2)
    masks = {
        name: (mask.astype(float)[corners] * weight).sum(-1).astype(np.float32)
        for name, mask in data.regions.items()
    }
    soft = {name: gaussian_filter(masks[name], width * size / 256) for name, width in SOFT.items()}
    soft["lashes"] = gaussian_filter(masks["eye_sockets"], 0.8 * size / 256) * masks["skin"]
    far = np.full((size, size), 100.0)
    turn = np.zeros((size, size))
    for side in ("left_eye", "right_eye"):
        centre = 1000 * data.joint_regressor[data.joint_names.index(side)] @ data.v_template
        off = position - centre
        on = (masks[side] > 0.5) & (off[..., 2] > 0)
        far = np.where(on, np.hypot(off[..., 0], off[..., 1]), far)
        turn = np.where(on, np.arctan2(off[..., 1], off[..., 0]), turn)
    left = 1000 * data.joint_regressor[data.joint_names.index("left_eye")] @ data.v_template
    return TexelMap(
        size=size, covered=covered, position_mm=position.astype(np.float32), masks=masks, soft=soft,
        eye_mm=left, from_pupil_mm=far.astype(np.float32), around_pupil_rad=turn.astype(np.float32),
        eye_box=box_around((far < IRIS_RADIUS_MM + 1).astype(np.float32)) or (slice(0), slice(0)),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Look:
    """A person's colours."""

    texture: Float[np.ndarray, "3 s s"]  # linear albedo
    skin: Float[np.ndarray, "3"]  # linear
    hair: Float[np.ndarray, "3"]  # linear
    hair_on_skin: bool  # very short hair is painted on


def random_look(rng: np.random.Generator, texels: TexelMap, bank: NoiseBank) -> Look:
    """Draw a person's skin, hair and eyes."""
    melanin_level = rng.choice([rng.uniform(0.05, 0.7), rng.uniform(0.4, 2.4)])
    blood_level = rng.uniform(0.15, 0.6)
    hair = HAIR[rng.integers(len(HAIR) if melanin_level < 1.0 else 3)] * rng.uniform(0.6, 1.4)
    if rng.random() < 0.1:
        hair = HAIR[rng.integers(6, 8)] * rng.uniform(0.6, 1.1)
    melanin, blood = _pigments(rng, texels, bank, melanin_level, blood_level)
    skin = _colour(melanin_level, blood_level)
    colour = TISSUE * np.exp(-melanin[..., None] * MELANIN - blood[..., None] * BLOOD)
    # Pores, and what else there is of small light and dark.
    fine = bank.field(rng, 0.0) * rng.uniform(0.0, 0.05) + bank.field(rng, 1.5) * rng.uniform(
        0, 0.05
    )
    colour *= (1 + fine)[..., None]
    paint = _Paint(colour)
    _make_up(rng, paint, texels, bank, skin)
    brow_hair = hair * rng.uniform(0.4, 1.0)
    paint.over(_brows(rng, texels, bank), brow_hair, rng.uniform(0.4, 1.0))
    on_skin = bool(rng.random() < 0.55)
    if on_skin:
        strands = np.clip(0.85 + 0.25 * bank.field(rng, 0.0), 0, 1.3)
        edge = _ragged(texels.soft["scalp"], bank.field(rng, 3.0), rng.uniform(0.05, 0.5))
        paint.over(edge * strands, hair, rng.uniform(0.5, 1.0))
    if rng.random() < 0.35:
        paint.over(_beard(rng, texels, bank), hair * rng.uniform(0.6, 1.2), rng.uniform(0.15, 1.0))
    paint.over(texels.soft["lashes"], hair * 0.3, rng.uniform(0.2, 1.0))
    _inside(rng, paint, texels, bank, skin)
    texture = np.ascontiguousarray(np.moveaxis(np.clip(paint.colour, 0.002, 1), -1, 0))
    return Look(texture=texture.astype(np.float32), skin=skin, hair=hair, hair_on_skin=on_skin)


Box = tuple[slice, slice]


def box_around(mask: Float[np.ndarray, "h w"]) -> Box | None:
    """The rows and columns that a mask has anything in; None if it has none."""
    above = mask > 0
    rows = np.flatnonzero(above.any(1))
    if not len(rows):
        return None
    columns = np.flatnonzero(above[rows[0] : rows[-1] + 1].any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


class _Paint:
    """Linear colours that are painted over."""

    def __init__(self, colour: Float[np.ndarray, "h w 3"]) -> None:
        self.colour = colour.astype(np.float32, copy=False)

    def over(
        self, mask: Float[np.ndarray, "h w"], tint: Float[np.ndarray, "*_ 3"], amount: float
    ) -> None:
        """Lay a colour over what the mask names."""
        box = box_around(mask)
        if box is None:
            return
        part = np.clip(mask[box] * np.float32(amount), 0, 1)[..., None]
        under = self.colour[box]
        laid = tint[box] if tint.ndim == 3 else tint
        self.colour[box] = under + part * (laid - under)


def _colour(melanin: float, blood: float) -> Float[np.ndarray, "3"]:
    return (TISSUE * np.exp(-melanin * MELANIN - blood * BLOOD)).astype(np.float32)


def _pigments(
    rng: np.random.Generator, texels: TexelMap, bank: NoiseBank, melanin: float, blood: float
) -> tuple[Float[np.ndarray, "s s"], Float[np.ndarray, "s s"]]:
    """Melanin and blood of each texel."""
    masks, soft = texels.masks, texels.soft
    even = rng.uniform(0.1, 1.0) ** 2
    m = melanin * (
        1 + even * (0.10 * bank.field(rng, 24.0) + 0.06 * bank.field(rng, 6.0))
    ) + even * 0.02 * bank.field(rng, 1.5)
    b = blood * (1 + even * (0.15 * bank.field(rng, 12.0) + 0.10 * bank.field(rng, 3.0)))
    flush = rng.beta(0.8, 2.0, 5)
    for name, most, share in zip(
        ("cheeks", "ears", "nose", "eyelids", "forehead"), (0.35, 0.4, 0.35, 0.25, 0.1), flush
    ):
        b += soft[name] * most * share
    b += masks["lips"] * rng.uniform(0.15, 0.9)
    m += masks["lips"] * rng.uniform(0, 0.25) * (0.3 + melanin)
    m += soft["eyelids"] * rng.beta(0.8, 2.0) * 0.35 * (0.3 + melanin)
    if rng.random() < 0.25:  # freckles
        where = np.clip(soft["cheeks"] + soft["nose"] + 0.4 * soft["forehead"], 0, 1)
        spots = np.clip(bank.field(rng, 1.5) - rng.uniform(0.8, 1.6), 0, 0.8)
        m += where * spots * rng.uniform(0.3, 1.5)
    for _ in range(rng.poisson(2.0)):  # moles
        _stamp(rng, m, rng.uniform(0.6, 1.8), rng.uniform(0.5, 2.0))
    for _ in range(rng.poisson(1.5)):  # pimples
        _stamp(rng, b, rng.uniform(0.8, 2.5), rng.uniform(0.3, 1.0))
    return np.clip(m, 0, 4), np.clip(b, 0, 3)


def _stamp(
    rng: np.random.Generator, field: Float[np.ndarray, "s s"], radius: float, size: float
) -> None:
    reach = int(np.ceil(2 * radius))
    y, x = rng.integers(reach, field.shape[0] - reach, size=2)
    at = np.arange(-reach, reach + 1)
    bump = size * np.exp(-(at[:, None] ** 2 + at**2) / radius**2)
    field[y - reach : y + reach + 1, x - reach : x + reach + 1] += bump


def _ragged(
    mask: Float[np.ndarray, "s s"], noise: Float[np.ndarray, "s s"], width: float
) -> Float[np.ndarray, "s s"]:
    """A soft mask whose edge is broken up by noise."""
    return np.clip((mask - 0.5 + 0.12 * noise) / width + 0.5, 0, 1)


def _brows(rng: np.random.Generator, texels: TexelMap, bank: NoiseBank) -> Float[np.ndarray, "s s"]:
    """Density of both eyebrows: a tapering arc above the eyes."""
    x, y, z = np.moveaxis(texels.position_mm, -1, 0)
    cx, cy, cz = texels.eye_mm
    along = (np.abs(x) - (cx - 21 + rng.normal(0, 1.5))) / rng.normal(47, 2)
    height = cy + 17.5 + 2 * rng.standard_normal()
    arc = height + (5 + 2 * rng.standard_normal()) * (1 - ((along - 0.6) / 0.6) ** 2)
    thick = np.maximum((6.5 + 1.6 * rng.standard_normal()) * (1.1 - 0.7 * along), 0.5)
    inside = np.clip(1.5 - np.abs(y - arc) / thick, 0, 1)
    inside = inside * np.clip(along / 0.08, 0, 1) * np.clip((1 - along) / 0.1, 0, 1)
    hairs = np.clip(0.75 + 0.35 * bank.field(rng, 0.7), 0, 1)
    return inside * hairs * (z > cz - 30) * texels.masks["skin"]


def _beard(rng: np.random.Generator, texels: TexelMap, bank: NoiseBank) -> Float[np.ndarray, "s s"]:
    """Density of a beard, a moustache, a goatee, or stubble."""
    x, y, z = np.moveaxis(texels.position_mm, -1, 0)
    masks, eye = texels.masks, texels.eye_mm
    wave = 3 * bank.field(rng, 12.0)
    low = np.clip((eye[1] - rng.uniform(38, 55) - y + wave) / rng.uniform(3, 15), 0, 1)
    kind = rng.integers(4)
    if kind == 1:  # goatee
        low = low * np.clip((rng.uniform(18, 32) - np.abs(x)) / 5, 0, 1)
    elif kind == 2:  # moustache
        low = low * np.clip((28 - np.abs(x)) / 4, 0, 1) * np.clip((y - eye[1] + 64) / 4, 0, 1)
    elif kind == 3:  # no moustache
        low = low * np.clip((np.abs(x) + (eye[1] - 70 - y) - rng.uniform(20, 30)) / 6, 0, 1)
    hairs = np.clip(0.8 + 0.4 * bank.field(rng, rng.choice([0.0, 0.7])), 0, 1.2)
    upright = np.clip(1 - masks["neck"] * rng.uniform(0.3, 1.5), 0, 1)
    return low * hairs * masks["skin"] * (1 - masks["lips"]) * (z > eye[2] - 85) * upright


def _make_up(
    rng: np.random.Generator, paint: _Paint, texels: TexelMap, bank: NoiseBank,
    skin: Float[np.ndarray, "3"],
) -> None:  # fmt: skip
    masks = texels.masks
    if rng.random() < 0.2:  # lipstick
        tint = np.array([rng.uniform(0.15, 0.6), rng.uniform(0.005, 0.12), rng.uniform(0.01, 0.15)])
        paint.over(masks["lips"], tint.astype(np.float32), rng.uniform(0.3, 0.95))
    if rng.random() < 0.15:  # eye shadow
        tint = rng.uniform(0.01, 0.3, 3).astype(np.float32)
        paint.over(texels.soft["eyelids"], tint, rng.uniform(0.1, 0.7))
    if rng.random() < 0.12:  # powder hides what is below
        paint.over(np.clip(masks["skin"] - masks["lips"], 0, 1), skin, rng.uniform(0.2, 0.7))
    if rng.random() < 0.04:  # paint of fairs and football grounds
        patch = np.clip(4 * (bank.field(rng, 24.0) - rng.uniform(0.3, 1.2)), 0, 1)
        tint = rng.uniform(0.02, 0.9, 3).astype(np.float32)
        paint.over(patch * masks["skin"], tint, rng.uniform(0.5, 1.0))


def _inside(
    rng: np.random.Generator, paint: _Paint, texels: TexelMap, bank: NoiseBank,
    skin: Float[np.ndarray, "3"],
) -> None:  # fmt: skip
    """Eyes, lids' inner side, mouth."""
    masks = texels.masks

    def tint(*rgb: float) -> Float[np.ndarray, "3"]:
        return np.array(rgb, np.float32)

    paint.over(masks["mouth_interior"], tint(0.08, 0.012, 0.012), 1.0)
    paint.over(masks["eye_sockets"], skin * tint(0.7, 0.3, 0.3), 1.0)
    paint.over(masks["gums"], tint(0.4, 0.12, 0.11), 1.0)
    white = tint(0.75, 0.68, 0.5) * rng.uniform(0.6, 1.1)
    paint.over(masks["teeth"], white, 1.0)
    paint.over(masks["tongue"], tint(0.4, 0.1, 0.1) * rng.uniform(0.7, 1.2), 1.0)
    sclera = tint(0.72, 0.66, 0.62) * rng.uniform(0.6, 1.05)
    paint.over(masks["eyes"], sclera, 1.0)
    # Both eyes' texels lie together; all that follows is zero elsewhere.
    box = texels.eye_box
    far, around = texels.from_pupil_mm[box], texels.around_pupil_rad[box]
    near = _Paint(paint.colour[box])
    iris = IRIS[rng.integers(len(IRIS))] * rng.uniform(0.6, 1.5)
    rays = (
        1
        + 0.3 * np.sin(around * np.float32(rng.integers(18, 40)))
        + 0.2 * bank.field(rng, 1.5)[box]
    )
    rim = np.clip((far - 4.6) / 1.0, 0, 1) * rng.uniform(0, 0.8)
    shaded = iris * np.clip(rays * (1 - rim), 0.05, 2)[..., None].astype(np.float32)
    near.over(np.clip((IRIS_RADIUS_MM - far) / 0.4, 0, 1), shaded, 1.0)
    pupil = rng.uniform(1.0, 3.2)
    near.over(np.clip((pupil - far) / 0.4, 0, 1), tint(0.003, 0.003, 0.003), 1.0)
    paint.colour[box] = near.colour
