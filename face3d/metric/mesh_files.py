"""Vertices and triangles of scans and predictions, as their files hold them."""

import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float, Int

from face3d.core.errors import InputError

MESH_SUFFIXES = (".obj", ".ply", ".stl")

Mesh = tuple[Float[np.ndarray, "vertex 3"], Int[np.ndarray, "face 3"]]


def read_mesh(path: Path) -> Mesh:
    """A mesh in the file's own unit; a scan of points only has no faces.

    OBJ files are read here and not by a general reader: those copy vertices along texture seams,
    and a copy would count twice.

    Raises:
        InputError: The file is missing, of another kind, or damaged.
    """
    if path.suffix.lower() not in MESH_SUFFIXES:
        raise InputError(f"{path} is no mesh; give one that ends in {', '.join(MESH_SUFFIXES)}.")
    if not path.is_file():
        raise InputError(f"There is no file {path}; check the name.")
    try:
        read = _read_obj if path.suffix.lower() == ".obj" else _read_other
        vertices, faces = read(path)
    except Exception as error:
        # The readers let whatever goes wrong inside them through.
        raise InputError(f"{path} cannot be read as a mesh; it may be damaged.") from error
    if not len(vertices):
        raise InputError(f"{path} holds no vertices; give a mesh.")
    if not np.isfinite(vertices).all():
        raise InputError(f"{path} has vertices that are not finite numbers; it is damaged.")
    if faces.size and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise InputError(f"{path} has faces whose corners do not exist; it is damaged.")
    return vertices, faces


def _read_obj(path: Path) -> Mesh:
    """Places of vertices (colours behind them are left out) and polygons as fans."""
    places: list[list[bytes]] = []
    corners: list[tuple[int, int, int]] = []
    for line in path.read_bytes().splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == b"v":
            places.append(words[1:4])
        elif words[0] == b"f":
            index = [int(word.split(b"/", 1)[0]) for word in words[1:]]
            # Indices count from one; negative ones count back from the last vertex so far.
            index = [i - 1 if i > 0 else len(places) + i for i in index]
            corners += [(index[0], a, b) for a, b in itertools.pairwise(index[1:])]
    vertices = np.array(places, dtype=np.float64).reshape(-1, 3)
    return vertices, np.array(corners, dtype=np.int64).reshape(-1, 3)


def _read_other(path: Path) -> Mesh:
    with warnings.catch_warnings(action="ignore"):
        mesh: Any = trimesh.load(path, process=False)
    if path.suffix.lower() == ".stl" and isinstance(mesh, trimesh.Trimesh):
        mesh.merge_vertices()  # the format repeats them for every triangle
    vertices = np.asarray(mesh.vertices, dtype=np.float64)
    faces = np.asarray(getattr(mesh, "faces", np.zeros((0, 3))), dtype=np.int64)
    return vertices, faces.reshape(-1, 3)
