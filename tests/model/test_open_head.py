"""What flame_assets/open_head.npz promises."""

import zipfile

import numpy as np
import pytest
import torch

from face3d.assets import find_asset
from face3d.core import ARKIT_52, AssetError
from face3d.model import read_open_head
from face3d.pipeline import load_head


@pytest.fixture(scope="module")
def data():
    return load_head().data


def shaped(data, **weights) -> np.ndarray:
    """The mean head with some shapes, metres."""
    code = np.zeros(len(data.expression_names))
    for name, weight in weights.items():
        code[data.expression_names.index(name)] = weight
    return data.v_template + data.expression_basis @ code


def landmarks(data, vertices: np.ndarray) -> np.ndarray:
    e = data.embeddings["mediapipe478"]
    return (vertices[data.faces[e.face_index]] * e.barycentric[..., None]).sum(1)


def test_size_and_keys():
    path = find_asset("open")
    assert path.stat().st_size <= 8e6
    with np.load(path, allow_pickle=False) as archive:
        flame = {"v_template", "f", "shapedirs", "posedirs", "J_regressor", "kintree_table"}
        flame |= {"weights", "vt", "ft"}
        assert flame <= set(archive.files)


def test_counts(data):
    assert data.expression_names == ARKIT_52
    assert data.identity_basis.shape[-1] >= 100
    assert 4000 < len(data.v_template) < 6000
    assert data.joint_names == ("root", "neck", "jaw", "left_eye", "right_eye")
    assert set(data.embeddings) == {"mediapipe478", "ibug68"}


def test_no_vertex_is_unused_and_faces_agree_on_their_outside(data):
    assert set(np.unique(data.faces)) == set(range(len(data.v_template)))
    directed = np.concatenate([data.faces[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    # An edge that two faces run along in the same direction would be a flipped face.
    assert len(np.unique(directed, axis=0)) == len(directed)
    a, b, c = (data.v_template[data.faces[:, k]] for k in range(3))
    eye = data.regions["left_eye"][data.faces].all(1)
    centre = data.v_template[data.regions["left_eye"]].mean(0)
    outwards = np.einsum("fc,fc->f", np.cross(b - a, c - a), (a + b + c) / 3 - centre)
    assert (outwards[eye] > 0).all()


def test_texture_coordinates_do_not_overlap(data):
    triangles = data.uv[data.uv_faces]
    assert data.uv.min() >= 0
    assert data.uv.max() <= 1
    e1, e2 = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    area = 0.5 * (e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0])
    assert (area > 0).all()
    # No texel is covered twice: count coverage at random places of the square.
    points = np.random.default_rng(0).random((1500, 2))
    covered = np.zeros(len(points), dtype=int)
    for corner, p1, p2, size in zip(triangles[:, 0], e1, e2, area):
        offset = points - corner
        s = (offset[:, 0] * p2[1] - offset[:, 1] * p2[0]) / (2 * size)
        t = (p1[0] * offset[:, 1] - p1[1] * offset[:, 0]) / (2 * size)
        covered += (s > 1e-9) & (t > 1e-9) & (s + t < 1 - 1e-9)
    assert covered.max() == 1


def test_left_and_right_mirror_each_other(data):
    flip = np.array([-1.0, 1, 1])
    partner = data.symmetry
    assert (partner[partner] == np.arange(len(partner))).all()
    np.testing.assert_allclose(data.v_template[partner] * flip, data.v_template, atol=1e-5)
    for name in data.expression_names:
        other = name
        if "Left" in name or "Right" in name:
            swap = ("Left", "Right") if "Left" in name else ("Right", "Left")
            other = name.replace(*swap)
        mine = data.expression_basis[..., data.expression_names.index(name)]
        theirs = data.expression_basis[..., data.expression_names.index(other)]
        np.testing.assert_allclose(mine[partner] * flip, theirs, atol=2e-5)


@pytest.mark.parametrize("side", ["Left", "Right"])
def test_the_lids_meet_in_a_blink(data, side):
    pairs = {
        "Left": ((386, 374), (387, 373), (385, 380)),
        "Right": ((159, 145), (160, 144), (158, 153)),
    }
    shut = landmarks(data, shaped(data, **{f"eyeBlink{side}": 1.0}))
    opened = landmarks(data, data.v_template)
    for a, b in pairs[side]:
        assert np.linalg.norm(opened[a] - opened[b]) > 0.004
        # Landmarks lie beside the edge of the lid, not on it; the edges themselves meet closer.
        assert np.linalg.norm(shut[a] - shut[b]) < 0.004


def test_the_edges_of_the_lids_touch(data):
    for side in ("left", "right"):
        shut = shaped(data, **{f"eyeBlink{side.capitalize()}": 1.0})
        socket = data.regions["eye_sockets"][data.faces].all(1)
        skin = data.regions["skin"][data.faces].all(1)
        mixed = data.faces[~socket & ~skin]
        rim = np.unique(mixed[data.regions["skin"][mixed]])
        eye = data.v_template[data.regions[f"{side}_eye"]].mean(0)
        rim = rim[np.linalg.norm(data.v_template[rim] - eye, axis=1) < 0.03]
        assert len(rim) > 15
        middle = rim[np.abs(data.v_template[rim, 0] - eye[0]) < 0.008]
        height = data.v_template[middle, 1]
        top, bottom = middle[height > height.mean()], middle[height <= height.mean()]
        gaps = np.linalg.norm(shut[top][:, None] - shut[bottom][None], axis=2)
        # Vertices of the two edges need not face each other; the gap is across, not along.
        across = np.abs(shut[top][:, None, 1] - shut[bottom][None, :, 1])
        nearest = gaps.argmin(1)
        assert across[np.arange(len(top)), nearest].max() < 0.0005


def test_the_jaw_opens_the_mouth_and_mouth_close_shuts_it(data):
    rest, opened, closed = (
        landmarks(data, shaped(data, **w))
        for w in ({}, {"jawOpen": 1.0}, {"jawOpen": 1.0, "mouthClose": 1.0})
    )
    gap = [np.linalg.norm(points[13] - points[14]) for points in (rest, opened, closed)]
    assert gap[0] < 0.004
    assert gap[1] > 0.025
    assert gap[2] < 0.004
    assert closed[152, 1] < rest[152, 1] - 0.01  # the chin stays down


EFFECTS = {
    # shape: (landmark, axis, direction, at least mm), left and right as the subject's
    "browInnerUp": (9, 1, 1, 1.0),
    "browDownLeft": (334, 1, -1, 1.0),
    "browOuterUpRight": (46, 1, 1, 1.0),
    "cheekPuff": (50, 0, -1, 1.0),
    "eyeWideLeft": (386, 1, 1, 0.3),
    "eyeSquintRight": (145, 1, 1, 0.3),
    "jawForward": (152, 2, 1, 2.0),
    "jawLeft": (152, 0, 1, 2.0),
    "jawRight": (152, 0, -1, 2.0),
    "mouthLeft": (0, 0, 1, 1.5),
    "mouthRight": (0, 0, -1, 1.5),
    "mouthSmileLeft": (291, 1, 1, 2.0),
    "mouthSmileRight": (61, 1, 1, 2.0),
    "mouthFrownLeft": (291, 1, -1, 1.0),
    "mouthPucker": (61, 0, 1, 3.0),
    "mouthFunnel": (0, 2, 1, 1.0),
    "mouthStretchRight": (61, 0, -1, 0.5),
    "mouthUpperUpLeft": (269, 1, 1, 0.8),
    "mouthLowerDownRight": (181, 1, -1, 0.8),
    "noseSneerLeft": (358, 1, 1, 0.5),
    "eyeLookDownLeft": (386, 1, -1, 0.5),
    "eyeLookUpRight": (159, 1, 1, 0.3),
}


@pytest.mark.parametrize("name", EFFECTS)
def test_a_shape_moves_what_its_name_says(data, name):
    landmark, axis, sign, least_mm = EFFECTS[name]
    moved = landmarks(data, shaped(data, **{name: 1.0})) - landmarks(data, data.v_template)
    assert sign * moved[landmark, axis] * 1000 > least_mm


def test_the_tongue_comes_out(data):
    tip = data.regions["tongue"]
    out = shaped(data, tongueOut=1.0)[tip, 2].max() - data.v_template[tip, 2].max()
    assert out > 0.01


@pytest.mark.parametrize("name", ARKIT_52)
def test_no_shape_moves_the_skull_or_the_eyeballs(data, name):
    offsets = shaped(data, **{name: 1.0}) - data.v_template
    assert np.abs(offsets[data.regions["upper_teeth"]]).max() == 0
    assert np.abs(offsets[data.regions["eyes"]]).max() == 0
    crown = data.regions["scalp"] & (data.v_template[:, 1] > 0.1)
    assert np.linalg.norm(offsets[crown], axis=1).max() < 0.0005


def test_identity_does_not_move_the_skull_frame(data):
    # The alignment of the population took rigid motion out of every component.
    stable = (data.regions["scalp"] | data.regions["forehead"]) & ~data.regions["ears"]
    arm = data.v_template[stable] - data.v_template[stable].mean(0)
    inertia = (arm**2).sum()
    for k in range(20):
        offset = data.identity_basis[stable][..., k]
        shift = np.linalg.norm(offset.mean(0))
        turn = np.linalg.norm(np.cross(arm, offset - offset.mean(0)).sum(0)) / inertia
        assert shift < 0.004
        assert np.degrees(turn) < 2.0


def test_eyes_turn_about_their_centres(data):
    model = load_head()
    turned = model(
        torch.zeros(1), torch.zeros(1), eyes=torch.tensor([[0.3, 0.2, 0.0], [0.0, 0.0, 0.0]])
    ).numpy()
    eye = data.regions["left_eye"]
    centre = data.joint_regressor[data.joint_names.index("left_eye")] @ data.v_template
    before = np.linalg.norm(data.v_template[eye] - centre, axis=1)
    np.testing.assert_allclose(np.linalg.norm(turned[eye] - centre, axis=1), before, atol=1e-5)
    assert before.std() < 1e-4
    still = data.regions["right_eye"] | data.regions["skin"]
    np.testing.assert_allclose(turned[still], data.v_template[still], atol=1e-6)


def test_the_iris_measures_11_7_mm(data):
    iris = data.v_template[data.regions["iris"] & data.regions["left_eye"]]
    assert np.ptp(iris[:, 0]) == pytest.approx(0.0117, abs=1e-4)
    assert np.ptp(iris[:, 1]) == pytest.approx(0.0117, abs=1e-4)


def test_the_jaw_turns_about_the_condyles(data):
    jaw = data.joint_regressor[data.joint_names.index("jaw")] @ data.v_template
    ears = data.v_template[data.regions["ears"]]
    assert abs(jaw[0]) < 1e-4
    assert ears[:, 1].min() < jaw[1] < ears[:, 1].max()
    assert ears[:, 2].min() < jaw[2] < ears[:, 2].max() + 0.02
    model = load_head()
    turned = model(torch.zeros(1), torch.zeros(1), jaw=torch.tensor([0.28, 0.0, 0.0])).numpy()
    sculpted = shaped(data, jawOpen=1.0)
    lips = data.regions["lips"]
    # The corrective makes the joint look like the sculpted shape at its own angle.
    assert np.linalg.norm(turned - sculpted, axis=1)[lips].mean() < 0.002
    assert (
        np.linalg.norm(turned - data.v_template, axis=1)[data.regions["lower_teeth"]].min() > 0.01
    )
    np.testing.assert_allclose(
        turned[data.regions["upper_teeth"]],
        data.v_template[data.regions["upper_teeth"]],
        atol=1e-6,
    )


def test_teeth_are_hidden_behind_closed_lips(data):
    lips = data.v_template[data.regions["lips"], 2].max()
    assert data.v_template[data.regions["teeth"], 2].max() < lips - 0.004


def test_regions(data):
    wanted = {"skin", "lips", "eyes", "teeth", "tongue", "scalp", "face", "ears", "nose", "brows"}
    assert wanted | {"gums", "eyelids", "neck"} <= set(data.regions)
    assert all(mask.any() for mask in data.regions.values())
    assert not (data.regions["left_ear"] & data.regions["right_ear"]).any()
    assert (data.v_template[data.regions["left_ear"], 0] > 0).all()


def test_weights_sum_to_one(data):
    np.testing.assert_allclose(data.skinning_weights.sum(1), 1, atol=1e-12)
    assert data.skinning_weights.min() >= 0


def test_asking_for_older_or_more_male_changes_the_head(data):
    assert {"age", "male", "weight", "asian", "african", "caucasian"} <= set(data.identity_axes)
    bigger = data.v_template + data.identity_basis @ (2 * data.identity_axes["male"])
    assert np.ptp(bigger[:, 1]) > np.ptp(data.v_template[:, 1])


def test_population_matches_the_anthropometry(data):
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((300, data.identity_basis.shape[-1]))
    eyes = [data.joint_names.index(f"{s}_eye") for s in ("left", "right")]
    places = data.joint_regressor[eyes] @ (
        data.v_template + np.tensordot(codes, np.moveaxis(data.identity_basis, -1, 0), 1)
    )
    distance = np.linalg.norm(places[:, 0] - places[:, 1], axis=1) * 1000
    # Adults have 63.4 +- 3.8 mm (Dodgson, 2004); one head in seven is a child's.
    assert 60 < distance.mean() < 64
    assert 3 < distance.std() < 7


def test_a_damaged_or_foreign_file_is_refused(tmp_path):
    whole = find_asset("open").read_bytes()
    for name, content in (("cut.npz", whole[: len(whole) // 2]), ("empty.npz", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AssetError, match="not a readable head file"):
            read_open_head(tmp_path / name)
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(AssetError, match="lacks the keys"):
        read_open_head(tmp_path / "other.npz")
    with pytest.raises(AssetError, match="does not exist"):
        read_open_head(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("key", "spoil", "why"),
    [
        ("v_template", lambda a: a * np.nan, "NaN"),
        ("v_template", lambda a: a[0, 0], "shape"),
        ("f", lambda a: a.astype(np.int32) + 5, "out of range"),
        ("weights", lambda a: a[:, :3], "weights"),
        ("weights", lambda a: 0 * a, "no skinning weight"),
        ("kintree_table", lambda a: a[0], "kintree_table"),
        ("kintree_table", lambda a: a[:, ::-1] * 0 + 4, "parents"),
        ("region_face", lambda a: a.astype(np.int32) + 9999, "out of range"),
        ("joint_names", lambda a: np.array(["root", "neck", "jaw", "tail", "ear"]), "tail"),
        ("lmk_mediapipe478_faces", lambda a: a.astype(np.int32) + 99999, "out of range"),
    ],
)
def test_a_head_file_that_contradicts_itself_is_refused(tmp_path, key, spoil, why):
    with np.load(find_asset("open"), allow_pickle=False) as archive:
        arrays = dict(archive)
    arrays[key] = spoil(arrays[key])
    path = tmp_path / "head.npz"
    np.savez(path, **arrays)
    with pytest.raises(AssetError, match=why):
        read_open_head(path)


def test_a_damaged_or_hostile_archive_is_refused(tmp_path):
    path = tmp_path / "head.npz"
    whole = bytearray(find_asset("open").read_bytes())
    whole[500_000:500_040] = bytes(40)
    path.write_bytes(whole)
    with pytest.raises(AssetError, match="cannot be read"):
        read_open_head(path)
    np.save(path.with_suffix(".npy"), np.zeros(3))
    path.write_bytes(path.with_suffix(".npy").read_bytes())
    with pytest.raises(AssetError, match="cannot be read"):
        read_open_head(path)
    header = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f8', 'fortran_order': False, "
    header += b"'shape': (10000000000000,), }"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("v_template.npy", header.ljust(128, b" ")[:-1] + b"\n")
    with pytest.raises(AssetError, match="size that its header says"):
        read_open_head(path)
