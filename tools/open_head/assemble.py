"""Putting the parts together: the open head's vertices, and how each head is made of them."""

from dataclasses import dataclass

import numpy as np

from open_head.anatomy import (
    EYE_COLUMNS,
    Part,
    eye_directions,
    eye_faces,
    eye_uv,
    fit_sphere,
    make_arch,
)
from open_head.crop import head_quads
from open_head.makehuman import BaseMesh
from open_head.uv import ISLAND_BOXES, into_box, skin_islands

PART_ORDER = ("skin", "tongue", "left_eye", "right_eye", "upper_teeth", "lower_teeth")
TEETH_SETBACK_DM = 0.05
TONGUE_SHIFT_DM = np.array([0.0, -0.03, -0.07])
"""MakeHuman's tongue fills its mouth; ours lies behind the lower teeth."""

TEETH_HEIGHT_DM = {"upper": 0.19, "lower": 0.17}
"""Crown and gum together."""

SIDES = {"left": "l", "right": "r"}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where everything stands in the open head's arrays."""

    base_of_skin: np.ndarray  # base vertex of each skin vertex
    base_of_tongue: np.ndarray
    ranges: dict[str, np.ndarray]  # vertex indices by part
    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    uv_island: np.ndarray  # island name of each skin texture coordinate, see open_head.uv
    skin_island: np.ndarray  # island name of each skin vertex, see open_head.uv
    symmetry: np.ndarray
    arches: dict[str, Part]
    keep: np.ndarray  # base vertices that a head is computed from, ascending


def triangles(quads: np.ndarray) -> np.ndarray:
    """Two triangles per quad."""
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _base_part(
    quads: np.ndarray, uv_quads: np.ndarray, uv: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Renumber a subset: base vertices, faces, uv, uv faces."""
    vertices, faces = np.unique(triangles(quads), return_inverse=True)
    corners, uv_faces = np.unique(triangles(uv_quads), return_inverse=True)
    return vertices, faces.reshape(-1, 3), uv[corners], uv_faces.reshape(-1, 3)


def _part_symmetry(
    ranges: dict[str, np.ndarray], skin: np.ndarray, tongue: np.ndarray, mirror: np.ndarray
) -> np.ndarray:
    """The mirror partner of every vertex."""
    partner = np.concatenate([np.zeros(0, dtype=int)] + [ranges[name] for name in PART_ORDER])
    for name, base in (("skin", skin), ("tongue", tongue)):
        position = {int(b): k for k, b in enumerate(base)}
        partner[ranges[name]] = ranges[name][[position[int(mirror[b])] for b in base]]
    count = len(ranges["left_eye"])
    ring, column = np.divmod(np.arange(count) - 1, EYE_COLUMNS)
    mirrored = 1 + ring * EYE_COLUMNS + (EYE_COLUMNS // 2 - column) % EYE_COLUMNS
    mirrored[0] = 0
    partner[ranges["left_eye"]] = ranges["right_eye"][mirrored]
    partner[ranges["right_eye"]] = ranges["left_eye"][mirrored]
    for name in ("upper_teeth", "lower_teeth"):
        partner[ranges[name]] = ranges[name].reshape(8, -1)[:, ::-1].ravel()
    return partner


def make_layout(base: BaseMesh, mirror: np.ndarray) -> Layout:
    """Choose vertices, faces and texture coordinates."""
    chosen = head_quads(base)
    skin, skin_faces, skin_uv, skin_uv_faces = _base_part(
        base.quads[chosen], base.uv_quads[chosen], base.uv
    )
    skin_uv, uv_island = skin_islands(skin_uv, skin_uv_faces)
    island = np.zeros(len(skin), dtype=uv_island.dtype)
    island[skin_faces.ravel()] = uv_island[skin_uv_faces.ravel()]
    # Where islands meet, a vertex belongs to the outer skin.
    face_corner_main = uv_island[skin_uv_faces.ravel()] == "face"
    island[skin_faces.ravel()[face_corner_main]] = "face"
    tongue_quads = base.quad_group == "helper-tongue"
    tongue, tongue_faces, tongue_uv, tongue_uv_faces = _base_part(
        base.quads[tongue_quads], base.uv_quads[tongue_quads], base.uv
    )
    teeth = {}
    for name in ("upper", "lower"):
        points = base.vertices[base.groups[f"helper-{name}-teeth"]]
        size = np.ptp(points, axis=0)
        # MakeHuman's rows of teeth are tilted, so their extent is no tooth's height; the front
        # teeth say where the edges are.
        front_teeth = points[points[:, 2] > points[:, 2].max() - 0.12]
        arch = make_arch(
            half_width=size[0] / 2 - 0.03,
            depth=size[2],
            height=TEETH_HEIGHT_DM[name],
            upper=name == "upper",
        )
        edge = front_teeth[:, 1].min() if name == "upper" else front_teeth[:, 1].max()
        # MakeHuman's teeth touch the wall of its mouth; ours stand a little behind it.
        front = points[:, 2].max() - TEETH_SETBACK_DM
        moved = arch.vertices + np.array([0.0, edge, front - arch.vertices[:, 2].max()])
        teeth[name] = Part(vertices=moved, faces=arch.faces, uv=arch.uv, uv_faces=arch.uv_faces)
    eye_part = (eye_faces(), into_box(eye_uv(), ISLAND_BOXES["left_eye"]), eye_faces())
    right_uv = into_box(eye_uv(), ISLAND_BOXES["right_eye"])
    pieces = [
        (len(skin), skin_faces, skin_uv, skin_uv_faces),
        (len(tongue), tongue_faces, into_box(tongue_uv, ISLAND_BOXES["tongue"]), tongue_uv_faces),
        (int(eye_part[0].max()) + 1, *eye_part),
        (int(eye_part[0].max()) + 1, eye_part[0], right_uv, eye_part[2]),
        *(
            (len(p.vertices), p.faces, into_box(p.uv, ISLAND_BOXES[f"{n}_teeth"]), p.uv_faces)
            for n, p in teeth.items()
        ),
    ]
    ranges, faces, uv, uv_faces = {}, [], [], []
    vertex_count = uv_count = 0
    for name, (count, f, t, ft) in zip(PART_ORDER, pieces):
        ranges[name] = np.arange(vertex_count, vertex_count + count)
        faces.append(f + vertex_count)
        uv.append(t)
        uv_faces.append(ft + uv_count)
        vertex_count += count
        uv_count += len(t)
    helpers = [
        base.groups[name]
        for name in (
            "helper-l-eye", "helper-r-eye", "helper-upper-teeth", "helper-lower-teeth",
            "joint-head", "joint-neck", "joint-l-eye", "joint-r-eye", "joint-mouth",
        )
    ]  # fmt: skip
    return Layout(
        base_of_skin=skin,
        base_of_tongue=tongue,
        ranges=ranges,
        faces=np.concatenate(faces),
        uv=np.concatenate(uv),
        uv_faces=np.concatenate(uv_faces),
        uv_island=uv_island,
        skin_island=island,
        symmetry=_part_symmetry(ranges, skin, tongue, mirror),
        arches=teeth,
        keep=np.unique(np.concatenate([skin, tongue, *helpers])),
    )


def affine_maps(source: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Least-squares affine maps (n, 4, 3) from (p, 3) points to each of (n, p, 3)."""
    system = np.concatenate([source, np.ones((len(source), 1))], axis=1)
    return np.linalg.pinv(system) @ targets


def kept(layout: Layout, base_indices: np.ndarray) -> np.ndarray:
    """Positions in ``layout.keep`` of base vertices."""
    return np.searchsorted(layout.keep, base_indices)


def build_heads(base: BaseMesh, layout: Layout, heads: np.ndarray) -> np.ndarray:
    """All vertices of the open head for heads given as base vertices.

    Args:
        base: The base mesh.
        layout: The open head's layout.
        heads: (n, k, 3) dm, the vertices ``layout.keep``.

    Returns:
        (n, v, 3) dm.
    """
    parts = [heads[:, kept(layout, layout.base_of_skin)]]
    parts.append(heads[:, kept(layout, layout.base_of_tongue)] + TONGUE_SHIFT_DM)
    for side in SIDES.values():
        centre, radius = fit_sphere(heads[:, kept(layout, base.groups[f"helper-{side}-eye"])])
        directions = np.stack([eye_directions(r) for r in radius])
        parts.append(centre[:, None] + radius[:, None, None] * directions)
    for name, arch in layout.arches.items():
        group = base.groups[f"helper-{name}-teeth"]
        maps = affine_maps(base.vertices[group], heads[:, kept(layout, group)])
        points = np.concatenate([arch.vertices, np.ones((len(arch.vertices), 1))], axis=1)
        parts.append(points @ maps)
    return np.concatenate(parts, axis=1)
