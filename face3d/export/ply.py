"""Binary PLY: a surface for measuring and scanning tools."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from face3d.core import InputError, Topology
from face3d.core.version import __version__
from face3d.export.files import require_suffix, write_file
from face3d.export.surface import check_surface, split_seams

_TYPES = {"<f4": "float", "|u1": "uchar"}


def write_ply(
    path: Path,
    vertices: Float[np.ndarray, "vertex 3"],
    topology: Topology,
    *,
    colors_srgb: UInt8[np.ndarray, "vertex 3"] | None = None,
    with_uv: bool = False,
) -> None:
    """Write a surface as little-endian binary PLY.

    Args:
        path: The .ply file to create or replace.
        vertices: Metres; PLY states no unit, so a comment does.
        topology: Faces and, where ``with_uv`` asks for them, texture coordinates.
        colors_srgb: One colour per vertex.
        with_uv: Whether vertices carry texture coordinates as s and t, v up. The first vertices
            are then still the head's in their order; copies along the seams follow.

    Raises:
        InputError: The parts do not fit together, or the file cannot be written.

    Example:
        >>> write_ply(Path("scan.ply"), vertices, data.topology)
    """
    require_suffix(path, ".ply")
    check_surface(vertices, topology)
    if colors_srgb is not None and colors_srgb.shape != vertices.shape:
        raise InputError(
            f"The colours have shape {colors_srgb.shape} but the vertices {vertices.shape}; "
            "give one colour per vertex."
        )
    if with_uv and topology.uv is None:
        raise InputError("The head has no texture coordinates; write it without them.")
    surface = split_seams(
        vertices.shape[0], topology if with_uv else Topology(faces=topology.faces)
    )
    columns = list(zip("xyz", vertices.astype("<f4").T, strict=True))
    if colors_srgb is not None:
        columns += zip(("red", "green", "blue"), colors_srgb.T, strict=True)
    # The split coordinates are already one per row; all other columns are per vertex.
    columns = [(name, values[surface.vertex_of]) for name, values in columns]
    if surface.uv is not None:
        columns += zip("st", surface.uv.astype("<f4").T, strict=True)
    table = np.rec.fromarrays(
        [values for _, values in columns], dtype=[(n, v.dtype.str) for n, v in columns]
    )
    faces = np.zeros(surface.faces.shape[0], dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, surface.faces
    header = [
        *("ply", "format binary_little_endian 1.0", f"comment face3d {__version__}"),
        *("comment metres, +y up, +z out of the face", f"element vertex {table.shape[0]}"),
        *(f"property {_TYPES[values.dtype.str]} {name}" for name, values in columns),
        *(f"element face {faces.shape[0]}", "property list uchar int vertex_indices"),
        "end_header",
    ]
    write_file(path, ("\n".join(header) + "\n").encode() + table.tobytes() + faces.tobytes())
