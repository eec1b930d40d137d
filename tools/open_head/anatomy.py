"""Eyes and teeth, which the MakeHuman base lacks in usable form, made from a few numbers.

Every function returns a part in its own pose: vertices (v, 3), triangles (f, 3) running
counter-clockwise seen from outside, and texture coordinates (v, 2) in the unit square.
"""

from dataclasses import dataclass

import numpy as np

IRIS_RADIUS_DM = 0.0585
"""Half of the 11.7 mm that the visible iris measures in almost everybody (SD 0.5 mm)."""

PUPIL_RADIUS_DM = 0.019
EYE_COLUMNS = 20
EYE_RING_COUNT = 11
"""Rings from the centre of the pupil backwards; the eyeball is left open where nobody looks."""

TEETH_PER_SIDE = 7
SAMPLES_PER_TOOTH = 2


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of the head that is made rather than read."""

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray


def eye_directions(radius: float) -> np.ndarray:
    """Unit vectors from the eye's centre to its vertices, gaze along +z.

    Ring 1 is the pupil's edge and ring 3 the iris's, whatever the eyeball's radius (dm).

    Returns:
        (EYE_RING_COUNT * EYE_COLUMNS + 1, 3): front pole, then the rings.
    """
    pupil = np.arcsin(PUPIL_RADIUS_DM / radius)
    iris = np.arcsin(IRIS_RADIUS_DM / radius)
    white = np.linspace(iris, 0.85 * np.pi, EYE_RING_COUNT - 3)[1:]
    angles = np.concatenate([[pupil / 2, pupil, (pupil + iris) / 2, iris], white])
    turn = np.arange(EYE_COLUMNS) / EYE_COLUMNS * 2 * np.pi
    rings = np.stack(
        [
            np.sin(angles)[:, None] * np.cos(turn),
            np.sin(angles)[:, None] * np.sin(turn),
            np.repeat(np.cos(angles)[:, None], EYE_COLUMNS, axis=1),
        ],
        axis=-1,
    )
    return np.concatenate([[[0, 0, 1.0]], rings.reshape(-1, 3)])


EYE_IRIS_RING = 3
EYE_PUPIL_RING = 1


def eye_ring(ring: int) -> np.ndarray:
    """Vertex indices of one ring within an eye."""
    return 1 + ring * EYE_COLUMNS + np.arange(EYE_COLUMNS)


def eye_faces() -> np.ndarray:
    """Triangles of an eye."""
    faces = []
    for c in range(EYE_COLUMNS):
        n = (c + 1) % EYE_COLUMNS
        faces.append((0, 1 + c, 1 + n))
        for r in range(EYE_RING_COUNT - 1):
            a, b = 1 + r * EYE_COLUMNS + c, 1 + r * EYE_COLUMNS + n
            d, e = a + EYE_COLUMNS, b + EYE_COLUMNS
            faces += [(a, d, e), (a, e, b)]
    return np.array(faces)


def eye_uv() -> np.ndarray:
    """Azimuthal coordinates: the gaze axis in the middle, the last ring at the rim."""
    directions = eye_directions(0.138)
    polar = np.arccos(np.clip(directions[:, 2], -1, 1)) / (0.85 * np.pi)
    azimuth = np.arctan2(directions[:, 1], directions[:, 0])
    # The square root would give equal areas; this in-between spends more texels on the iris.
    radius = 0.5 * polar**0.7
    return 0.5 + radius[:, None] * np.stack([np.cos(azimuth), np.sin(azimuth)], axis=-1)


def fit_sphere(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and radius of spheres through (n, p, 3) points, by linear least squares."""
    ones = np.ones((*points.shape[:-1], 1))
    system = np.concatenate([2 * points, ones], axis=-1)
    square = (points**2).sum(-1, keepdims=True)
    normal = np.swapaxes(system, -1, -2)
    solution = np.linalg.solve(normal @ system, normal @ square)[..., 0]
    centre = solution[..., :3]
    return centre, np.sqrt(solution[..., 3] + (centre**2).sum(-1))


def _arch_curve(half_width: float, depth: float, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A dental arch in the xz plane, an ellipse-like U over t in [-1, 1], and its normal."""
    angle = t * np.pi / 2 * 0.93
    curve = np.stack([half_width * np.sin(angle), depth * (np.cos(angle) - 1)], axis=-1)
    normal = np.stack([np.sin(angle) / half_width, np.cos(angle) / depth], axis=-1)
    return curve, normal / np.linalg.norm(normal, axis=-1, keepdims=True)


def make_arch(*, half_width: float, depth: float, height: float, upper: bool) -> Part:
    """A row of 14 teeth on a strip of gum, as one closed-looking strip.

    Crowns are bulges of the strip: their front is fullest and their edge lowest in the middle of
    a tooth and both draw back at the gaps, which is what reads as teeth behind lips.

    Args:
        half_width: Half the distance between the last molars, dm.
        depth: Front to back, dm.
        height: Crown and gum together, dm.
        upper: Crowns point down.

    Returns:
        The front of the arch at the origin, teeth along +-x, the edge of the crowns at y = 0.
    """
    count = 2 * TEETH_PER_SIDE
    samples = count * SAMPLES_PER_TOOTH + 1
    # Molars are wider than incisors: t runs slower through the front.
    place = np.linspace(-1, 1, samples)
    t = np.sign(place) * (0.78 * np.abs(place) + 0.22 * np.abs(place) ** 2)
    curve, normal = _arch_curve(half_width, depth, t)
    phase = np.abs(np.sin(np.pi * np.arange(samples) / SAMPLES_PER_TOOTH))
    back = np.abs(place)
    crown = 0.55 + 0.1 * back
    thick = 0.03 + 0.045 * back
    # From the gum in front, over the edge, to the gum behind: offset outwards and height.
    rows = [
        (0.010 * np.ones(samples), np.ones(samples)),
        (0.012 + 0.0 * back, 0.75 * np.ones(samples)),
        (0.010 + 0.006 * phase, crown),
        (0.014 + 0.010 * phase, 0.30 * crown),
        (0.004 + 0.004 * phase - 0.2 * thick, 0.06 * (1 - phase)),
        (-0.9 * thick, 0.06 * (1 - phase) + 0.02),
        (-1.1 * thick, 0.5 * crown),
        (-1.2 * thick, np.ones(samples)),
    ]
    sign = 1.0 if upper else -1.0
    grid = np.stack(
        [
            np.stack(
                [
                    curve[:, 0] + out * normal[:, 0],
                    sign * high * height,
                    curve[:, 1] + out * normal[:, 1],
                ],
                axis=-1,
            )
            for out, high in rows
        ]
    )
    faces = []
    for r in range(len(rows) - 1):
        for s in range(samples - 1):
            a, b = r * samples + s, r * samples + s + 1
            d, e = a + samples, b + samples
            faces += [(a, d, e), (a, e, b)] if upper else [(a, e, d), (a, b, e)]
    # The lower arch runs its faces the other way round; u follows so that no island is mirrored.
    across = np.linspace(0, 1, samples) if upper else np.linspace(1, 0, samples)
    u, v = np.meshgrid(across, np.linspace(1, 0, len(rows)))
    uv = np.stack([u.ravel(), v.ravel()], axis=-1)
    triangles = np.array(faces)
    return Part(
        vertices=grid.reshape(-1, 3),
        faces=triangles,
        uv=uv,
        uv_faces=triangles,
    )


CROWN_ROWS = slice(2, 7)
"""Rows of an arch that are tooth; the others are gum."""


def arch_rows() -> np.ndarray:
    """The row of each vertex of an arch."""
    samples = 2 * TEETH_PER_SIDE * SAMPLES_PER_TOOTH + 1
    return np.repeat(np.arange(8), samples)
