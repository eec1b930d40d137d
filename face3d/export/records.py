"""What the exporters take: plain arrays, whichever fit or model they came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from face3d.core import Topology


@dataclass(frozen=True, kw_only=True)
class Material:
    """How a group of faces looks."""

    name: str
    faces: Bool[np.ndarray, "face"]  # the faces that have it
    base_color_srgb: tuple[float, float, float] = (1.0, 1.0, 1.0)  # in [0, 1]; tints the texture
    opacity: float = 1.0  # 0 is invisible
    texture: bytes | None = None  # a whole PNG or JPEG file, sRGB
    normal_texture: bytes | None = None  # likewise, tangent space, OpenGL's way (+y up)
    roughness: float = 0.5  # 0 is a mirror, 1 is chalk
    double_sided: bool = False


@dataclass(frozen=True, kw_only=True)
class GlbCharacter:
    """A head that an artist's tool can pose and animate.

    The morphs act first and the joints after them, as in glTF and in FLAME (Li et al., 2017).
    Only the faces and the texture coordinates of the topology are used.
    """

    name: str
    vertices: Float[np.ndarray, "vertex 3"]  # at rest, metres, head frame
    topology: Topology
    materials: tuple[Material, ...]  # every face belongs to exactly one
    joint_names: tuple[str, ...]
    joint_parents: Int[np.ndarray, "joint"]  # -1 for a root; parents before their children
    joint_places: Float[np.ndarray, "joint 3"]  # at rest, metres, head frame
    skinning_weights: Float[np.ndarray, "vertex joint"]
    joint_rotations: Float[np.ndarray, "joint 3"] | None = None  # the pose the file opens in
    morph_names: tuple[str, ...] = ()
    morph_deltas: Float[np.ndarray, "morph vertex 3"] | None = None  # metres at weight one
    morph_weights: Float[np.ndarray, "morph"] | None = None  # what the file opens with; zero
    world_from_head: Float[np.ndarray, "4 4"] | None = None  # rigid, metres; the identity
    licence: str = ""
    copyright: str = ""


@dataclass(frozen=True, kw_only=True)
class GlbAnimation:
    """Curves over time for a GlbCharacter; a track that is None stays as the file opens."""

    times_s: Float[np.ndarray, "time"]  # not negative, increasing
    name: str = "take"
    morph_weights: Float[np.ndarray, "time morph"] | None = None
    joint_rotations: Float[np.ndarray, "time joint 3"] | None = None  # axis-angle about the parent
    world_from_head: Float[np.ndarray, "time 4 4"] | None = None  # rigid, metres
    extras: Mapping[str, str | int | float] = field(default_factory=dict)  # frame rate, time code
