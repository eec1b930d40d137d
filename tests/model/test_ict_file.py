"""ICT-FaceKit: the folder as published, and the repack in ../shared."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import face3d
from face3d.core.curves import ARKIT_52
from face3d.core.errors import AssetError
from face3d.model import ict_file
from face3d.model.head import HeadModel
from face3d.model.ict_file import PIVOT_CM, VERTEX_COUNT, read_ict

REPACK = Path(face3d.__file__).parents[2] / "shared" / "real" / "scans" / "ict"
needs_repack = pytest.mark.skipif(not REPACK.exists(), reason="needs ../shared/real/scans/ict")

SHAPES = ("browInnerUp_L", "browInnerUp_R", "eyeBlink_L", "eyeBlink_R", "jawOpen", "cheekPuff_L")


def obj_lines(points: np.ndarray) -> str:
    return "".join(f"v {x!r} {y!r} {z!r}\n" for x, y, z in points.tolist())


@pytest.fixture(scope="module")
def made() -> dict[str, np.ndarray]:
    """Positions of a made-up head in centimetres: eyeballs on spheres, all else at random."""
    random = np.random.default_rng(6)
    neutral = random.normal(scale=6, size=(VERTEX_COUNT, 3))
    for side, sign in (("left", 1), ("right", -1)):
        first, last = ict_file._RANGES[f"{side}_eyeball"]
        ball = random.normal(size=(last + 1 - first, 3))
        ball *= 1.2 / np.linalg.norm(ball, axis=-1, keepdims=True)
        neutral[first : last + 1] = ball + np.array([sign * 3.1, 3.6, 8.0])
    deltas = random.normal(scale=0.1, size=(len(SHAPES) + 2, VERTEX_COUNT, 3))
    return {"neutral": neutral, "identity": deltas[:2], "shapes": deltas[2:]}


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory) -> Path:
    """A FaceXModel folder in the published form, with two identities and six expressions."""
    path = tmp_path_factory.mktemp("FaceXModel")
    vertices = obj_lines(made["neutral"])
    texture = "vt 0.25 0.5\nvt 6.5 0.125\nvt 1 1\nvt 0 1\n"
    faces = "usemtl M_Face\nf 1/1 2/2 3/3 4/4\nf 5/4 6/1 7/2\nusemtl M_Teeth\nf 8/1 9/2 10/3 11/4\n"
    neutral = "# ICT FaceKit\nmtllib a.mtl\n" + vertices + texture + faces
    (path / "generic_neutral_mesh.obj").write_text(neutral)
    for k, delta in enumerate(made["identity"]):
        (path / f"identity{k:03d}.obj").write_text(obj_lines(made["neutral"] + delta) + faces)
    for name, delta in zip(SHAPES, made["shapes"]):
        (path / f"{name}.obj").write_text(obj_lines(made["neutral"] + delta) + faces)
    config = {
        "expressions": list(SHAPES),
        "idx_to_rigid_verts": list(range(9409, 9500)),
        "idx_to_fitting_verts": [0, 5, 7],
        "idx_to_landmark_verts": [2, 6, 10, *([0] * 65)],
    }
    (path / "vertex_indices.json").write_text(json.dumps(config))
    return path


@pytest.fixture(scope="module")
def data(folder: Path):
    return read_ict(folder)


def test_values_are_those_of_the_files(data, made):
    np.testing.assert_array_equal(data.v_template, (made["neutral"] - PIVOT_CM) / 100)
    np.testing.assert_allclose(
        data.identity_basis, made["identity"].transpose(1, 2, 0) / 100, rtol=1e-6, atol=1e-9
    )
    shapes = dict(zip(SHAPES, made["shapes"]))
    wanted = {
        "browInnerUp": shapes["browInnerUp_L"] + shapes["browInnerUp_R"],
        "cheekPuff": shapes["cheekPuff_L"],
        "eyeBlinkLeft": shapes["eyeBlink_L"],
        "eyeBlinkRight": shapes["eyeBlink_R"],
        "jawOpen": shapes["jawOpen"],
    }
    assert data.expression_names == tuple(wanted)
    for k, delta in enumerate(wanted.values()):
        np.testing.assert_allclose(data.expression_basis[..., k], delta / 100, rtol=1e-6, atol=1e-9)
    assert (data.name, data.licence) == ("ICT-FaceKit", "MIT")


def test_polygons_become_fans_of_triangles(data):
    assert data.faces.tolist() == [[0, 1, 2], [0, 2, 3], [4, 5, 6], [7, 8, 9], [7, 9, 10]]
    assert data.uv_faces is not None
    assert data.uv_faces.tolist() == [[0, 1, 2], [0, 2, 3], [3, 0, 1], [0, 1, 2], [0, 2, 3]]
    np.testing.assert_array_equal(data.uv, [[0.25, 0.5], [6.5, 0.125], [1, 1], [0, 1]])


def test_eyes_turn_about_their_centres_and_nothing_else_does(data):
    joints = data.joint_regressor @ data.v_template
    centres = (np.array([[3.1, 3.6, 8.0], [-3.1, 3.6, 8.0]]) - PIVOT_CM) / 100
    np.testing.assert_allclose(joints, [[0, 0, 0], *centres], rtol=0, atol=1e-12)
    np.testing.assert_allclose(data.joint_regressor.sum(-1), 1, rtol=0, atol=1e-12)
    # A head that grows carries the centres along.
    grown = data.joint_regressor @ (data.v_template * [1.1, 0.9, 1.2] + 0.01)
    np.testing.assert_allclose(grown[1:], centres * [1.1, 0.9, 1.2] + 0.01, rtol=0, atol=1e-12)
    model = HeadModel(data, dtype=torch.float64)
    zero, eyes = torch.zeros(2, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.float64)
    eyes[0, 1] = 0.3
    turned = model(zero, zero, eyes=eyes).numpy()
    left = data.regions["left_eyeball"]
    np.testing.assert_allclose(turned[~left], data.v_template[~left], rtol=0, atol=1e-15)
    assert np.abs(turned[left] - data.v_template[left]).max() > 1e-3
    radii = np.linalg.norm(turned[left] - centres[0], axis=-1)
    np.testing.assert_allclose(radii, 0.012, rtol=0, atol=1e-12)
    assert model.skull_joint == 0


def test_regions_are_the_documented_ranges_and_sets(data):
    regions = data.regions
    whole = ["face", "head_and_neck", "mouth_socket", "gums_and_tongue", "teeth"]
    whole += [
        f"{side}_{part}"
        for side in ("left", "right")
        for part in ("eye_socket", "eyeball", "lacrimal_fluid", "eye_blend", "eye_occlusion")
    ] + ["left_eyelashes", "right_eyelashes"]
    np.testing.assert_array_equal(sum(regions[name].astype(int) for name in whole), 1)
    assert {name: int(regions[name].sum()) for name in ("face", "teeth", "left_iris")} == {
        "face": 9409,
        "teeth": 4412,
        "left_iris": 800,
    }
    np.testing.assert_array_equal(regions["teeth"], regions["upper_teeth"] ^ regions["lower_teeth"])
    assert np.flatnonzero(regions["fitting"]).tolist() == [0, 5, 7]


def test_landmarks_lie_on_their_vertices(data):
    found = data.embeddings["ibug68"]
    places = (data.v_template[data.faces[found.face_index]] * found.barycentric[..., None]).sum(1)
    np.testing.assert_array_equal(places, data.v_template[[2, 6, 10, *([0] * 65)]])


def copy_of(folder: Path, target: Path) -> Path:
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).symlink_to(path)
    return target


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("generic_neutral_mesh.obj", None, "cannot be read"),
        ("vertex_indices.json", None, "cannot be read"),
        ("identity000.obj", None, "holds neither identity000.obj nor ict_facekit_light.npz"),
        ("jawOpen.obj", None, "lists jawOpen, but jawOpen.obj is missing"),
        (
            "generic_neutral_mesh.obj",
            lambda t: t.replace("f 1/1", "f 1"),
            "lacks vertex or texture",
        ),
        ("generic_neutral_mesh.obj", lambda t: t.replace("f 1/1", "f 0/1"), "does not exist"),
        ("generic_neutral_mesh.obj", lambda t: t.replace("f 1/1", "f 1/9"), "does not exist"),
        ("generic_neutral_mesh.obj", lambda t: t.replace("f ", "g "), "does not exist"),
        ("vertex_indices.json", lambda t: t[:100], "is no JSON"),
        ("vertex_indices.json", lambda _: "[]", "the list 'expressions' is missing"),
        ("vertex_indices.json", lambda t: t.replace('"jawOpen"', "1"), "holds something else"),
        ("vertex_indices.json", lambda t: t.replace("[0, 5", "[26719, 5"), "do not exist"),
        ("vertex_indices.json", lambda t: t.replace("[2, 6,", "[2,"), "68 landmarks"),
        ("vertex_indices.json", lambda t: t.replace("jawOpen", "jawJut"), "jawJut.obj is missing"),
    ],
)
def test_a_missing_or_damaged_file_is_named(folder: Path, tmp_path: Path, name, change, complaint):
    path = copy_of(folder, tmp_path / "copy") / name
    text = path.read_text()
    path.unlink()
    if change is not None:
        path.write_text(change(text))
    with pytest.raises(AssetError, match=complaint):
        read_ict(path.parent)


@pytest.mark.parametrize(
    ("first", "complaint"),
    [
        ("", "has 26718 vertices where 26719 are expected"),
        ("v 1 2\n", "other than 3 numbers"),
        ("v 1 2 x\n", "other than 3 numbers"),
        ("v nan 1 2\n", "NaN or infinite"),
    ],
)
def test_a_damaged_mesh_is_refused(first, complaint):
    text = first + "v 1 2 3 0.5\n" * (VERTEX_COUNT - 1)
    with pytest.raises(AssetError, match=rf"jawOpen\.obj.*{complaint}"):
        ict_file._read_vertices(Path("jawOpen.obj"), text.encode())


def test_a_gap_among_the_identities_is_an_error(folder: Path, tmp_path: Path):
    copy = copy_of(folder, tmp_path / "copy")
    (copy / "identity001.obj").rename(copy / "identity002.obj")
    with pytest.raises(AssetError, match=r"identity001\.obj cannot be read"):
        read_ict(copy)


def test_a_shape_that_arkit_does_not_have_is_refused(folder: Path, tmp_path: Path):
    copy = copy_of(folder, tmp_path / "copy")
    config = (copy / "vertex_indices.json").read_text()
    (copy / "vertex_indices.json").unlink()
    (copy / "vertex_indices.json").write_text(config.replace("jawOpen", "jawJut"))
    (copy / "jawOpen.obj").rename(copy / "jawJut.obj")
    with pytest.raises(AssetError, match="jawJut, which ARKit does not have"):
        read_ict(copy)


def pack(made, **changes) -> dict[str, np.ndarray]:
    return {
        "expr_names": np.array(SHAPES),
        "expr_deltas": made["shapes"].astype(np.float32),
        "identity_deltas": made["identity"].astype(np.float32),
    } | changes


def test_the_pack_gives_what_the_meshes_give(folder: Path, data, made, tmp_path: Path):
    copy = copy_of(folder, tmp_path / "copy")
    for path in copy.glob("identity*.obj"):
        path.unlink()
    np.savez(copy / "ict_facekit_light.npz", **pack(made))
    packed = read_ict(copy)
    assert packed.expression_names == data.expression_names
    for name in ("identity_basis", "expression_basis"):
        np.testing.assert_allclose(getattr(packed, name), getattr(data, name), atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"expr_names": np.array(SHAPES[:-1])}, r"missing: cheekPuff_L"),
        ({"expr_names": np.array([*SHAPES, "x"])}, "names do not fit"),
        ({"identity_deltas": np.zeros((2, 5, 3), np.float32)}, r"shape \(2, 5, 3\)"),
        ({"identity_deltas": np.zeros((1, VERTEX_COUNT, 3))}, "type float64"),
        ({"identity_deltas": np.full((1, VERTEX_COUNT, 3), np.inf, np.float32)}, "infinite"),
        ({"identity_deltas": np.array([None])}, "holds objects"),
    ],
)
def test_a_damaged_pack_is_refused(made, tmp_path: Path, changes, complaint):
    path = tmp_path / "ict_facekit_light.npz"
    np.savez(path, **pack(made, **changes))
    with pytest.raises(AssetError, match=complaint):
        ict_file._read_pack(path, SHAPES)


def test_other_files_are_no_pack(made, tmp_path: Path):
    path = tmp_path / "ict_facekit_light.npz"
    np.savez(path, expr_names=np.array(SHAPES))
    for raw in (path.read_bytes(), b"", b"PK\3\4"):
        path.write_bytes(raw)
        with pytest.raises(AssetError, match="cannot be read"):
            ict_file._read_pack(path, SHAPES)


# --- The published head ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real():
    return read_ict(REPACK)


@needs_repack
def test_the_published_head_has_its_documented_sizes(real):
    assert real.v_template.shape == (26719, 3)
    # 25,836 quads and 548 triangles.
    assert real.faces.shape == real.uv_faces.shape == (2 * 25836 + 548, 3)
    assert real.uv.shape == (28911, 2)
    assert real.identity_basis.shape[-1] == 100
    assert real.expression_names == tuple(name for name in ARKIT_52 if name != "tongueOut")
    np.testing.assert_array_equal(np.unique(real.faces), np.arange(26719))


@needs_repack
def test_the_published_head_is_a_head_in_metres(real):
    # A level, symmetric adult head about its pivot: eyes 6.2 cm apart and ahead, nose on +z.
    low, high = real.v_template.min(0), real.v_template.max(0)
    np.testing.assert_allclose(low[0], -high[0], atol=1e-6)
    assert 0.3 < (high - low)[1] < 0.36
    nose = real.v_template[real.v_template[:, 2].argmax()]
    assert abs(nose[0]) < 1e-3
    _, left, right = real.joint_regressor @ real.v_template
    np.testing.assert_allclose(left * [-1, 1, 1], right, rtol=0, atol=1e-8)
    assert 0.055 < left[0] - right[0] < 0.07
    assert left[0] > 0
    for side, centre in (("left", left), ("right", right)):
        radii = np.linalg.norm(real.v_template[real.regions[f"{side}_sclera"]] - centre, axis=-1)
        assert radii.min() > 0.0145
        assert radii.max() < 0.0168
    landmarks = real.embeddings["ibug68"]
    points = real.v_template[real.faces[landmarks.face_index]]
    points = (points * landmarks.barycentric[..., None]).sum(1)
    # iBUG's first point is at the subject's right ear, its ninth on the chin.
    assert points[0, 0] < -0.06 < 0.06 < points[16, 0]
    assert points[8, 1] == points[:, 1].min()


@needs_repack
def test_the_published_shapes_move_what_their_names_say(real):
    def motion(name: str, region: str) -> float:
        delta = real.expression_basis[..., real.expression_names.index(name)]
        return float(np.abs(delta[real.regions[region]]).max())

    # The upper teeth are the skull, and no expression moves it.
    for name in real.expression_names:
        assert motion(name, "upper_teeth") < 1e-8
        assert motion(name, "left_eyeball") < 1e-8
    assert motion("jawOpen", "lower_teeth") > 0.03
    assert motion("eyeBlinkLeft", "left_eyelashes") > 0.005
    assert motion("eyeBlinkLeft", "right_eyelashes") < 1e-4
    lowered = real.expression_basis[..., real.expression_names.index("jawOpen")]
    assert lowered[real.regions["lower_teeth"], 1].max() < 0
    brow = real.expression_basis[..., real.expression_names.index("browInnerUp")]
    np.testing.assert_allclose(brow[:, 0].min(), -brow[:, 0].max(), atol=1e-5)
