"""Sizes of a head by which glasses and masks are chosen.

The definitions are those of ISO 7250-1 and of the ANSUR II survey, as far as a surface without hair
and without palpating can follow them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import ConvexHull

from face3d.core.checks import require_finite
from face3d.core.errors import InputError
from face3d.model.data import LandmarkEmbedding

PAIRS: dict[str, tuple[int, int]] = {
    "face_width": (234, 454),  # bizygomatic breadth: across the cheekbones' arches
    "nose_width": (64, 294),  # alare to alare: across the wings of the nose
    "jaw_width": (58, 288),  # bigonial breadth: across the angles of the jaw
}
"""mediapipe478: points of the right and of the left side between which a width is taken."""

SELLION_AT, GLABELLA = 168, 9
"""mediapipe478: at the root of the nose, and between the brows."""

MIDLINE, ROOT = 0.043, 0.11
"""Shares of the face's width: vertices nearer to the middle than the first count as on it, and the
nose's root is looked for within the second of its landmark's height."""

MEASUREMENTS = (
    "pupillary_distance", "face_width", "face_height", "nose_width", "jaw_width",
    "head_circumference",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A length and how sure it is."""

    mm: float
    sd_mm: float


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Sizes of one head, at rest.

    Attributes:
        values: By name, see MEASUREMENTS; ``pupillary_distance`` is that of eyes that look into the
            distance, ``face_height`` from the root of the nose (sellion) to under the chin
            (menton), ``head_circumference`` around the scalp, without hair, through glabella and
            the rearmost point.
        missing: Why a size cannot be told, by its name.
    """

    values: Mapping[str, Measurement]
    missing: Mapping[str, str]

    def __getitem__(self, name: str) -> Measurement:
        """One size; the error says why it is missing.

        Raises:
            InputError: There is no such size of this head.
        """
        if name in self.values:
            return self.values[name]
        if name in self.missing:
            raise InputError(f"{name} cannot be measured on this head: {self.missing[name]}.")
        raise InputError(f"There is no size {name!r}; there are {', '.join(MEASUREMENTS)}.")


@dataclass(frozen=True, kw_only=True)
class MeasurableHead:
    """What sizes are taken from: a head at rest, in the head frame.

    Attributes:
        vertices: Metres, or a fit's units.
        faces: Triangles.
        regions: Vertex sets; face, chin, scalp, skin, ears and neck are looked for.
        embedding: The 478 MediaPipe landmarks, or some of them; None if the head has none.
        eye_centres: Left and right, about which the eyeballs turn; None if the head has none.
    """

    vertices: Float[np.ndarray, "vertex 3"]
    faces: Int[np.ndarray, "face 3"]
    regions: Mapping[str, Bool[np.ndarray, "vertex"]]
    embedding: LandmarkEmbedding | None
    eye_centres: Float[np.ndarray, "2 3"] | None

    def landmark(self, number: int) -> Float[np.ndarray, "3"]:
        """One of the 478 points.

        Raises:
            LookupError: The head does not have it.
        """
        place = self.embedding
        if place is None or place.layout != "mediapipe478":
            raise LookupError("the head has no landmarks of the layout mediapipe478")
        found = np.flatnonzero(place.indices == number)
        if not len(found):
            raise LookupError(f"the head's landmarks lack point {number} of mediapipe478")
        corners = self.vertices[self.faces[place.face_index[found[0]]]]
        return place.barycentric[found[0]] @ corners

    def region(self, name: str) -> Bool[np.ndarray, "vertex"]:
        """A vertex set.

        Raises:
            LookupError: The head does not have it.
        """
        if name not in self.regions:
            raise LookupError(f"the head has no region {name!r}")
        return self.regions[name]


def measure_head(head: MeasurableHead) -> tuple[dict[str, float], dict[str, str]]:
    """Take every size that a head can give.

    Args:
        head: The head.

    Returns:
        Lengths by name, in the unit of the vertices; and why others are missing.

    Raises:
        InputError: A vertex is not finite.
    """
    require_finite("vertices", head.vertices)
    takers: dict[str, Callable[[MeasurableHead], float]] = {
        "pupillary_distance": _pupillary_distance,
        "face_height": _face_height,
        "head_circumference": _head_circumference,
    }
    lengths: dict[str, float] = {}
    missing: dict[str, str] = {}
    for name in MEASUREMENTS:
        try:
            if name in PAIRS:
                right, left = (head.landmark(k) for k in PAIRS[name])
                lengths[name] = float(np.linalg.norm(left - right))
            else:
                lengths[name] = takers[name](head)
        except LookupError as error:
            missing[name] = str(error.args[0])
    return lengths, missing


def _pupillary_distance(head: MeasurableHead) -> float:
    """Eyes that look straight ahead have their pupils as far apart as their centres."""
    if head.eye_centres is None:
        raise LookupError("the head has no eye joints")
    return float(np.linalg.norm(head.eye_centres[0] - head.eye_centres[1]))


def _face_height(head: MeasurableHead) -> float:
    """From the deepest point of the nose's root to the lowest of the chin, on the midline."""
    near = head.landmark(SELLION_AT)
    v = head.vertices
    width = float(np.ptp(v[head.region("face"), 0]))
    middle = np.abs(v[:, 0] - near[0]) < MIDLINE * width
    root = head.region("face") & middle & (np.abs(v[:, 1] - near[1]) < ROOT * width)
    chin = head.region("chin") & middle
    if not root.any() or not chin.any():
        raise LookupError("no vertices of the head lie on the midline of nose and chin")
    sellion = v[root][v[root][:, 2].argmin()]
    menton = v[chin][v[chin][:, 1].argmin()]
    return float(np.linalg.norm(sellion - menton))


def _head_circumference(head: MeasurableHead) -> float:
    """Length of a tape around the plane through glabella and the rearmost point."""
    glabella = head.landmark(GLABELLA)
    v = head.vertices
    bald = head.region("skin") & ~head.region("ears") & ~head.region("neck")
    scalp = head.region("scalp") & bald
    if not scalp.any():
        raise LookupError("the head has no scalp")
    rear = v[scalp][np.linalg.norm(v[scalp] - glabella, axis=1).argmax()]
    along = (rear - glabella) * [0.0, 1.0, 1.0]
    along /= np.linalg.norm(along)
    normal = np.cross([1.0, 0.0, 0.0], along)
    height = (v - glabella) @ normal
    edges = head.faces[bald[head.faces].all(1)]
    edges = np.concatenate([edges[:, [0, 1]], edges[:, [1, 2]], edges[:, [2, 0]]])
    a, b = edges.T
    cut = (height[a] > 0) != (height[b] > 0)
    a, b = a[cut], b[cut]
    share = (height[a] / (height[a] - height[b]))[:, None]
    points = v[a] + share * (v[b] - v[a]) - glabella
    flat = np.stack([points[:, 0], points @ along], axis=1)
    if len(flat) < 3:
        raise LookupError("the plane of the tape does not cut the head")
    # Of a plane figure, scipy's "area" is the perimeter.
    return float(ConvexHull(flat).area)
