"""Clothes, glasses, hands and things before the face."""

import numpy as np
from jaxtyping import Float

from face3d.train.synthetic.pieces import CLOTH, LENS, OBJECT, Piece, ellipsoid, sheet, tube
from face3d.train.synthetic.skin import TexelMap


def random_body(rng: np.random.Generator, neck_mm: Float[np.ndarray, "v 3"]) -> list[Piece]:
    """Shoulders, with a collar around the neck sometimes.

    Args:
        rng: Random numbers.
        neck_mm: Vertices of the neck.
    """
    low = neck_mm[:, 1].min()
    ring = neck_mm[neck_mm[:, 1] < low + 25]
    centre = (ring.max(0) + ring.min(0)) / 2
    wide, deep = (
        (ring[:, 0].max() - ring[:, 0].min()) / 2,
        (ring[:, 2].max() - ring[:, 2].min()) / 2,
    )
    rgb = rng.uniform(0.02, 0.9, 3) ** 2
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    height = rng.uniform(-5, 30)
    radii = np.array([1.04, 1.15, 1.7, 2.6, 3.1, 3.2])
    falls = np.array([height, height - 15, height - 35, height - 65, height - 130, height - 320])
    depth = np.array([1.04, 1.15, 1.35, 1.7, 1.9, 2.0])
    points = np.stack(
        [centre[0] + wide * radii[:, None] * np.sin(turn),
         np.broadcast_to((low + falls)[:, None], (6, 24)),
         centre[2] + deep * depth[:, None] * np.cos(turn)], axis=-1,
    )  # fmt: skip
    pieces = [sheet(points, rgb, kind=CLOTH, closed=True)]
    if rng.random() < 0.4:
        tall = rng.uniform(15, 45)
        spread = rng.uniform(1.05, 1.3)
        collar = np.stack([points[0] + [0, tall, 0], points[0] + [0, -10, 0]])
        collar[0, :, ::2] = centre[::2] + (collar[0, :, ::2] - centre[::2]) * spread
        notch = np.clip(np.cos(turn), 0, 1) ** 4
        collar[0, :, 1] -= tall * notch
        pieces.append(sheet(collar, rgb * rng.uniform(0.6, 1.5) * 0.9, kind=CLOTH, closed=True))
    return pieces


def random_glasses(
    rng: np.random.Generator,
    eyes_mm: Float[np.ndarray, "2 3"],
    bridge_mm: Float[np.ndarray, "3"],
    ears_mm: Float[np.ndarray, "2 3"],
) -> list[Piece]:
    """Frames with clear, tinted or dark lenses.

    Args:
        rng: Random numbers.
        eyes_mm: Centres of the left and the right eye.
        bridge_mm: Where the frame rests on the nose.
        ears_mm: The tops of the ears.
    """
    rgb = rng.choice([rng.uniform(0.0, 0.05, 3), rng.uniform(0.02, 0.6, 3)])
    radius = rng.uniform(0.6, 2.8)
    wide, tall = rng.uniform(19, 30), rng.uniform(13, 26)
    power = rng.uniform(0.5, 1.0)
    turn = np.linspace(0, 2 * np.pi, 28)
    drop = rng.uniform(-3, 6)
    dark = rng.random() < 0.25
    opacity = rng.uniform(0.5, 0.98) if dark else rng.uniform(0.02, 0.2)
    tint = rng.uniform(0.0, 0.08, 3) if dark else rng.uniform(0.2, 0.9, 3)
    pieces: list[Piece] = []
    inner: list[np.ndarray] = []
    for eye, ear, sign in zip(eyes_mm, ears_mm, (1, -1), strict=True):
        x = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** power
        y = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** power
        ring = np.stack(
            [eye[0] + sign * 1.5 + wide * x, eye[1] - drop + tall * y,
             np.full_like(x, bridge_mm[2] + 2) - 0.008 * (eye[0] + wide * x) ** 2 / 4], axis=-1,
        )  # fmt: skip
        if rng.random() < 0.95:
            pieces.append(tube(ring, radius, rgb, sides=5))
        outer = ring[np.argmax(sign * ring[:, 0])]
        inner.append(ring[np.argmin(sign * ring[:, 0])])
        arm = np.linspace(outer, [ear[0] + sign * 2, ear[1] + 2, ear[2]], 6)
        pieces.append(tube(arm, radius * 1.1, rgb, sides=5))
        fan = np.stack([ring, np.broadcast_to(ring.mean(0), ring.shape)])
        pieces.append(sheet(fan, tint, kind=OBJECT if dark else LENS, solid=opacity))
    middle = (inner[0] + inner[1]) / 2 + [0, rng.uniform(0, 5), 2]
    pieces.append(tube(np.stack([inner[0], middle, inner[1]]), radius, rgb, sides=5))
    return pieces


def random_hand(
    rng: np.random.Generator, face_mm: Float[np.ndarray, "v 3"], skin: Float[np.ndarray, "3"]
) -> list[Piece]:
    """A hand on the face or before it.

    Args:
        rng: Random numbers.
        face_mm: Vertices of the face.
        skin: Its colour.
    """
    touched = face_mm[rng.integers(len(face_mm))] + [0, 0, rng.uniform(8, 60)]
    way = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(way), np.sin(way), rng.normal(0, 0.3)])
    along /= np.linalg.norm(along)
    across = np.cross(along, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across)
    out = np.cross(across, along)
    rgb = skin * np.clip(rng.normal(1, 0.1), 0.7, 1.3)
    bend, spread = rng.uniform(0, 0.5), rng.uniform(0.0, 0.25)
    pieces = [
        ellipsoid(
            touched - along * 45, np.stack([along * 50, across * 42, out * 16]), rgb, power=0.8
        )
    ]
    for number in range(4 if rng.random() < 0.5 else 5):
        if number == 4:
            base, ahead = touched - along * 60 + across * 40, along * 0.6 + across * 0.8
            length = 55.0
        else:
            base = touched + across * (number - 1.5) * 20
            ahead = along + across * spread * (number - 1.5)
            length = 72.0 - 8 * abs(number - 1.5)
        share = np.linspace(0, 1, 7)[:, None]
        line = base + ahead * length * share - out * bend * length * share**2
        radius = np.array([9.5, 9.5, 9.0, 9.0, 8.5, 7.5, 2.0])
        pieces.append(tube(line, radius, rgb, sides=8))
    return pieces


def random_thing(rng: np.random.Generator, face_mm: Float[np.ndarray, "v 3"]) -> list[Piece]:
    """A telephone, a microphone, a cup, somebody's shoulder: boxy or round."""
    at = face_mm[rng.integers(len(face_mm))] * [1.3, 1.3, 1.0] + [0, 0, rng.uniform(30, 90)]
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    size = rng.uniform(8, 60, 3)
    return [
        ellipsoid(at, turn * size[:, None], rng.uniform(0, 0.9, 3) ** 1.5,
                  power=rng.uniform(0.2, 1.0))
    ]  # fmt: skip


def eye_places(texels: TexelMap) -> Float[np.ndarray, "2 3"]:
    """Centres of the mean head's eyes, mm."""
    return np.stack([texels.eye_mm, texels.eye_mm * [-1, 1, 1]])
