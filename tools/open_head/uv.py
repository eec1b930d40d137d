"""Texture coordinates: MakeHuman's islands, the face enlarged, and boxes for the made parts."""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

ISLAND_BOXES = {
    "face": (0.010, 0.385, 0.990, 0.990),
    "neck": (0.010, 0.215, 0.450, 0.370),
    "mouth": (0.470, 0.215, 0.700, 0.370),
    "left_socket": (0.720, 0.215, 0.840, 0.370),
    "right_socket": (0.860, 0.215, 0.980, 0.370),
    "left_eye": (0.010, 0.010, 0.200, 0.200),
    "right_eye": (0.220, 0.010, 0.410, 0.200),
    "upper_teeth": (0.430, 0.110, 0.800, 0.200),
    "lower_teeth": (0.430, 0.010, 0.800, 0.095),
    "tongue": (0.820, 0.010, 0.980, 0.200),
}
"""Where each island goes: left, bottom, right, top; v points up."""

FACE_ZOOM = 3.0
"""How much larger the middle of the face is drawn than MakeHuman draws it, next to the rim."""

NOSE_UV = (0.868, 0.4836)
"""Where the nose is in MakeHuman's texture, the centre of the enlargement."""


def into_box(uv: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Stretch coordinates to fill a box."""
    low, high = uv.min(0), uv.max(0)
    corner, opposite = np.array(box[:2]), np.array(box[2:])
    return corner + (uv - low) / (high - low) * (opposite - corner)


def _enlarge_middle(uv: np.ndarray) -> np.ndarray:
    """A radial map that grows the neighbourhood of the nose and never folds.

    Radius r becomes r (1 + a) / (1 + a r / r_max), which is increasing for every a >= 0.
    """
    offset = uv - np.array(NOSE_UV)
    radius = np.linalg.norm(offset, axis=1, keepdims=True)
    return offset * FACE_ZOOM / (1 + (FACE_ZOOM - 1) * radius / radius.max())


def skin_islands(uv: np.ndarray, uv_faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lay out the skin's islands anew.

    Args:
        uv: (t, 2) MakeHuman's coordinates.
        uv_faces: (f, 3).

    Returns:
        The new coordinates, and the island's name for each of them.
    """
    edges = np.concatenate([uv_faces[:, [0, 1]], uv_faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges)), edges.T), shape=(len(uv), len(uv)))
    _, label = connected_components(graph, directed=False)
    names = np.full(len(uv), "", dtype="U16")
    out = np.zeros_like(uv)
    for k in range(label.max() + 1):
        part = label == k
        x, y = uv[part].mean(0)
        if part.sum() > 1500:
            name = "face"
        elif x > 0.6:
            name = "mouth"
        elif y > 0.8:
            name = "neck"
        else:
            # MakeHuman's right socket, at negative x, is the one nearer to the left border.
            name = "right_socket" if x < 0.08 else "left_socket"
        names[part] = name
        if name == "face":
            x, y = _enlarge_middle(uv[part]).T
            # MakeHuman lays the face on its side; a quarter turn puts the crown on top.
            turned = np.stack([y, -x], axis=1)
        else:
            turned = uv[part]
        out[part] = into_box(turned, ISLAND_BOXES[name])
    return out, names
