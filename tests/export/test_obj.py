"""OBJ files, read by hand and by trimesh."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from face3d.core import InputError, Topology
from face3d.export import Material, write_obj


def _rows(path: Path, mark: str) -> list[list[str]]:
    lines = [line.split() for line in path.read_text().splitlines()]
    return [words[1:] for words in lines if words and words[0] == mark]


def test_numbers_come_back_equal(tmp_path, character):
    path = tmp_path / "head.obj"
    topology = character.topology
    write_obj(path, character.vertices, topology, materials=character.materials)
    read = np.array(_rows(path, "v"), dtype=np.float32)
    np.testing.assert_array_equal(read, character.vertices)
    uv = np.array(_rows(path, "vt"), dtype=np.float32)
    np.testing.assert_array_equal(uv, topology.uv.astype(np.float32))
    normals = np.array(_rows(path, "vn"), dtype=np.float64)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=2e-6)
    corners = [[word.split("/") for word in row] for row in _rows(path, "f")]
    table = np.array(corners, dtype=int) - 1
    order = np.concatenate([np.flatnonzero(m.faces) for m in character.materials])
    np.testing.assert_array_equal(table[..., 0], topology.faces[order])
    np.testing.assert_array_equal(table[..., 1], topology.uv_faces[order])
    np.testing.assert_array_equal(table[..., 2], topology.faces[order])


def test_names_derive_from_the_obj(tmp_path, character, tools):
    path = tmp_path / "my head.obj"
    files = write_obj(path, character.vertices, character.topology, materials=character.materials)
    assert [f.name for f in files] == ["my_head_skin.png", "my_head.mtl", "my head.obj"]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert files[0].read_bytes() == tools.PNG
    library = files[1].read_text().split("newmtl ")[1:]
    assert [part.split("\n")[0] for part in library] == ["skin", "back_side"]
    assert "map_Kd my_head_skin.png\n" in library[0]
    assert "map_Kd" not in library[1]
    assert "Kd 0.5 0.02 1\n" in library[1]
    assert _rows(path, "mtllib") == [["my_head.mtl"]]
    assert _rows(path, "usemtl") == _rows(path, "g") == [["skin"], ["back_side"]]


def test_trimesh_opens_it(tmp_path, character):
    path = tmp_path / "head.obj"
    write_obj(path, character.vertices, character.topology, materials=character.materials)
    scene = trimesh.load_scene(path, process=False)
    meshes = {mesh.visual.material.name: mesh for mesh in scene.geometry.values()}
    assert set(meshes) == {"skin", "back_side"}
    for material, name in zip(character.materials, ("skin", "back_side")):
        expected = character.vertices[character.topology.faces[material.faces]]
        np.testing.assert_allclose(meshes[name].triangles, expected, atol=1e-8)
        uv = character.topology.uv[character.topology.uv_faces[material.faces]]
        read = meshes[name].visual.uv[meshes[name].faces]
        np.testing.assert_allclose(read, uv, atol=1e-7)
    assert meshes["skin"].visual.material.image is not None
    assert meshes["back_side"].visual.material.image is None


def test_bare_surface(tmp_path, character):
    path = tmp_path / "head.obj"
    topology = Topology(faces=character.topology.faces)
    assert write_obj(path, character.vertices, topology, licence="CC0\nno rights") == (path,)
    text = path.read_text()
    assert "# CC0\n# no rights\n" in text
    assert "mtllib" not in text
    mesh = trimesh.load_mesh(path, process=False, maintain_order=True)
    np.testing.assert_array_equal(mesh.faces, topology.faces)
    np.testing.assert_allclose(mesh.vertices, character.vertices, atol=1e-9)


def test_same_input_same_bytes(tmp_path, character):
    texts = []
    for folder in ("a", "b"):
        path = tmp_path / folder / "head.obj"
        write_obj(path, character.vertices, character.topology, materials=character.materials)
        texts.append([f.read_bytes() for f in sorted(path.parent.iterdir())])
    assert texts[0] == texts[1]


@pytest.mark.parametrize("fails_at", [0, 1, 2])
def test_the_obj_appears_last(tmp_path, character, monkeypatch, fails_at):
    written = []
    original = Path.write_bytes

    def full(self, data):
        if len(written) == fails_at:
            raise OSError(28, "No space left on device")
        written.append(self.suffix)
        return original(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    path = tmp_path / "head.obj"
    with pytest.raises(InputError, match="No space left"):
        write_obj(path, character.vertices, character.topology, materials=character.materials)
    assert not list(tmp_path.iterdir())


def test_names_that_become_equal_are_refused(tmp_path, character):
    first, second = character.materials
    alike = (replace(first, name="back_side"), second)
    with pytest.raises(InputError, match="unlike names"):
        write_obj(tmp_path / "a.obj", character.vertices, character.topology, materials=alike)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../skin", "a/b", "eye (left)"])
def test_material_name_cannot_leave_the_folder(tmp_path, character, tools, name):
    every = np.ones(len(character.topology.faces), bool)
    material = Material(name=name, faces=every, texture=tools.PNG)
    path = tmp_path / "in" / "a.obj"
    files = write_obj(path, character.vertices, character.topology, materials=(material,))
    assert {f.parent for f in files} == {path.parent}
    assert list(tmp_path.iterdir()) == [path.parent]


def test_bad_input(tmp_path, character, bad):
    with pytest.raises(InputError, match=r"\.obj"):
        write_obj(tmp_path / "head.glb", character.vertices, character.topology)
    with pytest.raises(InputError, match="same head"):
        write_obj(tmp_path / "a.obj", character.vertices[:9], character.topology)
    with pytest.raises(InputError, match="NaN"):
        write_obj(tmp_path / "a.obj", character.vertices * np.nan, character.topology)
    with pytest.raises(InputError, match="exactly one"):
        write_obj(
            tmp_path / "a.obj",
            character.vertices,
            character.topology,
            materials=character.materials[:1],
        )


def test_a_normal_map_gets_a_file_of_its_own(tmp_path, character, tools):
    other = tools.PNG + b"\0"
    skin, *rest = character.materials
    bent = (replace(skin, normal_texture=other), *rest)
    files = write_obj(tmp_path / "a.obj", character.vertices, character.topology, materials=bent)
    assert [f.name for f in files] == ["a_skin.png", "a_skin_normal.png", "a.mtl", "a.obj"]
    assert files[1].read_bytes() == other
    assert "norm a_skin_normal.png\n" in files[2].read_text()
