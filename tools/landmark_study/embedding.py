"""Where on the head's surface a detector's landmarks lie."""

import numpy as np
from scipy.spatial import cKDTree

from face3d.core.landmarks import LEFT_IRIS, RIGHT_IRIS
from face3d.model.data import HeadData, LandmarkEmbedding

IBUG68_FROM_MEDIAPIPE = (
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 6, 195, 4, 98, 97, 2, 326, 327,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 81, 13, 311, 308, 402, 14, 178,
)  # fmt: skip
"""For each iBUG point the MediaPipe point at the same place of the face."""

UPPER_LIP = (
    185, 40, 39, 37, 0, 267, 269, 270, 409, 184, 74, 73, 72, 11, 302, 303, 304, 408,
    183, 42, 41, 38, 12, 268, 271, 272, 407, 191, 80, 81, 82, 13, 312, 311, 310, 415,
)  # fmt: skip
LOWER_LIP = (
    146, 91, 181, 84, 17, 314, 405, 321, 375, 77, 90, 180, 85, 16, 315, 404, 320, 307,
    96, 89, 179, 86, 15, 316, 403, 319, 325, 95, 88, 178, 87, 14, 317, 402, 318, 324,
)  # fmt: skip
"""MediaPipe's lips without their corners. In a closed mouth the inner ones of both coincide, so the
lip that each belongs to must be said."""

IRISES = (*LEFT_IRIS, *RIGHT_IRIS)


def geometric_median(points: np.ndarray, rounds: int = 30) -> np.ndarray:
    """The point with the least sum of distances (Weiszfeld's iteration)."""
    centre = np.median(points, axis=0)
    for _ in range(rounds):
        distance = np.maximum(np.linalg.norm(points - centre, axis=1), 1e-5)
        centre = (points / distance[:, None]).sum(0) / (1 / distance).sum()
    return centre


def nearest_on_surface(
    points: np.ndarray, vertices: np.ndarray, faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest place on a mesh: face index (n,) and barycentric coordinates (n, 3).

    Candidates are the faces around the 12 nearest vertices, which suffices for points that lie
    within an edge's length of the surface.
    """
    around: dict[int, list[int]] = {}
    for index, face in enumerate(faces):
        for vertex in face:
            around.setdefault(int(vertex), []).append(index)
    used = np.unique(faces)
    _, nearest = cKDTree(vertices[used]).query(points, k=12)
    face_index = np.zeros(len(points), dtype=np.int64)
    barycentric = np.zeros((len(points), 3))
    for k, point in enumerate(points):
        candidates = np.unique([f for v in used[nearest[k]] for f in around[int(v)]])
        bary = _closest_in_triangles(point, vertices[faces[candidates]])
        places = (vertices[faces[candidates]] * bary[..., None]).sum(1)
        best = np.linalg.norm(places - point, axis=1).argmin()
        face_index[k], barycentric[k] = candidates[best], bary[best]
    return face_index, barycentric


def _closest_in_triangles(point: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentric coordinates (f, 3) of the closest point in each triangle (f, 3, 3)."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    e0, e1, d = b - a, c - a, point - a
    aa, ab, bb = (e0 * e0).sum(1), (e0 * e1).sum(1), (e1 * e1).sum(1)
    p, q = (e0 * d).sum(1), (e1 * d).sum(1)
    det = np.maximum(aa * bb - ab * ab, 1e-18)
    s, t = (bb * p - ab * q) / det, (aa * q - ab * p) / det
    inside = (s >= 0) & (t >= 0) & (s + t <= 1)
    options = []
    for first, edge, slots in ((a, e0, (0, 1)), (a, e1, (0, 2)), (b, c - b, (1, 2))):
        along = ((point - first) * edge).sum(1) / np.maximum((edge * edge).sum(1), 1e-18)
        along = np.clip(along, 0, 1)
        bary = np.zeros((len(corners), 3))
        bary[:, slots[0]], bary[:, slots[1]] = 1 - along, along
        options.append(bary)
    distances = [
        np.linalg.norm((corners * bary[..., None]).sum(1) - point, axis=1) for bary in options
    ]
    edge_choice = np.stack(options)[np.argmin(distances, axis=0), np.arange(len(corners))]
    return np.where(inside[:, None], np.stack([1 - s - t, s, t], axis=1), edge_choice)


def mirror_landmarks(points: np.ndarray) -> np.ndarray:
    """The mirror partner of each landmark, as a consistent pairing, from places on a head."""
    mirrored = points * [-1, 1, 1]
    cost = np.linalg.norm(mirrored[:, None] - points[None], axis=2)
    partner = cost.argmin(1)
    if not (partner[partner] == np.arange(len(points))).all():
        from scipy.optimize import linear_sum_assignment

        _, partner = linear_sum_assignment(cost + cost.T)
    return partner


def _part(landmark: int) -> str:
    """Which faces a landmark may lie on."""
    if landmark in IRISES:
        return "eyes"
    if landmark in UPPER_LIP:
        return "upper"
    return "lower" if landmark in LOWER_LIP else "skin"


def _allowed_faces(data: HeadData) -> dict[str, np.ndarray]:
    """Faces by part; the lower lip is the skin that jawOpen takes along."""
    opened = data.expression_basis[..., data.expression_names.index("jawOpen")]
    travel = np.linalg.norm(opened, axis=1)
    hangs = travel > 0.5 * travel[data.regions["lower_teeth"]].max()
    skin = data.regions["skin"][data.faces].all(1)
    return {
        "skin": skin,
        "eyes": data.regions["eyes"][data.faces].all(1),
        "upper": skin & ~hangs[data.faces].any(1),
        "lower": skin & hangs[data.faces].all(1),
    }


def embed(
    data: HeadData, observed: dict[str, np.ndarray], *, most_yaw_rad: float = 0.6
) -> tuple[LandmarkEmbedding, np.ndarray]:
    """Average the places where the detector puts each landmark on many heads.

    A place on the surface means the same on every head and in every expression, so places found
    on different heads are averaged on the mean head at rest.

    Returns:
        The symmetric embedding, and the mirror partner of each landmark.
    """
    frontal = np.abs(observed["yaw_pitch_rad"][:, 0]) < most_yaw_rad
    faces, bary = observed["hit_face"][frontal], observed["hit_bary"][frontal]
    places = (data.v_template[data.faces[np.maximum(faces, 0)]] * bary[..., None]).sum(2)
    allowed = _allowed_faces(data)
    count = faces.shape[1]
    points = np.zeros((count, 3))
    for k in range(count):
        part = allowed[_part(k)]
        good = (faces[:, k] >= 0) & part[np.maximum(faces[:, k], 0)]
        points[k] = geometric_median(places[good, k])
    partner = mirror_landmarks(points)
    points = 0.5 * (points + points[partner] * [-1, 1, 1])
    face_index = np.zeros(count, dtype=np.int64)
    barycentric = np.zeros((count, 3))
    part_of = np.array([_part(k) for k in range(count)])
    for part, faces_of_part in allowed.items():
        chosen = part_of == part
        subset = np.flatnonzero(faces_of_part)
        index, weight = nearest_on_surface(points[chosen], data.v_template, data.faces[subset])
        face_index[chosen], barycentric[chosen] = subset[index], weight
    embedding = LandmarkEmbedding(
        layout="mediapipe478",
        indices=np.arange(count),
        face_index=face_index,
        barycentric=barycentric,
    )
    return embedding, partner


def ibug68_from_mediapipe(embedding: LandmarkEmbedding) -> LandmarkEmbedding:
    """The 68 points at the MediaPipe points of the same meaning."""
    picked = list(IBUG68_FROM_MEDIAPIPE)
    return LandmarkEmbedding(
        layout="ibug68",
        indices=np.arange(len(picked)),
        face_index=embedding.face_index[picked],
        barycentric=embedding.barycentric[picked],
    )
