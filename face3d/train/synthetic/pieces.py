"""Surfaces beside the head: what is worn, what is held, and what hides the face."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

HAIR, CLOTH, OBJECT, LENS = 4, 6, 5, 7
"""Kinds, as the label pictures number them."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A surface with colours at its vertices; head frame, millimetres."""

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    rgb: Float[np.ndarray, "v 3"]  # linear albedo
    solid: Float[np.ndarray, "v"]  # opacity; with strands, above how many of them it is
    thread: Float[np.ndarray, "v 2"]  # across and along the strands, in their repeats
    strands: float  # how much of opacity and colour the strands take
    kind: int


def grid_faces(rows: int, columns: int, *, closed: bool) -> Int[np.ndarray, "f 3"]:
    """Triangles of a sheet of ``rows`` x ``columns`` vertices; closed joins its last column."""
    wide = columns if closed else columns - 1
    r, c = np.meshgrid(np.arange(rows - 1), np.arange(wide), indexing="ij")
    a = r * columns + c
    b = r * columns + (c + 1) % columns
    down = a + columns
    down_b = b + columns
    quads = np.stack([a, down, down_b, a, down_b, b], axis=-1)
    return quads.reshape(-1, 3)


def sheet(
    points: Float[np.ndarray, "row column 3"],
    rgb: Float[np.ndarray, "3"],
    *,
    kind: int,
    closed: bool = False,
    solid: float = 2.0,
) -> Piece:
    """A plain sheet of one colour."""
    rows, columns = points.shape[:2]
    count = rows * columns
    return Piece(
        vertices=points.reshape(-1, 3),
        faces=grid_faces(rows, columns, closed=closed),
        rgb=np.broadcast_to(rgb, (count, 3)).astype(np.float32),
        solid=np.full(count, solid),
        thread=np.zeros((count, 2)),
        strands=0.0,
        kind=kind,
    )


def tube(
    line: Float[np.ndarray, "k 3"],
    radius_mm: Float[np.ndarray, "k"] | float,
    rgb: Float[np.ndarray, "3"],
    *,
    kind: int = OBJECT,
    sides: int = 6,
    flat: float = 1.0,
) -> Piece:
    """A tube along a line; ``flat`` squeezes it along z."""
    way = np.gradient(line, axis=0)
    way /= np.linalg.norm(way, axis=1, keepdims=True) + 1e-9
    up = np.tile([0.0, 0.0, 1.0], (len(line), 1))
    up[np.abs(way[:, 2]) > 0.9] = [0.0, 1.0, 0.0]
    side = np.cross(way, up)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    up = np.cross(side, way)
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(turn)[:, None] * side[:, None] + flat * np.sin(turn)[:, None] * up[:, None]
    radius = np.broadcast_to(radius_mm, len(line))
    return sheet(line[:, None] + radius[:, None, None] * ring, rgb, kind=kind, closed=True)


def ellipsoid(
    centre: Float[np.ndarray, "3"],
    axes: Float[np.ndarray, "3 3"],
    rgb: Float[np.ndarray, "3"],
    *,
    kind: int = OBJECT,
    power: float = 1.0,
) -> Piece:
    """An ellipsoid with the rows of ``axes`` as half axes; a small power makes it boxy."""
    tall, turn = np.linspace(-np.pi / 2, np.pi / 2, 9), np.linspace(0, 2 * np.pi, 14, False)

    def bent(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        return np.sign(values) * np.abs(values) ** power

    ring = bent(np.cos(tall))[:, None]
    unit = np.stack(
        [ring * bent(np.cos(turn)), ring * bent(np.sin(turn)),
         np.broadcast_to(bent(np.sin(tall))[:, None], (9, 14))], axis=-1,
    )  # fmt: skip
    return sheet(centre + unit @ axes, rgb, kind=kind, closed=True)


def joined(pieces: Sequence[Piece]) -> tuple[Piece, Float[np.ndarray, "v"], Int[np.ndarray, "v"]]:
    """All in one, with each vertex's share of strands and kind."""
    starts = np.cumsum([0, *(len(p.vertices) for p in pieces)])
    one = Piece(
        vertices=np.concatenate([p.vertices for p in pieces]),
        faces=np.concatenate([p.faces + s for p, s in zip(pieces, starts, strict=False)]),
        rgb=np.concatenate([p.rgb for p in pieces]),
        solid=np.concatenate([p.solid for p in pieces]),
        thread=np.concatenate([p.thread for p in pieces]),
        strands=0.0,
        kind=0,
    )
    strands = np.concatenate([np.full(len(p.vertices), p.strands) for p in pieces])
    kind = np.concatenate([np.full(len(p.vertices), p.kind) for p in pieces])
    return one, strands, kind
