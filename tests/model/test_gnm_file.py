"""GNM Head v3: a small npz in the published form gives what GNM's own equations give."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from face3d.core.errors import AssetError
from face3d.model.gnm_file import read_gnm
from face3d.model.head import HeadModel

VERTICES, IDENTITY, EXPRESSION, FACES, JOINTS = 60, 5, 4, 40, 4


def make_arrays(*, follow: bool = True) -> dict[str, np.ndarray]:
    """All 23 arrays of ``gnm_head.npz``, with few vertices and components.

    Args:
        follow: Whether the joints are what the regressor makes of the vertices, to rounding.
    """
    random = np.random.default_rng(3)

    def single(*shape: int, scale: float) -> np.ndarray:
        return random.normal(scale=scale, size=shape).astype(np.float32)

    template = single(VERTICES, 3, scale=0.1) + np.float32([0, 0.25, 0.05])
    identity = single(IDENTITY, VERTICES, 3, scale=0.004)
    regressor = random.dirichlet(np.ones(VERTICES), JOINTS).astype(np.float32)
    joints = regressor @ template
    joint_basis = np.einsum("jv,ivc->ijc", regressor, identity)
    if not follow:
        joints, joint_basis = joints + np.float32(0.01), joint_basis + single(5, 4, 3, scale=0.001)
    # In 64ths, so that they add up to one exactly and the place of the origin does not matter.
    weights = random.multinomial(64, np.full(JOINTS, 1 / JOINTS), VERTICES).T / np.float32(64)
    corner_uv = random.choice(random.random((30, 2)).astype(np.float32), (FACES // 2, 4))
    quads = np.stack([random.choice(VERTICES, 4, replace=False) for _ in range(FACES // 2)])
    halves = ([0, 1, 2], [2, 3, 0])
    return {
        "version": np.array("3.0"),
        "variant": np.array("head"),
        "template_vertex_positions": template,
        "template_joint_positions": joints,
        "vertex_identity_basis": identity,
        "joint_identity_basis": joint_basis,
        "expression_basis": single(EXPRESSION, VERTICES, 3, scale=0.004),
        "identity_names": np.array([f"head_{k:03d}" for k in range(IDENTITY)]),
        "joint_names": np.array(["neck", "head", "left_eye", "right_eye"]),
        "expression_names": np.array([f"lower_face_region_{k:03d}" for k in range(EXPRESSION)]),
        "joint_parent_indices": np.array([-1, 0, 1, 1], np.int32),
        "skinning_weights": weights.astype(np.float32),
        "quads": quads.astype(np.int32),
        "triangles": np.concatenate([quads[:, h] for h in halves]).astype(np.int32),
        "quad_uvs": corner_uv,
        "triangle_uvs": np.concatenate([corner_uv[:, h] for h in halves]),
        "mesh_component_names": np.array(["skin"]),
        "mirror_indices": random.permutation(VERTICES).astype(np.int32),
        "joint_regressor": regressor,
        "pose_correctives_regressor": single(9 * JOINTS, 3 * VERTICES, scale=0.003),
        "bone_aligned_template_joint_orientations": np.tile(np.eye(3, dtype=np.float32), (4, 1, 1)),
        "vertex_groups": random.random((2, VERTICES)).astype(np.float32),
        "vertex_group_names": np.array(["skin", "left_eye"]),
    }


def write(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez_compressed(path, **arrays)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gnm_head.npz"


def test_values_are_those_of_the_file(file: Path):
    arrays = make_arrays()
    data = read_gnm(write(file, arrays))
    assert (data.name, data.licence) == ("GNM Head 3.0", "Apache-2.0")
    origin = arrays["template_joint_positions"][1].astype(np.float64)
    np.testing.assert_allclose(
        data.v_template + origin, arrays["template_vertex_positions"], rtol=0, atol=1e-15
    )
    for k in range(IDENTITY):
        np.testing.assert_array_equal(
            data.identity_basis[..., k], arrays["vertex_identity_basis"][k]
        )
    for k in range(EXPRESSION):
        np.testing.assert_array_equal(data.expression_basis[..., k], arrays["expression_basis"][k])
    for j in (1, 2, 3):
        for k in range(9):
            row = arrays["pose_correctives_regressor"][9 * j + k].reshape(VERTICES, 3)
            np.testing.assert_array_equal(data.pose_basis[..., 9 * (j - 1) + k], row)
    np.testing.assert_array_equal(data.skinning_weights, arrays["skinning_weights"].T)
    np.testing.assert_array_equal(data.faces, arrays["triangles"])
    np.testing.assert_array_equal(data.symmetry, arrays["mirror_indices"])
    assert data.joint_names == ("root", "neck", "left_eye", "right_eye")
    assert data.parents.tolist() == [-1, 0, 1, 1]
    assert data.expression_names == tuple(arrays["expression_names"])
    assert set(data.regions) == {"skin", "left_eye"}
    np.testing.assert_array_equal(data.regions["left_eye"], arrays["vertex_groups"][1] > 0.5)


def test_texture_coordinates_are_shared_and_right_at_each_corner(file: Path):
    arrays = make_arrays()
    data = read_gnm(write(file, arrays))
    assert data.uv is not None
    assert data.uv_faces is not None
    np.testing.assert_array_equal(data.uv[data.uv_faces], arrays["triangle_uvs"])
    assert len(np.unique(data.uv, axis=0)) == len(data.uv) <= 30


def test_a_root_that_is_its_own_parent_is_a_root(file: Path):
    changed = {"joint_parent_indices": np.array([0, 0, 1, 1], np.int32)}
    assert read_gnm(write(file, make_arrays() | changed)).parents.tolist() == [-1, 0, 1, 1]


def test_a_regressor_that_agrees_is_kept(file: Path):
    arrays = make_arrays()
    found = read_gnm(write(file, arrays)).joint_regressor
    np.testing.assert_array_equal(found, arrays["joint_regressor"])


@pytest.mark.parametrize("follow", [True, False])
def test_joints_of_every_identity_are_gnms(file: Path, follow):
    arrays = make_arrays(follow=follow)
    data = read_gnm(write(file, arrays))
    shape = np.random.default_rng(4).normal(size=IDENTITY)
    found = data.joint_regressor @ (data.v_template + data.identity_basis @ shape)
    joints = arrays["template_joint_positions"].astype(np.float64)
    wanted = joints + np.einsum("i,ijc->jc", shape, arrays["joint_identity_basis"]) - joints[1]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 if follow else 1e-12)
    np.testing.assert_allclose(data.joint_regressor.sum(-1), 1, rtol=0, atol=1e-6)
    # So the whole head can be moved, and its joints move along.
    moved = data.joint_regressor @ (data.v_template + np.array([1.0, 2.0, 3.0]))
    unmoved = data.joint_regressor @ data.v_template
    np.testing.assert_allclose(moved - unmoved, np.tile([1.0, 2, 3], (4, 1)), atol=1e-5)


def rodrigues(vector: np.ndarray) -> np.ndarray:
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def gnm_in_numpy(arrays, shape, expression, turns) -> np.ndarray:
    """GNM's equations: linear shapes, correctives of all four joints, blend skinning."""
    double = {k: a.astype(np.float64) for k, a in arrays.items() if a.dtype.kind == "f"}
    vertices = double["template_vertex_positions"].copy()
    joints = double["template_joint_positions"].copy()
    for value, basis, moves in zip(
        shape, double["vertex_identity_basis"], double["joint_identity_basis"]
    ):
        vertices += value * basis
        joints += value * moves
    for value, basis in zip(expression, double["expression_basis"]):
        vertices += value * basis
    rotations = np.stack([np.eye(3), *map(rodrigues, turns)])
    feature = (rotations - np.eye(3)).reshape(-1)
    vertices += (feature @ double["pose_correctives_regressor"]).reshape(-1, 3)
    placed: list[tuple[np.ndarray, np.ndarray]] = []
    posed = np.zeros_like(vertices)
    for joint, parent in enumerate([-1, 0, 1, 1]):
        rotation, place = rotations[joint], joints[joint]
        if parent >= 0:
            above, above_place = placed[parent]
            rotation, place = above @ rotation, above_place + above @ (place - joints[parent])
        placed.append((rotation, place))
        moved = (vertices - joints[joint]) @ rotation.T + place
        posed += double["skinning_weights"][joint, :, None] * moved
    return posed


def test_the_head_follows_gnms_equations(file: Path):
    # The joints disagree with the file's regressor here, so that only its correction can be exact.
    arrays = make_arrays(follow=False)
    model = HeadModel(read_gnm(write(file, arrays)), dtype=torch.float64)
    random = np.random.default_rng(5)
    shape, expression = random.normal(size=IDENTITY), random.normal(size=EXPRESSION)
    head, left, right = random.normal(scale=0.4, size=(3, 3))
    inputs = [torch.from_numpy(a) for a in (shape, expression, head)]
    eyes = torch.from_numpy(np.stack([left, right]))
    found = model(*inputs, eyes=eyes, frame="root").numpy()
    wanted = gnm_in_numpy(arrays, shape, expression, (head, left, right))
    wanted -= arrays["template_joint_positions"][1].astype(np.float64)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)
    assert model.skull_joint == 1


def test_joints_that_no_weights_can_give_are_refused(file: Path):
    arrays = make_arrays()
    # A mode that moves no vertex cannot move a joint.
    arrays["vertex_identity_basis"][0] = 0
    with pytest.raises(AssetError, match="joints do not follow its vertices"):
        read_gnm(write(file, arrays))


NEEDED = (
    *("version", "variant", "template_vertex_positions", "template_joint_positions"),
    *("vertex_identity_basis", "joint_identity_basis", "expression_basis", "expression_names"),
    *("joint_names", "joint_parent_indices", "skinning_weights", "triangles", "triangle_uvs"),
    *("mirror_indices", "joint_regressor", "pose_correctives_regressor", "vertex_groups"),
    "vertex_group_names",
)


@pytest.mark.parametrize("key", NEEDED)
def test_a_missing_array_is_named(file: Path, key):
    arrays = make_arrays()
    del arrays[key]
    with pytest.raises(AssetError, match=f"the arrays {key} are missing"):
        read_gnm(write(file, arrays))


@pytest.mark.parametrize("key", [k for k in NEEDED if k not in ("version", "variant")])
def test_a_wrong_shape_is_named(file: Path, key):
    arrays = make_arrays()
    arrays[key] = arrays[key][:-1]
    with pytest.raises(AssetError, match=r"has shape .* is expected"):
        read_gnm(write(file, arrays))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"version": np.array("2.0")}, "version '2.0' and variant 'head'"),
        ({"variant": np.array("body")}, "version '3.0' and variant 'body'"),
        ({"version": np.array(3.0)}, "version has the wrong type float64"),
        ({"joint_names": np.array(["root", "neck", "left_eye", "right_eye"])}, "has the joints"),
        ({"joint_parent_indices": np.array([-1, 0, 3, 1])}, r"parents \[-1, 0, 3, 1\]"),
        ({"joint_parent_indices": np.array([-1, 0, 0, 1])}, "eyes hang on different joints"),
        ({"joint_parent_indices": np.array([2, 0, 1, 1])}, r"parents \[2, 0, 1, 1\]"),
        ({"triangles": np.full((FACES, 3), VERTICES)}, "triangles points at vertices"),
        ({"mirror_indices": np.full(VERTICES, -1)}, "mirror_indices points at vertices"),
        ({"triangles": np.zeros((FACES, 3))}, "triangles has the wrong type float64"),
        ({"skinning_weights": np.full((4, VERTICES), 0.5)}, "do not add up to one"),
        ({"expression_basis": np.full((EXPRESSION, VERTICES, 3), np.nan)}, "NaN or infinite"),
        ({"vertex_groups": np.array([None])}, "holds objects"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(file: Path, changes, complaint):
    with pytest.raises(AssetError, match=complaint):
        read_gnm(write(file, make_arrays() | changes))


def test_damaged_files_are_refused(file: Path):
    with pytest.raises(AssetError, match="does not exist"):
        read_gnm(file)
    whole = write(file, make_arrays()).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for raw in (b"", b"PK\3\4", whole[:5000], bytes(flipped), pickle.dumps({"version": "3.0"})):
        file.write_bytes(raw)
        with pytest.raises(AssetError, match="cannot be read"):
            read_gnm(file)
    single = file.with_suffix(".npy")
    np.save(single, np.zeros(3))
    with pytest.raises(AssetError, match="cannot be read"):
        read_gnm(single)
