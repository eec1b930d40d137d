"""The GLB that is written, read by the letter of the specification (conftest.RawGlb)."""

import itertools
import logging
from dataclasses import replace

import numpy as np
import pytest

from face3d.core import ARKIT_52, Topology
from face3d.export import GlbAnimation, Material, read_glb, write_glb
from face3d.export.glb import linear_from_srgb, strongest_four
from face3d.export.glb_buffers import smallest_index_dtype
from face3d.export.surface import split_seams, vertex_normals

POSED_M = 1e-6


@pytest.fixture
def written(tmp_path, character, animation, tools):
    path = tmp_path / "head.glb"
    write_glb(path, character, animation=animation)
    return tools.RawGlb(path)


def test_container(written):
    assert (written.magic, written.version) == (b"glTF", 2)
    assert (written.json_kind, written.binary_kind) == (b"JSON", b"BIN\0")
    assert written.length == written.size
    assert written.size % 4 == 0
    assert written.binary_start % 4 == 0
    assert written.binary_start + len(written.binary) == written.size
    assert 0 <= len(written.binary) - written.json["buffers"][0]["byteLength"] < 4
    end = 0
    for view in written.json["bufferViews"]:
        assert view["byteOffset"] % 4 == 0
        assert 0 <= view["byteOffset"] - end < 4, "views leave gaps or overlap"
        end = view["byteOffset"] + view["byteLength"]
    assert end == written.json["buffers"][0]["byteLength"]


def test_asset_says_who_and_under_which_licence(written):
    asset = written.json["asset"]
    assert asset["version"] == "2.0"
    assert asset["generator"].startswith("face3d ")
    assert asset["copyright"] == "nobody"
    assert asset["extras"]["licence"] == "CC0-1.0"


def test_nodes(written, character):
    nodes, skin = written.json["nodes"], written.json["skins"][0]
    assert [node["name"] for node in nodes] == ["ball_rig", *character.joint_names, "ball"]
    assert nodes[0]["children"] == [1]
    assert nodes[2]["children"] == [3, 4, 5]
    assert skin["joints"] == [1, 2, 3, 4, 5]
    assert skin["skeleton"] == 0
    # The skinned mesh must be in the scene's root and have no transform of its own.
    assert written.json["scenes"][0]["nodes"] == [0, 6]
    assert nodes[6] == {"name": "ball", "mesh": 0, "skin": 0}


def test_inverse_bind_matrices_undo_the_joint_places(written, character):
    stored = written.accessor(written.json["skins"][0]["inverseBindMatrices"]).reshape(-1, 4, 4)
    matrices = stored.swapaxes(1, 2)
    places = np.concatenate([character.joint_places, np.ones((5, 1))], -1)
    moved = np.einsum("jab,jb->ja", matrices, places)
    np.testing.assert_allclose(moved, np.tile([0, 0, 0, 1], (5, 1)), atol=1e-8)
    np.testing.assert_array_equal(matrices[:, :3, :3], np.tile(np.eye(3), (5, 1, 1)))
    np.testing.assert_array_equal(matrices[:, 3], np.tile([0, 0, 0, 1], (5, 1)))


def test_opening_pose_is_that_of_the_head_model(written, character, tools):
    expected = tools.blend_skinning(character, character.morph_weights, character.joint_rotations)
    posed = tools.posed_from_raw(written)[: len(expected)]
    np.testing.assert_allclose(posed, expected, rtol=0, atol=POSED_M)
    # The pose must be one that a wrong order of joints would not survive.
    assert np.abs(expected - character.vertices).max() > 0.02


@pytest.mark.parametrize("key", range(9))
def test_every_key_of_the_animation_is_that_of_the_head_model(
    written, character, animation, tools, key
):
    expected = tools.blend_skinning(
        character,
        animation.morph_weights[key],
        animation.joint_rotations[key],
        animation.world_from_head[key],
    )
    posed = tools.posed_from_raw(written, key)[: len(expected)]
    np.testing.assert_allclose(posed, expected, rtol=0, atol=POSED_M)


def test_world_from_head_places_the_rig(tmp_path, character, tools):
    world = tools.rigid([0.3, -2.0, 0.5], [0.1, 1.6, -0.4])
    write_glb(tmp_path / "a.glb", replace(character, world_from_head=world))
    pose = character.morph_weights, character.joint_rotations
    expected = tools.blend_skinning(character, *pose, world)
    posed = tools.posed_from_raw(tools.RawGlb(tmp_path / "a.glb"))[: len(expected)]
    np.testing.assert_allclose(posed, expected, rtol=0, atol=POSED_M)


def test_first_vertices_are_the_heads_and_copies_follow(written, character):
    positions = written.attribute("POSITION")
    own = len(character.vertices)
    extras = written.json["meshes"][0]["extras"]["face3d"]
    assert extras["vertexCount"] == own
    np.testing.assert_array_equal(positions[:own], character.vertices)
    np.testing.assert_array_equal(positions[own:], character.vertices[extras["seamCopies"]])
    assert len(extras["seamCopies"]) == 7 + 9 + 9  # the seam, and all but one per pole
    assert extras["seamCopies"] == sorted(extras["seamCopies"])
    for name in ("NORMAL", "JOINTS_0", "WEIGHTS_0"):
        values = written.attribute(name)
        np.testing.assert_array_equal(values[own:], values[extras["seamCopies"]])


def test_every_corner_keeps_its_place_and_texture_coordinate(written, character):
    positions, uv = written.attribute("POSITION"), written.attribute("TEXCOORD_0")
    topology = character.topology
    for primitive, material in zip(written.json["meshes"][0]["primitives"], character.materials):
        corners = written.accessor(primitive["indices"]).reshape(-1, 3)
        expected = character.vertices[topology.faces[material.faces]]
        np.testing.assert_array_equal(positions[corners], expected)
        expected_uv = topology.uv[topology.uv_faces[material.faces]]
        # glTF's v points down.
        np.testing.assert_allclose(uv[corners][..., 0], expected_uv[..., 0], atol=1e-7)
        np.testing.assert_allclose(uv[corners][..., 1], 1 - expected_uv[..., 1], atol=1e-7)
    pairs = np.concatenate([positions, uv], -1)
    assert len(np.unique(pairs, axis=0)) == len(pairs), "a pair is stored twice"


def test_equal_coordinates_in_two_rows_are_no_seam():
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0], [1, 1]], dtype=np.float64)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    topology = Topology(faces=faces, uv=uv, uv_faces=np.array([[0, 1, 2], [4, 5, 3]]))
    surface = split_seams(4, topology)
    np.testing.assert_array_equal(surface.vertex_of, np.arange(4))
    np.testing.assert_array_equal(surface.faces, faces)


def test_a_vertex_in_no_face_keeps_its_number():
    uv = np.array([[0, 0], [1, 0], [1, 1]], dtype=np.float64)
    topology = Topology(faces=np.array([[0, 2, 3]]), uv=uv, uv_faces=np.array([[0, 1, 2]]))
    surface = split_seams(5, topology)
    np.testing.assert_array_equal(surface.vertex_of, np.arange(5))
    np.testing.assert_array_equal(surface.uv[[0, 2, 3]], uv)


def test_head_without_texture_coordinates(tmp_path, character, tools):
    bare = replace(
        character,
        topology=Topology(faces=character.topology.faces),
        materials=tuple(replace(material, texture=None) for material in character.materials),
    )
    write_glb(tmp_path / "a.glb", bare)
    raw = tools.RawGlb(tmp_path / "a.glb")
    np.testing.assert_array_equal(raw.attribute("POSITION"), character.vertices)
    assert "TEXCOORD_0" not in raw.json["meshes"][0]["primitives"][0]["attributes"]
    assert "images" not in raw.json


def test_normals_of_a_sphere_point_outwards(written, character):
    normals = written.attribute("NORMAL")
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1.0, atol=1e-6)
    outwards = written.attribute("POSITION") / 0.1
    # The flat faces of ten columns tilt a normal by up to two degrees.
    assert (normals * outwards).sum(-1).min() > np.cos(np.deg2rad(2.1))


def test_normals_of_a_cube_do_not_see_its_diagonals():
    corners = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))])
    expected = corners / np.sqrt(3)
    np.testing.assert_allclose(vertex_normals(corners, faces), expected, atol=1e-12)


def test_normal_of_a_vertex_without_faces_has_length_one():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]], dtype=np.float32)
    normals = vertex_normals(vertices, np.array([[0, 2, 1], [1, 1, 1]]))
    np.testing.assert_array_equal(normals, [[0, 0, -1]] * 3 + [[0, 0, 1]])


def test_morph_names_and_opening_weights(written, character):
    mesh = written.json["meshes"][0]
    assert tuple(mesh["extras"]["targetNames"]) == character.morph_names
    np.testing.assert_array_equal(np.float32(mesh["weights"]), np.float32(character.morph_weights))
    first, second = mesh["primitives"]
    assert first["targets"] == second["targets"]


def test_morph_displacements(written, character):
    own = len(character.vertices)
    copies = written.json["meshes"][0]["extras"]["face3d"]["seamCopies"]
    places = written.targets("POSITION")
    np.testing.assert_allclose(places[:, :own], character.morph_deltas, rtol=1e-7, atol=1e-8)
    np.testing.assert_array_equal(places[:, own:], places[:, copies])
    rest = written.attribute("NORMAL")
    for delta, turn in zip(character.morph_deltas, written.targets("NORMAL")):
        moved = vertex_normals(character.vertices + delta, character.topology.faces)
        np.testing.assert_allclose((rest + turn)[:own], moved, atol=2e-6)
        np.testing.assert_array_equal(turn[own:], turn[copies])


def test_morphs_are_sparse_only_where_that_is_smaller(written):
    accessors = written.json["accessors"]
    targets = written.json["meshes"][0]["primitives"][0]["targets"]
    kinds = ["sparse" in accessors[target["POSITION"]] for target in targets]
    assert kinds[0] is False, "the first morph moves everything"
    assert kinds[1:] == [True] * 5
    # The morph that moves nothing still has something that every reader can take.
    assert accessors[targets[-1]["POSITION"]]["sparse"]["count"] == 1
    assert not written.targets("POSITION")[-1].any()
    assert not written.targets("NORMAL")[-1].any()


def test_dense_and_sparse_files_hold_the_same(tmp_path, written, character, tools):
    write_glb(tmp_path / "dense.glb", character, sparse_targets=False)
    dense = tools.RawGlb(tmp_path / "dense.glb")
    assert all("sparse" not in accessor for accessor in dense.json["accessors"])
    for name in ("POSITION", "NORMAL"):
        np.testing.assert_array_equal(dense.targets(name), written.targets(name))


def test_normal_targets_can_be_left_out(tmp_path, character, tools):
    write_glb(tmp_path / "a.glb", character, normal_targets=False)
    targets = tools.RawGlb(tmp_path / "a.glb").json["meshes"][0]["primitives"][0]["targets"]
    assert all(set(target) == {"POSITION"} for target in targets)


def test_all_52_names_survive(tmp_path, arkit_character, tools):
    write_glb(tmp_path / "a.glb", arkit_character)
    raw = tools.RawGlb(tmp_path / "a.glb")
    assert tuple(raw.json["meshes"][0]["extras"]["targetNames"]) == ARKIT_52
    pose = arkit_character.morph_weights, arkit_character.joint_rotations
    expected = tools.blend_skinning(arkit_character, *pose)
    posed = tools.posed_from_raw(raw)[: len(expected)]
    np.testing.assert_allclose(posed, expected, rtol=0, atol=POSED_M)


def test_head_without_morphs(tmp_path, character, tools):
    bare = replace(character, morph_names=(), morph_deltas=None, morph_weights=None)
    write_glb(tmp_path / "a.glb", bare)
    mesh = tools.RawGlb(tmp_path / "a.glb").json["meshes"][0]
    assert "weights" not in mesh
    assert all("targets" not in primitive for primitive in mesh["primitives"])


def test_weights_sum_to_exactly_one_in_every_order(written):
    joints, weights = written.attribute("JOINTS_0"), written.attribute("WEIGHTS_0")
    assert joints.dtype == np.uint8
    assert weights.dtype == np.float32
    for order in itertools.permutations(range(4)):
        a, b, c, d = weights[:, order].T
        np.testing.assert_array_equal(((a + b) + c) + d, np.float32(1))
    assert (joints[weights == 0] == 0).all()


def test_fewer_than_four_joints_are_padded():
    joints, weights = strongest_four(np.array([[0.25, 0.75]]))
    np.testing.assert_array_equal(joints, [[1, 0, 0, 0]])
    np.testing.assert_array_equal(weights, np.float32([[0.75, 0.25, 0, 0]]))


def test_a_fifth_joint_is_dropped_with_a_word(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        joints, weights = strongest_four(np.array([[0.3, 0.1, 0.2, 0.25, 0.15]]))
    np.testing.assert_array_equal(joints, [[0, 3, 2, 4]])
    np.testing.assert_allclose(weights, np.array([[0.3, 0.25, 0.2, 0.15]]) / 0.9, atol=1e-7)
    assert "drops 10.0%" in caplog.text


def test_the_highest_index_of_a_type_stays_free():
    # 65535 restarts a strip, so 65535 vertices are the most for two bytes.
    assert smallest_index_dtype(65535) == "<u2"
    assert smallest_index_dtype(65536) == "<u4"


def test_materials(written, character, tools):
    skin, back = written.json["materials"]
    assert (skin["name"], back["name"]) == ("skin", "back side")
    assert skin["pbrMetallicRoughness"]["roughnessFactor"] == 0.6
    assert skin["pbrMetallicRoughness"]["metallicFactor"] == 0
    factor = back["pbrMetallicRoughness"]["baseColorFactor"]
    # sRGB 0.5 is 21.4 % of the light; 0.02 lies on the straight part of the curve.
    np.testing.assert_allclose(factor, [0.21404114, 0.02 / 12.92, 1, 1], rtol=1e-6)
    texture = written.json["textures"][skin["pbrMetallicRoughness"]["baseColorTexture"]["index"]]
    image = written.json["images"][texture["source"]]
    assert image["mimeType"] == "image/png"
    assert written.view(image["bufferView"]) == tools.PNG
    assert "alphaMode" not in skin


def test_linear_from_srgb_ends():
    assert linear_from_srgb((0.0, 1.0, 0.04045)) == pytest.approx([0, 1, 0.04045 / 12.92])


def test_a_picture_that_is_used_twice_is_stored_once(tmp_path, character, tools):
    shared = tuple(
        replace(material, texture=tools.PNG, opacity=0.5, double_sided=True)
        for material in character.materials
    )
    write_glb(tmp_path / "a.glb", replace(character, materials=shared))
    document = tools.RawGlb(tmp_path / "a.glb").json
    assert len(document["images"]) == 1
    for entry in document["materials"]:
        assert entry["pbrMetallicRoughness"]["baseColorTexture"] == {"index": 0}
        assert entry["alphaMode"] == "BLEND"
        assert entry["doubleSided"] is True


def test_animation_channels(written, character, animation):
    entry = written.json["animations"][0]
    assert entry["name"] == "walk"
    assert entry["extras"] == {"fps": "30000/1001", "frames": 9}
    assert {sampler["interpolation"] for sampler in entry["samplers"]} == {"LINEAR"}
    times = {sampler["input"] for sampler in entry["samplers"]}
    assert len(times) == 1
    np.testing.assert_array_equal(
        written.accessor(times.pop())[:, 0], np.float32(animation.times_s)
    )
    targets = {(c["target"]["node"], c["target"]["path"]) for c in entry["channels"]}
    turning = {(joint, "rotation") for joint in range(6)}
    assert targets == turning | {(0, "translation"), (6, "weights")}
    curve = next(c for c in entry["channels"] if c["target"]["path"] == "weights")
    flat = written.accessor(entry["samplers"][curve["sampler"]]["output"])
    expected = np.float32(animation.morph_weights).reshape(-1, 1)
    np.testing.assert_array_equal(flat, expected)


def test_quaternions_are_unit_and_do_not_jump(written):
    entry = written.json["animations"][0]
    for channel in entry["channels"]:
        if channel["target"]["path"] == "rotation":
            turns = written.accessor(entry["samplers"][channel["sampler"]]["output"])
            np.testing.assert_allclose(np.linalg.norm(turns, axis=-1), 1, atol=1e-6)
            assert ((turns[1:] * turns[:-1]).sum(-1) > 0).all()


def test_tracks_that_are_left_out_have_no_channel(tmp_path, character, animation, tools):
    curves = replace(animation, joint_rotations=None, world_from_head=None, extras={})
    write_glb(tmp_path / "a.glb", character, animation=curves)
    (entry,) = tools.RawGlb(tmp_path / "a.glb").json["animations"]
    assert [c["target"]["path"] for c in entry["channels"]] == ["weights"]
    assert "extras" not in entry


def test_one_key_is_enough(tmp_path, character):
    still = GlbAnimation(times_s=np.zeros(1), joint_rotations=np.zeros((1, 5, 3)))
    write_glb(tmp_path / "head.glb", character, animation=still)


def test_material_is_kept_apart_from_its_neighbours(tmp_path, character, tools):
    parts = np.arange(len(character.topology.faces)) % 3
    three = tuple(Material(name=f"m{n}", faces=parts == n) for n in range(3))
    write_glb(tmp_path / "a.glb", replace(character, materials=three))
    raw = tools.RawGlb(tmp_path / "a.glb")
    primitives = raw.json["meshes"][0]["primitives"]
    assert [primitive["material"] for primitive in primitives] == [0, 1, 2]
    counts = [len(raw.accessor(primitive["indices"])) // 3 for primitive in primitives]
    assert counts == np.bincount(parts).tolist()


def test_a_normal_map_is_linked_and_comes_back(tmp_path, character, tools):
    other = tools.PNG + b"\0"  # another picture
    skin, *rest = character.materials
    bent = (replace(skin, normal_texture=other), *rest)
    write_glb(tmp_path / "a.glb", replace(character, materials=bent))
    glb = tools.RawGlb(tmp_path / "a.glb")
    link = glb.json["materials"][0]["normalTexture"]["index"]
    image = glb.json["images"][glb.json["textures"][link]["source"]]
    assert (image["name"], glb.view(image["bufferView"])) == ("skin_normal", other)
    assert "normalTexture" not in glb.json["materials"][1]
    read, _ = read_glb(tmp_path / "a.glb")
    assert [m.normal_texture for m in read.materials] == [other, None]
    assert read.materials[0].texture == tools.PNG
