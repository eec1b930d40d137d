"""Reading a GLB back: equal values from a whole file, our own error from a damaged one."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from face3d.core import AssetError, Face3dError
from face3d.export import read_glb, write_glb


@pytest.fixture(scope="module")
def content(tmp_path_factory, character, animation) -> bytes:
    path = tmp_path_factory.mktemp("glb") / "head.glb"
    write_glb(path, character, animation=animation)
    return path.read_bytes()


def _parts(content: bytes) -> tuple[dict, bytes]:
    (size,) = struct.unpack_from("<I", content, 12)
    return json.loads(content[20 : 20 + size]), content[28 + size :]


def _glb(document: object, binary: bytes) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(binary))
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    return head + chunks + struct.pack("<I4s", len(binary), b"BIN\0") + binary


def _read(path: Path, content: bytes):
    path.write_bytes(content)
    return read_glb(path)


def test_round_trip(tmp_path, content, character, animation):
    head, take = _read(tmp_path / "a.glb", content)
    assert head.name == character.name
    assert (head.licence, head.copyright) == ("CC0-1.0", "nobody")
    np.testing.assert_array_equal(head.vertices, character.vertices)
    assert head.joint_names == character.joint_names
    np.testing.assert_array_equal(head.joint_parents, character.joint_parents)
    np.testing.assert_allclose(head.joint_places, character.joint_places, atol=1e-8)
    np.testing.assert_allclose(head.skinning_weights, character.skinning_weights, atol=1e-7)
    np.testing.assert_allclose(head.joint_rotations, character.joint_rotations, atol=1e-6)
    assert head.morph_names == character.morph_names
    np.testing.assert_allclose(head.morph_deltas, character.morph_deltas, atol=1e-8)
    np.testing.assert_allclose(head.morph_weights, character.morph_weights, atol=1e-7)
    assert head.world_from_head is None
    assert take is not None
    assert (take.name, take.extras) == ("walk", animation.extras)
    np.testing.assert_allclose(take.times_s, animation.times_s, atol=1e-7)
    np.testing.assert_allclose(take.morph_weights, animation.morph_weights, atol=1e-7)
    np.testing.assert_allclose(take.world_from_head, animation.world_from_head, atol=1e-6)


def test_turns_come_back_as_the_shortest(tmp_path, content, animation):
    _, take = _read(tmp_path / "a.glb", content)
    turns = animation.joint_rotations
    angle = np.linalg.norm(turns, axis=-1, keepdims=True)
    wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
    expected = turns / np.where(angle == 0, 1, angle) * wrapped
    np.testing.assert_allclose(take.joint_rotations, expected, atol=2e-6)


def test_faces_come_back_by_material(tmp_path, content, character):
    head, _ = _read(tmp_path / "a.glb", content)
    order = np.concatenate([np.flatnonzero(m.faces) for m in character.materials])
    given, read = character.topology, head.topology
    np.testing.assert_array_equal(read.faces, given.faces[order])
    expected = given.uv[given.uv_faces[order]]
    np.testing.assert_allclose(read.uv[read.uv_faces], expected, atol=1e-7)
    for old, new in zip(character.materials, head.materials):
        np.testing.assert_array_equal(new.faces, old.faces[order])
        assert (new.name, new.texture, new.roughness) == (old.name, old.texture, old.roughness)
        assert new.base_color_srgb == pytest.approx(old.base_color_srgb, abs=1e-6)


def test_what_is_read_writes_the_same_head(tmp_path, content, tools):
    head, take = _read(tmp_path / "a.glb", content)
    write_glb(tmp_path / "b.glb", head, animation=take)
    first, second = tools.RawGlb(tmp_path / "a.glb"), tools.RawGlb(tmp_path / "b.glb")
    for name in ("JOINTS_0", "WEIGHTS_0", "POSITION"):
        np.testing.assert_array_equal(first.attribute(name), second.attribute(name))
    # The faces come in another order, so the normals are summed in another order.
    np.testing.assert_allclose(first.attribute("NORMAL"), second.attribute("NORMAL"), atol=1e-7)
    for key in (None, 0, 4, 8):
        np.testing.assert_allclose(
            tools.posed_from_raw(first, key), tools.posed_from_raw(second, key), atol=1e-6
        )


def test_head_without_morphs_animation_texture_and_origin(tmp_path, character, tools):
    world = tools.rigid([0.3, 3.0, 0.2], [0.1, 0.2, 0.3])
    bare = replace(
        character,
        topology=replace(character.topology, uv=None, uv_faces=None),
        materials=tuple(replace(m, texture=None, double_sided=True) for m in character.materials),
        morph_names=(),
        morph_deltas=None,
        morph_weights=None,
        world_from_head=world,
        licence="",
        copyright="",
    )
    write_glb(tmp_path / "a.glb", bare)
    head, take = read_glb(tmp_path / "a.glb")
    assert take is None
    assert head.morph_names == ()
    assert head.topology.uv is None
    assert all(m.double_sided and m.texture is None for m in head.materials)
    np.testing.assert_allclose(head.world_from_head, world, atol=1e-6)


def test_52_names(tmp_path, arkit_character):
    write_glb(tmp_path / "a.glb", arkit_character)
    head, _ = read_glb(tmp_path / "a.glb")
    assert head.morph_names == arkit_character.morph_names
    np.testing.assert_allclose(head.morph_deltas, arkit_character.morph_deltas, atol=1e-8)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(AssetError, match="check the name"):
        read_glb(tmp_path / "missing.glb")
    with pytest.raises(AssetError, match="check the name"):
        read_glb(tmp_path)


def test_cut_off_file(tmp_path, content):
    for size in [*range(0, len(content), 997), 1, 11, 19, 20, 27, 28, len(content) - 1]:
        with pytest.raises(AssetError):
            _read(tmp_path / "a.glb", content[:size])


def test_cut_off_file_with_a_header_that_says_so(tmp_path, content):
    document, binary = _parts(content)
    for size in range(0, len(binary), 997):
        with pytest.raises(AssetError):
            _read(tmp_path / "a.glb", _glb(document, binary[:size]))
        shortened = document | {"buffers": [{"byteLength": size}]}
        with pytest.raises(AssetError):
            _read(tmp_path / "a.glb", _glb(shortened, binary[:size]))


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (0, b"OBJ "),
        (4, b"\1\0\0\0"),
        (8, b"\xff\xff\xff\x7f"),
        (12, b"\xff\xff\xff\xff"),
        (16, b"BIN\0"),
    ],
)
def test_wrong_header(tmp_path, content, offset, data):
    with pytest.raises(AssetError):
        _read(tmp_path / "a.glb", content[:offset] + data + content[offset + len(data) :])


@pytest.mark.parametrize("document", [None, [], "text", 1, {}, {"asset": {}, "buffers": [{}]}])
def test_json_of_something_else(tmp_path, document):
    with pytest.raises(AssetError):
        _read(tmp_path / "a.glb", _glb(document, bytes(8)))


def test_json_that_nests_too_deeply(tmp_path):
    text = b"[" * 200_000
    head = struct.pack("<4sII", b"glTF", 2, 28 + len(text))
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", 0, b"BIN\0")
    with pytest.raises(AssetError, match="not valid JSON"):
        _read(tmp_path / "a.glb", head + chunks)


def test_random_bytes_flipped(tmp_path, content):
    rng = np.random.default_rng(11)
    refused = 0
    for _ in range(250):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 9)):
            damaged[place] = rng.integers(256)
        try:
            _read(tmp_path / "a.glb", bytes(damaged))
        except Face3dError:
            refused += 1
    assert refused > 100


def _places(value: object, path: tuple = ()) -> list[tuple]:
    """The way to every value of a document."""
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    else:
        return [path]
    return [path, *(way for key, part in inner for way in _places(part, (*path, key)))]


JUNK = [None, True, -1, 0, 3, 10**30, 2**31, 1e300, float("inf"), "x", "\ud800", [], {}, [[]]]


def test_random_json_values_replaced(tmp_path, content):
    document, binary = _parts(content)
    text = json.dumps(document)
    rng = np.random.default_rng(13)
    places = _places(document)[1:]
    refused = 0
    for _ in range(150):
        damaged = json.loads(text)
        way = places[rng.integers(len(places))]
        above = damaged
        for key in way[:-1]:
            above = above[key]
        if rng.random() < 0.15:
            del above[way[-1]]
        else:
            above[way[-1]] = JUNK[rng.integers(len(JUNK))]
        try:
            _read(tmp_path / "a.glb", _glb(damaged, binary))
        except Face3dError:
            refused += 1
    assert refused > 50


def _set(document: dict, way: str, value: object) -> None:
    *keys, last = [int(key) if key.isdigit() else key for key in way.split(".")]
    for key in keys:
        document = document[key]
    document[last] = value


DAMAGES = {
    "view beyond the end": ("bufferViews.0.byteOffset", 10**6, "beyond the binary part"),
    "view with a negative start": ("bufferViews.0.byteOffset", -4, "whole number"),
    "accessor beyond its view": ("accessors.0.count", 10**6, "bytes"),
    "normals of another head": ("accessors.1.count", 10**6, "has 1000000 entries"),
    "accessor of no view": ("accessors.1.bufferView", 10**6, "whole number"),
    "positions of another kind": ("accessors.0.type", "VEC4", "is not a VEC3"),
    "unknown component": ("accessors.0.componentType", 5122, "does not write"),
    "accessor that does not exist": (
        "meshes.0.primitives.0.attributes.POSITION",
        -1,
        "whole number",
    ),
    "faces of floats": ("meshes.0.primitives.0.indices", 1, "is not a SCALAR"),
    "faces of times": ("animations.0.samplers.0.input", 5, "wrong kind|different key times"),
    "copies elsewhere": ("meshes.0.extras.face3d.seamCopies.0", 40, "lie elsewhere"),
    "too few vertices": ("meshes.0.extras.face3d.vertexCount", 5, "are there"),
    "rig under a joint": ("nodes.1.children", [0], "rig a child"),
    "joints in another order": ("skins.0.joints", [2, 1, 3, 4, 5], "after the first"),
    "wheel of joints": ("nodes.4.children", [1], "earlier"),
    "long quaternion": ("nodes.3.rotation", [0, 0, 0, 2], "length one"),
    "huge quaternion": ("nodes.3.rotation", [0, 0, 0, 1e300], "length one"),
    "huge weight": ("meshes.0.weights.0", 1e300, "NaN or infinite"),
    "name twice": ("meshes.0.extras.targetNames.0", "cheekPuff", "repeated"),
    "colour out of range": ("materials.0.pbrMetallicRoughness.roughnessFactor", 7, "0 and 1"),
    "picture of another kind": ("images.0.bufferView", 0, "PNG"),
    "half of the joints": ("animations.0.channels.2.target.node", 9, "some joints"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damage_is_named(tmp_path, content, case):
    document, binary = _parts(content)
    way, value, message = DAMAGES[case]
    _set(document, way, value)
    with pytest.raises(AssetError, match=message):
        _read(tmp_path / "a.glb", _glb(document, binary))


def test_sparse_entry_beyond_the_end(tmp_path, content):
    document, binary = _parts(content)
    target = document["meshes"][0]["primitives"][0]["targets"][-1]["POSITION"]
    index = document["accessors"][target]["sparse"]["indices"]["bufferView"]
    start = document["bufferViews"][index]["byteOffset"]
    binary = binary[:start] + b"\xff\xff" + binary[start + 2 :]
    with pytest.raises(AssetError, match="does not exist"):
        _read(tmp_path / "a.glb", _glb(document, binary))


def test_sparse_accessor_may_not_ask_for_memory(tmp_path, content):
    document, binary = _parts(content)
    target = document["meshes"][0]["primitives"][0]["targets"][-1]["POSITION"]
    sparse = document["accessors"][target]
    sparse["count"] = 2**32 - 1
    document["meshes"][0]["primitives"][0]["attributes"]["POSITION"] = target
    with pytest.raises(AssetError, match="is sparse"):
        _read(tmp_path / "a.glb", _glb(document, binary))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("POSITION", b"\0\0\xc0\x7f", "NaN"),
        ("WEIGHTS_0", b"\0\0\x80\x3e", "sum to one"),
        ("JOINTS_0", b"\x09\0\0\0", "joint that does not exist"),
    ],
)
def test_damaged_attribute(tmp_path, content, name, value, message):
    document, binary = _parts(content)
    accessor = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"][name]]
    start = document["bufferViews"][accessor["bufferView"]]["byteOffset"]
    binary = binary[:start] + value + binary[start + 4 :]
    with pytest.raises(AssetError, match=message):
        _read(tmp_path / "a.glb", _glb(document, binary))
