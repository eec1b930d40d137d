"""Wavefront OBJ with its material file and pictures: a head at rest, for any modelling tool."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from face3d.core import InputError, Topology
from face3d.core.version import __version__
from face3d.export.files import require_suffix, write_files
from face3d.export.records import Material
from face3d.export.surface import check_materials, check_surface, image_suffix, vertex_normals


def write_obj(
    path: Path,
    vertices: Float[np.ndarray, "vertex 3"],
    topology: Topology,
    *,
    materials: tuple[Material, ...] = (),
    licence: str = "",
) -> tuple[Path, ...]:
    """Write a surface as OBJ, and its materials next to it if it has any.

    For ``head.obj`` the material file is ``head.mtl`` and each picture ``head_<material>.png``
    (or .jpg, as it came). Vertices keep their order; the nine digits of each number give the
    same float32 back. The .obj is written last, so where it is new, everything it names exists.

    Args:
        path: The .obj file to create or replace.
        vertices: Metres; OBJ states no unit, so a comment does.
        topology: Faces and, where there are any, texture coordinates.
        materials: Each face belongs to exactly one; none at all writes a bare surface.
        licence: Goes into a comment.

    Returns:
        The files that were written, the .obj last.

    Raises:
        InputError: The parts do not fit together, or a file cannot be written.

    Example:
        >>> write_obj(Path("head.obj"), vertices, data.topology)
    """
    require_suffix(path, ".obj")
    check_surface(vertices, topology)
    if materials:
        check_materials(materials, topology)
    names = _plain_names(materials)
    # Readers split these names at blanks, and quoting is not part of the format.
    stem = re.sub(r"\s+", "_", path.stem)
    texts: list[str] = [_header(licence)]
    companions: dict[Path, bytes] = {}
    if materials:
        pictures = _pictures(path.with_name(stem), materials, names)
        companions = {file: data for maps in pictures for file, data in maps.values()}
        library = path.with_name(f"{stem}.mtl")
        companions[library] = _library(materials, names, pictures).encode()
        texts.append(f"mtllib {library.name}\n")
    texts.extend(_points(vertices, topology))
    if materials:
        for name, material in zip(names, materials, strict=True):
            # The group lets tools without materials tell eyes and teeth from skin.
            texts.append(f"g {name}\nusemtl {name}\n")
            texts.append(_faces(topology, np.flatnonzero(material.faces)))
    else:
        texts.append(_faces(topology, np.arange(topology.faces.shape[0])))
    write_files({path: "".join(texts).encode(), **companions})
    return (*companions, path)


def _plain_names(materials: tuple[Material, ...]) -> list[str]:
    """Material names as one word each, fit for a file name too."""
    names = [re.sub(r"[^\w.-]+", "_", material.name) for material in materials]
    if len(set(names)) != len(names) or "" in names:
        raise InputError(f"The materials would be called {names} in the OBJ; give unlike names.")
    return names


def _header(licence: str) -> str:
    """Comments: what OBJ has no place for."""
    lines = [f"# face3d {__version__}", "# metres, +y up, +z out of the face"]
    lines.extend(f"# {line}" for line in licence.splitlines())
    return "\n".join(lines) + "\n"


_Maps = dict[str, tuple[Path, bytes]]
"""Statements of a material file, with the picture that each names."""


def _pictures(base: Path, materials: tuple[Material, ...], names: list[str]) -> list[_Maps]:
    """The pictures of each material; equal ones share the first's file."""
    found: list[_Maps] = []
    known: dict[bytes, Path] = {}
    for name, material in zip(names, materials, strict=True):
        maps: _Maps = {}
        # "norm" is the PBR extension's; map_Bump is a height to some readers.
        for statement, ending, data in (
            ("map_Kd", "", material.texture), ("norm", "_normal", material.normal_texture),
        ):  # fmt: skip
            if data is not None:
                own = base.with_name(f"{base.name}_{name}{ending}{image_suffix(data)}")
                maps[statement] = (known.setdefault(data, own), data)
        found.append(maps)
    return found


def _library(materials: tuple[Material, ...], names: list[str], pictures: list[_Maps]) -> str:
    """The material file; Pr is the roughness of the PBR extension, Ns the old exponent."""
    lines: list[str] = []
    for name, material, maps in zip(names, materials, pictures, strict=True):
        # The Blinn-Phong exponent whose lobe is as wide as a GGX lobe (Walter et al., 2007).
        exponent = min(1000.0, max(0.0, 2 / max(material.roughness, 1e-2) ** 4 - 2))
        red, green, blue = material.base_color_srgb
        lines += [f"newmtl {name}", "Ka 0 0 0", f"Kd {red:.6g} {green:.6g} {blue:.6g}"]
        lines += ["Ks 0.04 0.04 0.04", f"Ns {exponent:.6g}", f"d {material.opacity:.6g}"]
        lines += ["illum 2", f"Pr {material.roughness:.6g}"]
        lines += [f"{statement} {file.name}" for statement, (file, _) in maps.items()]
    return "\n".join(lines) + "\n"


def _points(vertices: Float[np.ndarray, "vertex 3"], topology: Topology) -> Iterator[str]:
    """The v, vt and vn lines."""
    places = vertices.astype(np.float32)
    yield from (f"v {x:.9g} {y:.9g} {z:.9g}\n" for x, y, z in places.tolist())
    if topology.uv is not None:
        coordinates = topology.uv.astype(np.float32).tolist()
        yield from (f"vt {u:.9g} {v:.9g}\n" for u, v in coordinates)
    normals = vertex_normals(vertices, topology.faces)
    yield from (f"vn {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in normals.tolist())


def _faces(topology: Topology, chosen: Int[np.ndarray, "chosen"]) -> str:
    """The f lines of some faces; OBJ counts from one."""
    places = (topology.faces[chosen] + 1).tolist()
    if topology.uv_faces is None:
        return "".join(f"f {a}//{a} {b}//{b} {c}//{c}\n" for a, b, c in places)
    coordinates = (topology.uv_faces[chosen] + 1).tolist()
    return "".join(
        f"f {a}/{s}/{a} {b}/{t}/{b} {c}/{u}/{c}\n"
        for (a, b, c), (s, t, u) in zip(places, coordinates, strict=True)
    )
