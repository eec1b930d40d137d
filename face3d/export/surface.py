"""What every exporter does to a surface: checks, normals and seams."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from face3d.core import InputError, Topology
from face3d.core.checks import require_finite
from face3d.export.records import Material


@dataclass(frozen=True, kw_only=True)
class SplitSurface:
    """A surface with one vertex per pair of place and texture coordinate."""

    vertex_of: Int[np.ndarray, "split"]  # the vertex that each one is a copy of
    faces: Int[np.ndarray, "face 3"]
    uv: Float[np.ndarray, "split 2"] | None  # v up


def _require_triangles(name: str, faces: Int[np.ndarray, "..."], count: int) -> None:
    """Raise unless ``faces`` are triangles over ``count`` points."""
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.shape[0] == 0:
        raise InputError(
            f"{name} have shape {faces.shape}; give one row of three indices per triangle."
        )
    if faces.min() < 0 or faces.max() >= count:
        raise InputError(
            f"{name} point from {faces.min()} to {faces.max()} but there are {count} entries; "
            "give faces and vertices of the same head."
        )


def check_surface(vertices: Float[np.ndarray, "..."], topology: Topology) -> None:
    """Raise unless the arrays make a surface that can be written.

    Raises:
        InputError: A shape, an index or a value is wrong; the message says which.
    """
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise InputError(
            f"The vertices have shape {vertices.shape}; give one head as rows of x, y and z."
        )
    require_finite("The array of vertices", vertices.astype(np.float32))
    _require_triangles("The faces", topology.faces, vertices.shape[0])
    uv, uv_faces = topology.uv, topology.uv_faces
    if uv is None and uv_faces is None:
        return
    if uv is None or uv_faces is None:
        raise InputError("Texture coordinates need both uv and uv_faces; give both or none.")
    if uv.ndim != 2 or uv.shape[1] != 2:
        raise InputError(f"The uv have shape {uv.shape}; give rows of u and v.")
    require_finite("The array of texture coordinates", uv.astype(np.float32))
    _require_triangles("The uv_faces", uv_faces, uv.shape[0])
    if uv_faces.shape != topology.faces.shape:
        raise InputError(
            f"There are {uv_faces.shape[0]} uv_faces for {topology.faces.shape[0]} faces; "
            "give one for each."
        )


def image_suffix(texture: bytes) -> str:
    """The file suffix of an encoded picture, ".png" or ".jpg", by its first bytes.

    Raises:
        InputError: It is neither.
    """
    if texture.startswith(b"\x89PNG\r\n\x1a\n"):
        return ".png"
    if texture.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    raise InputError("A texture is neither a PNG nor a JPEG file; encode it as one of these.")


def _require_unit_range(name: str, values: tuple[float, ...]) -> None:
    """Raise unless every value lies in [0, 1]."""
    if not all(0.0 <= value <= 1.0 for value in values):
        raise InputError(f"{name} is {values}; give values between 0 and 1.")


def check_materials(materials: tuple[Material, ...], topology: Topology) -> None:
    """Raise unless the materials share out the faces and can be written.

    Raises:
        InputError: A face has no material or two, a material is empty, or a value is wrong.
    """
    owners = np.zeros(topology.faces.shape[0], dtype=np.int64)
    for material in materials:
        label = f"The material {material.name!r}"
        if material.faces.shape != owners.shape:
            raise InputError(
                f"{label} marks {material.faces.size} faces of {owners.size}; mark every face."
            )
        if not material.faces.any():
            raise InputError(f"{label} has no faces; leave it out.")
        owners += material.faces
        _require_unit_range(f"{label}: its colour", material.base_color_srgb)
        _require_unit_range(f"{label}: its opacity", (material.opacity,))
        _require_unit_range(f"{label}: its roughness", (material.roughness,))
        for texture in (material.texture, material.normal_texture):
            if texture is None:
                continue
            image_suffix(texture)
            if topology.uv is None:
                raise InputError(f"{label} has a texture but the head has no uv; give uv too.")
    wrong = int((owners != 1).sum())
    if wrong:
        raise InputError(
            f"{wrong} of {owners.size} faces have no material or more than one; "
            "give each face exactly one."
        )


def vertex_normals(
    vertices: Float[np.ndarray, "vertex 3"], faces: Int[np.ndarray, "face 3"]
) -> Float[np.ndarray, "vertex 3"]:
    """Smooth unit normals, each the mean of its faces' weighted by their angles at the vertex.

    Weights by angle do not depend on how the surface is cut into triangles (Baerentzen and
    Aanaes, 2005). A vertex without a proper face gets +z, for a normal must have length one.

    Returns:
        float64, as it was summed.
    """
    corners = vertices.astype(np.float64)[faces]
    along = np.roll(corners, -1, axis=1) - corners
    back = np.roll(corners, 1, axis=1) - corners
    cross = np.cross(along[:, 0], back[:, 0])
    length = np.linalg.norm(cross, axis=-1, keepdims=True)
    face_normals = cross / np.where(length == 0, 1.0, length)
    angles = np.arctan2(length, (along * back).sum(-1))
    weighted = face_normals[:, None] * angles[..., None]
    flat, count = faces.reshape(-1), vertices.shape[0]
    sums = [np.bincount(flat, weighted[..., axis].reshape(-1), count) for axis in range(3)]
    normals = np.stack(sums, axis=-1)
    size = np.linalg.norm(normals, axis=-1, keepdims=True)
    fallback = np.array([0.0, 0.0, 1.0])
    return np.where(size < 1e-9, fallback, normals / np.where(size < 1e-9, 1.0, size))


def split_seams(vertex_count: int, topology: Topology) -> SplitSurface:
    """Give each vertex a copy for every further texture coordinate that it is used with.

    The first ``vertex_count`` vertices are the head's own in their order, so that an index of
    the head stays valid; the copies follow, ordered by vertex and then by texture coordinate.
    A vertex in no face keeps its place and gets the coordinate (0, 0). Equal coordinates count
    as one, whichever rows they are in.
    """
    if topology.uv is None or topology.uv_faces is None:
        own = np.arange(vertex_count)
        return SplitSurface(vertex_of=own, faces=topology.faces.astype(np.int64), uv=None)
    uv = topology.uv.astype(np.float32)
    _, first, inverse = np.unique(uv, axis=0, return_index=True, return_inverse=True)
    uv_index = first[inverse.reshape(-1)][topology.uv_faces]
    keys = topology.faces.astype(np.int64) * uv.shape[0] + uv_index
    pairs, corner_pair = np.unique(keys.reshape(-1), return_inverse=True)
    pair_vertex, pair_uv = np.divmod(pairs, uv.shape[0])
    leads = np.zeros(pairs.size, dtype=bool)
    leads[np.unique(pair_vertex, return_index=True)[1]] = True
    place = np.where(leads, pair_vertex, vertex_count + np.cumsum(~leads) - 1)
    vertex_of = np.concatenate([np.arange(vertex_count), pair_vertex[~leads]])
    split_uv = np.zeros((vertex_of.size, 2), dtype=np.float32)
    split_uv[place] = uv[pair_uv]
    faces = place[corner_pair.reshape(-1)].reshape(-1, 3)
    return SplitSurface(vertex_of=vertex_of, faces=faces, uv=split_uv)
