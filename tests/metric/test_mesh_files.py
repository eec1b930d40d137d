from pathlib import Path

import numpy as np
import pytest
import trimesh

from face3d.core.errors import InputError
from face3d.metric import read_mesh

SQUARE = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])


def test_obj_vertices_are_not_split_by_seams_or_spoilt_by_colours(tmp_path: Path):
    path = tmp_path / "a.obj"
    path.write_text(
        "# a scan\nmtllib a.mtl\nv 0 0 0 0.5 0.5 0.5\nv 1 0 0 1 1 1\nv 1 1 0 0 0 0\n"
        "v 0 1 0 0 0 0\nvt 0 0\nvt 1 0\nvt 0.5 0.5\nvn 0 0 1\n"
        "f 1/1/1 2/2/1 3/3/1\nf -4/3 -2/1 -1/2\n"
    )
    vertices, faces = read_mesh(path)
    np.testing.assert_array_equal(vertices, SQUARE)
    np.testing.assert_array_equal(faces, [[0, 1, 2], [0, 2, 3]])
    path.write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4\n")
    np.testing.assert_array_equal(read_mesh(path)[1], [[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize("suffix", ["ply", "stl"])
def test_other_formats(tmp_path: Path, suffix: str):
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    trimesh.Trimesh(SQUARE, faces, process=False).export(tmp_path / f"a.{suffix}")
    vertices, found = read_mesh(tmp_path / f"a.{suffix}")
    assert vertices.shape == (4, 3)
    np.testing.assert_array_equal(vertices[found], SQUARE[faces])


def test_a_scan_may_be_points_only(tmp_path: Path):
    trimesh.PointCloud(SQUARE).export(tmp_path / "a.ply")
    vertices, faces = read_mesh(tmp_path / "a.ply")
    np.testing.assert_array_equal(vertices, SQUARE)
    assert faces.shape == (0, 3)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.fbx", b"", "no mesh"),
        ("a.obj", b"", "no vertices"),
        ("a.obj", b"v 1 2\nv 1 2 3\n", "damaged"),
        ("a.obj", b"v 1 2 x\n", "damaged"),
        ("a.obj", b"v 1 2 nan\n", "finite"),
        ("a.obj", b"v 1 2 3\nf 1 2 3\n", "do not exist"),
        ("a.obj", b"v 1 2 3\nf a b c\n", "damaged"),
        ("a.ply", b"ply\nformat", "damaged"),
        ("a.stl", b"solid", "damaged|no vertices"),
    ],
)
def test_bad_files_are_said(tmp_path: Path, name: str, content: bytes, says: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_mesh(tmp_path / name)


def test_a_missing_file_is_said(tmp_path: Path):
    with pytest.raises(InputError, match="no file"):
        read_mesh(tmp_path / "none.obj")
