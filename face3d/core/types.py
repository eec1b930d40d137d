"""The records that stages hand to each other.

All records are frozen and take keywords only. Leading axes are free: a record of one face has
none, a batch has one, a sequence has time first. Units are metres, seconds and radians; left and
right are the subject's.

Frames:
    head: +x to the subject's left, +y up, +z out of the face, origin where the skull turns on the
        neck (the axes of glTF and of FLAME).
    world: any right-handed metric frame; a photo's world is its camera frame.
    camera: OpenCV's, +x right, +y down, +z forward; pixel centres at half integers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture of a photo or video."""

    rgb: UInt8[np.ndarray, "h w 3"]  # sRGB, upright (EXIF orientation already applied)
    time_s: float = 0.0
    index: int = 0
    focal_equivalent_mm: float | None = None  # from EXIF; compares diagonals, see core.camera
    subject_distance_m: float | None = None  # from EXIF
    source: str = ""  # what to call this picture in messages


@dataclass(frozen=True, kw_only=True)
class Detection:
    """Faces found in one picture, or one of them."""

    box_xyxy: Float[np.ndarray, "*batch 4"]  # px in the full image
    landmarks: Float[np.ndarray, "*batch landmark xyz"]  # px in the full image; z scaled like x
    layout: str  # a name of face3d.core.landmarks
    score: Float[np.ndarray, "*batch"]
    visibility: Float[np.ndarray, "*batch landmark"]  # 0 hidden or outside the picture, 1 seen


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A square cut out of a picture for a network."""

    image: Float[Tensor, "*batch 3 s s"]  # in [0, 1]
    crop_from_image: Float[Tensor, "*batch 3 3"]  # homogeneous pixel coordinates


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera with OpenCV axes; pixel centres lie at half integers."""

    fx: Float[Tensor, "*batch"]  # px
    fy: Float[Tensor, "*batch"]  # px
    cx: Float[Tensor, "*batch"]  # px
    cy: Float[Tensor, "*batch"]  # px
    width: int
    height: int
    camera_from_world: Float[Tensor, "*batch 4 4"]


@dataclass(frozen=True, kw_only=True)
class HeadParams:
    """What a head model needs to make vertices, and where the head is."""

    shape: Float[Tensor, "*batch identity"]  # standard deviations of the population
    expression: Float[Tensor, "*batch expression"]
    neck: Float[Tensor, "*batch 3"]  # axis-angle
    jaw: Float[Tensor, "*batch 3"]  # axis-angle
    eyes: Float[Tensor, "*batch 2 3"]  # axis-angle, left then right
    world_from_head: Float[Tensor, "*batch 4 4"]  # metres


@dataclass(frozen=True, kw_only=True)
class Topology:
    """What meshes of one head share."""

    faces: Int[np.ndarray, "face 3"]
    uv: Float[np.ndarray, "texcoord 2"] | None = None  # v up, as in OBJ
    uv_faces: Int[np.ndarray, "face 3"] | None = None
    regions: Mapping[str, Bool[np.ndarray, "vertex"]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HeadMesh:
    """A head's surface."""

    vertices: Float[Tensor, "*batch vertex 3"]  # metres
    frame: str  # "head" or "world"
    topology: Topology


@dataclass(frozen=True, kw_only=True)
class MeshSequence:
    """A surface that moves; the first axis of ``mesh.vertices`` is time."""

    mesh: HeadMesh
    fps: Fraction
    start_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Fragments:
    """What a rasterizer saw at each pixel."""

    face_index: Int[Tensor, "*batch h w"]  # -1 where there is nothing
    barycentric: Float[Tensor, "*batch h w 3"]  # perspective-correct; zero where nothing
    depth_m: Float[Tensor, "*batch h w"]  # camera z; infinity where nothing


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """A head fitted to observations."""

    params: HeadParams
    camera: Camera
    energies: Mapping[str, Float[Tensor, "*batch"]]  # by name, at the solution
    # Means over the landmarks that were used: from where the detector should see them, its
    # calibrated bias counted, and from their bare projection.
    landmark_error_px: Float[Tensor, "*batch"]
    reprojection_error_px: Float[Tensor, "*batch"]
    converged: Bool[Tensor, "*batch"]
    iterations: Int[Tensor, "*batch"]
    standard_deviation: Mapping[str, Float[Tensor, "..."]]  # by parameter, its own unit
