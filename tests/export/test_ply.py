"""PLY files, read back by trimesh."""

import numpy as np
import pytest
import trimesh

from face3d.core import InputError, Topology
from face3d.export import write_ply


def _load(path) -> trimesh.Trimesh:
    return trimesh.load_mesh(path, process=False, maintain_order=True, fix_texture=False)


@pytest.fixture(scope="module")
def colors(character) -> np.ndarray:
    rng = np.random.default_rng(2)
    return rng.integers(0, 256, character.vertices.shape, dtype=np.uint8)


def test_round_trip(tmp_path, character):
    write_ply(tmp_path / "a.ply", character.vertices, character.topology)
    mesh = _load(tmp_path / "a.ply")
    np.testing.assert_array_equal(mesh.vertices.astype(np.float32), character.vertices)
    np.testing.assert_array_equal(mesh.faces, character.topology.faces)


def test_colors(tmp_path, character, colors):
    write_ply(tmp_path / "a.ply", character.vertices, character.topology, colors_srgb=colors)
    mesh = _load(tmp_path / "a.ply")
    np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], colors)


def test_texture_coordinates(tmp_path, character, colors):
    topology = character.topology
    write_ply(tmp_path / "a.ply", character.vertices, topology, colors_srgb=colors, with_uv=True)
    mesh = _load(tmp_path / "a.ply")
    own = len(character.vertices)
    assert len(mesh.vertices) == own + 25
    np.testing.assert_array_equal(mesh.vertices[:own].astype(np.float32), character.vertices)
    np.testing.assert_allclose(mesh.triangles, character.vertices[topology.faces], atol=1e-8)
    data = mesh.metadata["_ply_raw"]["vertex"]["data"]
    uv = np.stack([data["s"], data["t"]], -1)
    expected = topology.uv[topology.uv_faces]
    np.testing.assert_allclose(uv[mesh.faces], expected, atol=1e-7)
    read = np.stack([data["red"], data["green"], data["blue"]], -1)
    np.testing.assert_array_equal(read[mesh.faces], colors[topology.faces])


def test_header_says_unit_and_axes(tmp_path, character):
    write_ply(tmp_path / "a.ply", character.vertices, character.topology)
    header = (tmp_path / "a.ply").read_bytes().split(b"end_header")[0]
    assert b"comment metres, +y up" in header


def test_same_input_same_bytes(tmp_path, character):
    for name in ("a.ply", "b.ply"):
        write_ply(tmp_path / name, character.vertices.astype(np.float64), character.topology)
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()


def test_bad_input(tmp_path, character, colors):
    bare = Topology(faces=character.topology.faces)
    with pytest.raises(InputError, match="no texture coordinates"):
        write_ply(tmp_path / "a.ply", character.vertices, bare, with_uv=True)
    with pytest.raises(InputError, match=r"\.ply"):
        write_ply(tmp_path / "a.stl", character.vertices, bare)
    with pytest.raises(InputError, match="same head"):
        write_ply(tmp_path / "a.ply", character.vertices[:5], bare)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="choose an output folder"):
        write_ply(tmp_path / "file" / "a.ply", character.vertices, bare)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
