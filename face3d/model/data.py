"""What a head file holds, whichever format it came in."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from face3d.core.types import Topology


@dataclass(frozen=True, kw_only=True)
class LandmarkEmbedding:
    """Points of a landmark layout as places on a head's surface."""

    layout: str  # a name of face3d.core.landmarks
    indices: Int[np.ndarray, "landmark"]  # which points of the layout, ascending
    face_index: Int[np.ndarray, "landmark"]
    barycentric: Float[np.ndarray, "landmark 3"]


@dataclass(frozen=True, kw_only=True)
class HeadData:
    """A linear head with joints, in FLAME's meaning (Li et al., 2017, eq. 1-5), in metres.

    The joint order is FLAME's where a head has them: root, neck, jaw, left eye, right eye; the
    skull hangs on the joint that carries the eyes.
    """

    name: str
    licence: str
    v_template: Float[np.ndarray, "vertex 3"]
    faces: Int[np.ndarray, "face 3"]
    identity_basis: Float[np.ndarray, "vertex 3 identity"]  # one standard deviation each
    expression_basis: Float[np.ndarray, "vertex 3 expression"]
    pose_basis: Float[np.ndarray, "vertex 3 pose"]  # nine per joint after the root, R - I
    joint_regressor: Float[np.ndarray, "joint vertex"]
    parents: Int[np.ndarray, "joint"]  # -1 for the root
    joint_names: tuple[str, ...]  # from root, neck, jaw, left_eye, right_eye
    skinning_weights: Float[np.ndarray, "vertex joint"]
    expression_names: tuple[str, ...]
    uv: Float[np.ndarray, "texcoord 2"] | None = None
    uv_faces: Int[np.ndarray, "face 3"] | None = None
    regions: Mapping[str, Bool[np.ndarray, "vertex"]] = field(default_factory=dict)
    symmetry: Int[np.ndarray, "vertex"] | None = None  # mirror partner of each vertex
    embeddings: Mapping[str, LandmarkEmbedding] = field(default_factory=dict)
    identity_axes: Mapping[str, Float[np.ndarray, "identity"]] = field(default_factory=dict)

    @property
    def topology(self) -> Topology:
        """Faces, texture coordinates and regions, as meshes carry them."""
        return Topology(faces=self.faces, uv=self.uv, uv_faces=self.uv_faces, regions=self.regions)
