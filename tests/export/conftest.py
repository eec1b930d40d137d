"""A small sphere of a head, and a GLB reader that shares nothing with face3d's."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from face3d.core import ARKIT_52, Topology
from face3d.core.rotations import matrix_from_axis_angle
from face3d.export import GlbAnimation, GlbCharacter, Material
from face3d.model.data import HeadData
from face3d.model.head import HeadModel

JOINTS = ("root", "neck", "jaw", "left_eye", "right_eye")
MORPHS = ("jawOpen", "mouthClose", "mouthSmileLeft", "browInnerUp", "cheekPuff", "nothing")
# The smallest PNG there is: one opaque pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c4944415408d763f8cfc000000301010018dd8db00000000049454e44ae426082"
)


def sphere(rings: int = 7, columns: int = 10) -> tuple[np.ndarray, Topology]:
    """A sphere of 0.1 m, poles on y, whose texture has a seam at column 0."""
    theta = np.linspace(0, np.pi, rings + 2)[1:-1, None]
    phi = np.arange(columns)[None] * 2 * np.pi / columns
    y = np.broadcast_to(np.cos(theta), (rings, columns))
    ring = np.stack([np.sin(theta) * np.sin(phi), y, np.sin(theta) * np.cos(phi)], -1)
    vertices = 0.1 * np.concatenate([[[0, 1, 0]], ring.reshape(-1, 3), [[0, -1, 0]]])
    u = np.linspace(0, 1, columns + 1)
    v = 1 - np.linspace(0, 1, rings + 2)[1:-1]
    grid = np.stack(np.broadcast_arrays(u[None], v[:, None]), -1).reshape(-1, 2)
    caps = np.stack([(u[:-1] + u[1:]) / 2, np.ones(columns)], -1)
    uv = np.concatenate([grid, caps, caps * [1, 0]])
    faces, uv_faces, north, south = [], [], len(grid), len(grid) + columns
    last = len(vertices) - 1
    for c in range(columns):
        n = (c + 1) % columns
        faces += [(0, 1 + c, 1 + n), (1 + (rings - 1) * columns + c, last, last - columns + n)]
        bottom = (rings - 1) * (columns + 1) + c
        uv_faces += [(north + c, c, c + 1), (bottom, south + c, bottom + 1)]
        for r in range(rings - 1):
            a, b = 1 + r * columns, 1 + (r + 1) * columns
            faces += [(a + c, b + c, b + n), (a + c, b + n, a + n)]
            s, t = r * (columns + 1) + c, (r + 1) * (columns + 1) + c
            uv_faces += [(s, t, t + 1), (s, t + 1, s + 1)]
    topology = Topology(faces=np.array(faces), uv=uv, uv_faces=np.array(uv_faces))
    return vertices.astype(np.float32), topology


def head_data(morphs: tuple[str, ...]) -> HeadData:
    """A head without identity or pose basis; the last morph moves nothing."""
    rng = np.random.default_rng(7)
    vertices, topology = sphere()
    count = len(vertices)
    weights = rng.random((count, 5)) ** 4
    weights[np.arange(count), rng.integers(0, 5, count)] = 0  # at most four per vertex
    regressor = rng.random((5, count)) ** 8
    basis = rng.normal(size=(count, 3, len(morphs))) * 0.004
    # Every morph reaches some of the vertices, the first one all of them.
    reach = vertices @ rng.normal(size=(3, len(morphs))) > 0.05
    reach[:, 0] = True
    basis *= reach[:, None]
    basis[..., -1] = 0
    return HeadData(
        name="ball",
        licence="CC0-1.0",
        v_template=vertices,
        faces=topology.faces,
        uv=topology.uv,
        uv_faces=topology.uv_faces,
        identity_basis=np.zeros((count, 3, 0)),
        expression_basis=basis,
        pose_basis=np.zeros((count, 3, 36)),
        joint_regressor=regressor / regressor.sum(-1, keepdims=True),
        parents=np.array([-1, 0, 1, 1, 1]),
        joint_names=JOINTS,
        skinning_weights=weights / weights.sum(-1, keepdims=True),
        expression_names=morphs,
    )


def make_character(morphs: tuple[str, ...] = MORPHS, **changes) -> GlbCharacter:
    """The sphere in two materials, one with a picture, opened in a pose."""
    data = head_data(morphs)
    rng = np.random.default_rng(3)
    front = data.v_template[data.faces].mean(1)[:, 2] > 0
    entries = {
        "name": "ball",
        "vertices": data.v_template,
        "topology": data.topology,
        "materials": (
            Material(name="skin", faces=front, texture=PNG, roughness=0.6),
            Material(name="back side", faces=~front, base_color_srgb=(0.5, 0.02, 1.0)),
        ),
        "joint_names": data.joint_names,
        "joint_parents": data.parents,
        "joint_places": data.joint_regressor @ data.v_template,
        "skinning_weights": data.skinning_weights,
        "joint_rotations": rng.normal(size=(5, 3)) * 0.4,
        "morph_names": morphs,
        "morph_deltas": np.moveaxis(data.expression_basis, -1, 0),
        "morph_weights": rng.random(len(morphs)),
        "licence": data.licence,
        "copyright": "nobody",
    }
    return GlbCharacter(**(entries | changes))


def rigid(vector, place) -> np.ndarray:
    """A 4x4 matrix from a rotation vector and a place."""
    matrix = np.eye(4)
    matrix[:3, :3] = matrix_from_axis_angle(torch.tensor(vector, dtype=torch.float64)).numpy()
    matrix[:3, 3] = place
    return matrix


def make_animation(character: GlbCharacter, count: int = 9) -> GlbAnimation:
    """Joints that turn past half a turn, morphs and a head that walks."""
    rng = np.random.default_rng(5)
    steps = np.linspace(0.0, 1.0, count)
    axes = rng.normal(size=(len(character.joint_names), 3))
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    turns = steps[:, None, None] * axes * 6.0
    world = np.stack([rigid([0.0, 2.0 * s, 0.1], [s, 0.5, -s]) for s in steps])
    return GlbAnimation(
        times_s=steps * 2 + 0.25,
        name="walk",
        morph_weights=rng.random((count, len(character.morph_names))),
        joint_rotations=turns,
        world_from_head=world,
        extras={"fps": "30000/1001", "frames": count},
    )


def blend_skinning(character: GlbCharacter, morph_weights, joint_rotations, world=None):
    """Posed vertices by face3d's own head model, in float64."""
    model = HeadModel(head_data(character.morph_names), dtype=torch.float64)
    rotations = matrix_from_axis_angle(torch.as_tensor(np.array(joint_rotations)).double())
    places = torch.as_tensor(np.array(character.joint_places)).double()
    skin = model.skin_from_rest(rotations, places, "root").numpy()
    points = character.vertices + np.einsum("k,kvi->vi", morph_weights, character.morph_deltas)
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], -1)
    posed = np.einsum("vj,jab,vb->va", character.skinning_weights, skin, homogeneous)
    return (posed @ (np.eye(4) if world is None else world).T)[:, :3]


class RawGlb:
    """The JSON and the accessors of a GLB file, read by the letter of the specification."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        self.magic, self.version, self.length = struct.unpack_from("<4sII", content)
        size, self.json_kind = struct.unpack_from("<I4s", content, 12)
        self.json = json.loads(content[20 : 20 + size])
        self.binary_start = 20 + size + 8
        binary_size, self.binary_kind = struct.unpack_from("<I4s", content, 20 + size)
        self.binary = content[self.binary_start : self.binary_start + binary_size]
        self.size = len(content)

    def view(self, number: int) -> bytes:
        view = self.json["bufferViews"][number]
        return self.binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]

    def _rows(self, view: int, component: int, width: int) -> np.ndarray:
        dtype = {5121: "<u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}[component]
        return np.frombuffer(self.view(view), dtype).reshape(-1, width)

    def accessor(self, number: int) -> np.ndarray:
        entry = self.json["accessors"][number]
        width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[entry["type"]]
        if "bufferView" in entry:
            rows = self._rows(entry["bufferView"], entry["componentType"], width)
            assert len(rows) == entry["count"]
        else:
            rows = np.zeros((entry["count"], width), np.float32)
        if "sparse" in entry:
            sparse, rows = entry["sparse"], rows.copy()
            index = sparse["indices"]
            places = self._rows(index["bufferView"], index["componentType"], 1)[:, 0]
            assert len(places) == sparse["count"]
            assert (np.diff(places.astype(int)) > 0).all(), "sparse indices must increase"
            rows[places] = self._rows(sparse["values"]["bufferView"], entry["componentType"], width)
        if "min" in entry:
            np.testing.assert_array_equal(rows.min(0), np.float32(entry["min"]))
            np.testing.assert_array_equal(rows.max(0), np.float32(entry["max"]))
        return rows

    def attribute(self, name: str) -> np.ndarray:
        return self.accessor(self.json["meshes"][0]["primitives"][0]["attributes"][name])

    def targets(self, name: str) -> np.ndarray:
        listed = self.json["meshes"][0]["primitives"][0]["targets"]
        return np.stack([self.accessor(target[name]) for target in listed])


def _quaternion_matrix(q) -> np.ndarray:
    x, y, z, w = q
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def posed_from_raw(raw: RawGlb, key: int | None = None) -> np.ndarray:
    """Posed positions of all stored vertices as a viewer computes them.

    Args:
        raw: The file.
        key: The key of the animation to show; None is the pose that the file opens in.
    """
    nodes = [dict(node) for node in raw.json["nodes"]]
    weights = np.array(raw.json["meshes"][0]["weights"])
    for channel in raw.json["animations"][0]["channels"] if key is not None else ():
        sampler = raw.json["animations"][0]["samplers"][channel["sampler"]]
        values = raw.accessor(sampler["output"])
        node, path = channel["target"]["node"], channel["target"]["path"]
        if path == "weights":
            weights = values.reshape(-1, len(weights))[key].astype(float)
        else:
            nodes[node][path] = values[key].astype(float)
    skin = raw.json["skins"][0]
    scene = raw.json["scenes"][raw.json["scene"]]
    world: dict[int, np.ndarray] = {}

    def walk(number: int, above: np.ndarray) -> None:
        local = np.eye(4)
        local[:3, :3] = _quaternion_matrix(nodes[number].get("rotation", (0, 0, 0, 1)))
        local[:3, 3] = nodes[number].get("translation", (0, 0, 0))
        world[number] = above @ local
        for child in nodes[number].get("children", ()):
            walk(child, world[number])

    for number in scene["nodes"]:
        walk(number, np.eye(4))
    inverse_bind = raw.accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4).swapaxes(1, 2)
    matrices = np.stack([world[n] for n in skin["joints"]]) @ inverse_bind.astype(float)
    points = raw.attribute("POSITION") + np.einsum("k,kvi->vi", weights, raw.targets("POSITION"))
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], -1)
    chosen = matrices[raw.attribute("JOINTS_0")]
    posed = np.einsum("vn,vnab,vb->va", raw.attribute("WEIGHTS_0"), chosen, homogeneous)
    return posed[:, :3]


@pytest.fixture(scope="session")
def character() -> GlbCharacter:
    return make_character()


@pytest.fixture(scope="session")
def arkit_character() -> GlbCharacter:
    return make_character(ARKIT_52)


@pytest.fixture(scope="session")
def animation(character) -> GlbAnimation:
    return make_animation(character)


@pytest.fixture
def bad():
    """Makes a copy of a record with fields that the run-time shape checks would refuse.

    Users run without those checks, so the records' own checks must catch the same.
    """

    def change(record, **fields):
        copy = object.__new__(type(record))
        for name in record.__dataclass_fields__:
            object.__setattr__(copy, name, fields.get(name, getattr(record, name)))
        return copy

    return change


@pytest.fixture(scope="session")
def tools():
    """The helpers of this file, as test modules cannot import each other."""

    class Tools:
        pass

    for helper in (sphere, head_data, make_character, make_animation, blend_skinning):
        setattr(Tools, helper.__name__, staticmethod(helper))
    for helper in (rigid, posed_from_raw):
        setattr(Tools, helper.__name__, staticmethod(helper))
    Tools.RawGlb, Tools.PNG = RawGlb, PNG
    return Tools
