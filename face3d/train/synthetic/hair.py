"""Hair and hats: sheets that are carried by the scalp and hang from it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from face3d.model.data import HeadData
from face3d.train.synthetic.pieces import CLOTH, HAIR, Piece, grid_faces, sheet

AZIMUTHS, ELEVATIONS = 48, 40
HIGHEST_DEG, LOWEST_DEG = 86.0, -40.0
ON_HEAD, HANGING = 14, 10


@dataclass(frozen=True, kw_only=True)
class Scalp:
    """Where rays from within the skull leave the head; front is azimuth zero, then its left."""

    azimuth_rad: Float[np.ndarray, "az"]
    elevation_rad: Float[np.ndarray, "el"]  # falling
    faces: Int[np.ndarray, "az el 3"]  # vertices
    weights: Float[np.ndarray, "az el 3"]
    hairline_rad: Float[np.ndarray, "az"]  # elevation

    def points(self, vertices: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "az el 3"]:
        """The same places on another head."""
        return (vertices[self.faces] * self.weights[..., None]).sum(-2)


def make_scalp(data: HeadData) -> Scalp:
    """Shoot rays through the mean head."""
    v = 1000 * data.v_template
    scalp = v[data.regions["scalp"]]
    eyes = v[data.regions["eyes"]].mean(0)
    centre = np.array([0.0, eyes[1] + 15, (scalp[:, 2].min() + eyes[2]) / 2])
    azimuth = np.linspace(0, 2 * np.pi, AZIMUTHS, endpoint=False)
    elevation = np.radians(np.linspace(HIGHEST_DEG, LOWEST_DEG, ELEVATIONS))
    flat = np.cos(elevation)
    rays = np.stack(
        [np.sin(azimuth)[:, None] * flat,
         np.broadcast_to(np.sin(elevation), (AZIMUTHS, ELEVATIONS)),
         np.cos(azimuth)[:, None] * flat], axis=-1,
    ).reshape(-1, 3)  # fmt: skip
    outside = data.regions["skin"] & ~data.regions["ears"]
    faces = data.faces[outside[data.faces].all(1)]
    a, b, c = (v[faces[:, k]] - centre for k in range(3))
    # Solve a + s (b - a) + t (c - a) = d ray, by Cramer's rule.
    ab, ac = b - a, c - a
    normal = np.cross(ab, ac)
    slope = rays @ normal.T
    far = (a * normal).sum(1) / np.where(np.abs(slope) < 1e-9, 1e-9, slope)
    s = (rays @ np.cross(ac, a).T) / np.where(np.abs(slope) < 1e-9, 1e-9, slope)
    t = (rays @ np.cross(a, ab).T) / np.where(np.abs(slope) < 1e-9, 1e-9, slope)
    # With d = far: s and t of the hit follow from the same determinants.
    hit = (s >= -1e-6) & (t >= -1e-6) & (s + t <= 1 + 1e-6) & (far > 0)
    best = np.where(hit, far, -1).argmax(1)
    # Where ears and eyes are there is no skin to hit: what is above it stands in.
    met = hit.any(1).reshape(AZIMUTHS, ELEVATIONS)
    above = np.maximum.accumulate(np.where(met, np.arange(ELEVATIONS), 0), axis=1)
    at = (np.arange(AZIMUTHS)[:, None] * ELEVATIONS + above).reshape(-1)
    best = best[at]
    w = np.stack([1 - s[at, best] - t[at, best], s[at, best], t[at, best]], axis=1)
    covered = data.regions["scalp"][faces[best]].mean(1).reshape(AZIMUTHS, ELEVATIONS) > 0.5
    last = ELEVATIONS - 1 - covered[:, ::-1].argmax(1)
    line = np.where(covered.any(1), elevation[last], elevation[0])
    return Scalp(
        azimuth_rad=azimuth,
        elevation_rad=elevation,
        faces=faces[best].reshape(AZIMUTHS, ELEVATIONS, 3),
        weights=w.reshape(AZIMUTHS, ELEVATIONS, 3),
        hairline_rad=line,
    )


def _around(rng: np.random.Generator, azimuth: Float[np.ndarray, "az"], terms: int) -> np.ndarray:
    """A smooth random function around the head, of unit variance or so."""
    k = np.arange(1, terms + 1)[:, None]
    size = rng.standard_normal((2, terms, 1)) / np.sqrt(k)
    return (size[0] * np.cos(k * azimuth) + size[1] * np.sin(k * azimuth)).sum(0) / 1.5


def _rows_between(
    grid: Float[np.ndarray, "az el 3"], elevation: Float[np.ndarray, "el"],
    end_rad: Float[np.ndarray, "az"], rows: int,
) -> Float[np.ndarray, "row az 3"]:  # fmt: skip
    """Points from the crown down to an elevation that differs around the head."""
    share = np.linspace(0, 1, rows) ** 0.8
    want = elevation[0] + share[:, None] * (end_rad - elevation[0])
    place = (want - elevation[0]) / (elevation[-1] - elevation[0]) * (len(elevation) - 1)
    place = np.clip(place, 0, len(elevation) - 1.001)
    low = place.astype(int)
    part = (place - low)[..., None]
    column = np.arange(grid.shape[0])
    return grid[column, low] * (1 - part) + grid[column, low + 1] * part


def random_hair(
    rng: np.random.Generator, scalp: Scalp, vertices_mm: Float[np.ndarray, "v 3"],
    rgb: Float[np.ndarray, "3"],
) -> Piece:  # fmt: skip
    """A head of hair, from short to long, with or without a fringe."""
    azimuth = scalp.azimuth_rad
    front = np.clip(np.cos(azimuth), 0, 1)
    side = np.abs(np.sin(azimuth))
    line = scalp.hairline_rad + np.radians(rng.normal(0, 4)) + 0.05 * _around(rng, azimuth, 6)
    if rng.random() < 0.2:  # receding
        line = line + np.radians(rng.uniform(5, 25)) * np.exp(-(((front - 0.75) / 0.2) ** 2))
    style = rng.choice(["short", "fringe", "long", "fringe and long"], p=[0.4, 0.2, 0.25, 0.15])
    hang = np.full_like(azimuth, rng.uniform(2, 8))
    if "fringe" in style:
        hang = hang + rng.uniform(15, 70) * front ** rng.uniform(0.5, 2)
        line = np.where(front > 0.3, np.maximum(line, np.radians(25)), line)
    if "long" in style:
        opening = np.radians(rng.uniform(35, 75))
        apart = np.clip((np.abs(np.angle(np.exp(1j * azimuth))) - opening) / 0.25, 0, 1)
        hang = hang + rng.uniform(60, 300) * apart
    hang = hang * np.exp(0.15 * _around(rng, azimuth, 8))
    thick = rng.uniform(4, 30 if style != "short" else 20)
    grid = scalp.points(vertices_mm)
    centre = grid.mean((0, 1))
    rows = _rows_between(grid, scalp.elevation_rad, np.clip(line, -0.69, 1.3), ON_HEAD)
    out = rows - centre
    out /= np.linalg.norm(out, axis=-1, keepdims=True)
    down = np.linspace(0, 1, ON_HEAD)[:, None]
    kept = 0.3 + 0.7 * np.clip(hang / 40, 0, 1)
    lift = thick * (1 - (1 - kept) * down**4)
    lift = lift * np.clip(1 + 0.2 * _around(rng, azimuth, 7) + 0.08 * rng.standard_normal(
        (ON_HEAD, 1)), 0.3, 2)  # fmt: skip
    on_head = rows + out * lift[..., None]
    step = np.linspace(0, 1, HANGING + 1)[1:, None]
    flat = out[-1] * [1, 0, 1]
    flat /= np.linalg.norm(flat, axis=-1, keepdims=True) + 1e-6
    swing = rng.uniform(-8, 18) * step + 4 * np.sin(step * rng.uniform(1, 9) + 3 * side)
    falling = on_head[-1] + flat * swing[..., None] * np.clip(hang / 80, 0, 1)[:, None]
    falling = falling - np.array([0, 1, 0]) * (step * hang)[..., None]
    points = np.concatenate([on_head, falling])
    total = ON_HEAD + HANGING
    end = np.clip((np.arange(total)[:, None] - ON_HEAD + 2) / (HANGING + 1), 0, 1)
    solid = np.broadcast_to(2.2 - rng.uniform(1.2, 2.4) * end**2, (total, AZIMUTHS))
    length = np.linspace(0, 1, total)[:, None] * rng.uniform(0.5, 1.5)
    across = (azimuth / (2 * np.pi) * rng.integers(2, 6))[None, :]
    across = across + rng.uniform(0, 0.15) * np.sin(6 * length)
    thread = np.stack(np.broadcast_arrays(across, length + 0 * across), axis=-1)
    shade = np.clip(1 + 0.12 * _around(rng, azimuth, 5), 0.6, 1.5)
    tint = np.broadcast_to((rgb * shade[:, None])[None], (total, AZIMUTHS, 3))
    return Piece(
        vertices=points.reshape(-1, 3),
        faces=grid_faces(total, AZIMUTHS, closed=True),
        rgb=tint.reshape(-1, 3).astype(np.float32),
        solid=solid.reshape(-1),
        thread=thread.reshape(-1, 2),
        strands=float(rng.uniform(0.3, 1.0)),
        kind=HAIR,
    )


def random_hat(
    rng: np.random.Generator, scalp: Scalp, vertices_mm: Float[np.ndarray, "v 3"]
) -> list[Piece]:
    """A cap, a woollen hat, a scarf or a hood."""
    azimuth = scalp.azimuth_rad
    rgb = rng.uniform(0.01, 0.8, 3) ** 1.5
    kind = rng.integers(3)
    tilt = (
        np.radians(rng.uniform(12, 35))
        + np.radians(rng.uniform(-30, 0)) * (1 - np.cos(azimuth)) / 2
    )
    if kind == 2:  # a scarf or hood leaves the face free
        around = np.abs(np.angle(np.exp(1j * azimuth)))
        tilt = np.where(around > np.radians(rng.uniform(45, 70)), -0.69, tilt)
    grid = scalp.points(vertices_mm)
    centre = grid.mean((0, 1))
    rows = _rows_between(grid, scalp.elevation_rad, tilt, ON_HEAD)
    out = rows - centre
    out /= np.linalg.norm(out, axis=-1, keepdims=True)
    loft = rng.uniform(0, 40) * np.linspace(1, 0, ON_HEAD)[:, None] ** 2
    folds = 1 + 0.1 * _around(rng, azimuth, 9)
    points = rows + out * ((rng.uniform(5, 14) + loft) * folds)[..., None]
    pieces = [sheet(points, rgb, kind=CLOTH, closed=True)]
    if kind == 0:  # a peak
        bow = np.linspace(-0.9, 0.9, 12)
        start = np.stack([np.interp(bow, np.angle(np.exp(1j * azimuth))[np.argsort(
            np.angle(np.exp(1j * azimuth)))], points[-1, np.argsort(
                np.angle(np.exp(1j * azimuth))), k]) for k in range(3)], axis=-1)  # fmt: skip
        reach = rng.uniform(40, 80) * np.cos(bow * 1.6)[:, None].clip(0.15)
        drop = rng.uniform(-0.1, 0.5)
        ahead = np.array([0.0, -drop, 1.0])
        brim = np.stack([start, start + 0.5 * reach * ahead, start + reach * ahead])
        pieces.append(sheet(brim, rgb * rng.uniform(0.5, 1.3), kind=CLOTH))
    return pieces
