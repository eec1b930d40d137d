"""FLAME files: what is read is what was written, and nothing in a file is ever run."""

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from face3d.core.errors import AssetError
from face3d.model import flame_file
from face3d.model.flame_file import read_flame
from face3d.model.head import HeadModel
from face3d.regress.flame_guess import flame_vertices, with_eyelids

_SPEC = importlib.util.spec_from_file_location(
    "make_flame_file", Path(__file__).with_name("make_flame_file.py")
)
assert _SPEC is not None
assert _SPEC.loader is not None
make = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(make)


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return make.make_arrays()


@pytest.fixture
def file(tmp_path: Path):
    """A place for a file of 53 MB that does not stay behind."""
    path = tmp_path / "flame.pkl"
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def written(arrays, tmp_path_factory):
    """A file of the form of FLAME 2023 for the tests that only read."""
    path = make.write_flame(tmp_path_factory.mktemp("flame") / "flame2023.pkl", arrays)
    yield path
    path.unlink()


def assert_is(data, arrays) -> None:
    for name, key in (
        ("v_template", "v_template"),
        ("pose_basis", "posedirs"),
        ("joint_regressor", "J_regressor"),
        ("skinning_weights", "weights"),
        ("faces", "f"),
    ):
        np.testing.assert_array_equal(getattr(data, name), arrays[key], err_msg=name)
    np.testing.assert_array_equal(data.identity_basis, arrays["shapedirs"][..., :300])
    np.testing.assert_array_equal(data.expression_basis, arrays["shapedirs"][..., 300:])
    assert data.parents.tolist() == [-1, 0, 1, 1, 1]
    assert data.joint_names == ("root", "neck", "jaw", "left_eye", "right_eye")
    assert data.expression_names[:2] == ("expression_000", "expression_001")
    assert len(set(data.expression_names)) == 100
    assert data.v_template.dtype == np.float64


def test_values_are_those_of_a_file_with_chumpy(file: Path, arrays):
    assert_is(read_flame(make.write_flame(file, arrays, chumpy=True)), arrays)


def test_values_are_those_of_a_file_with_plain_arrays(written: Path, arrays):
    data = read_flame(written)
    assert_is(data, arrays)
    assert data.name == "FLAME 2023"
    assert data.embeddings == {}


def test_the_written_form_is_python_2s(file: Path, arrays):
    raw = make.write_flame(file, {"v_template": arrays["v_template"]}, chumpy=True).read_bytes()
    assert raw.startswith(b"\x80\x02}")
    assert make.globals_of(raw) == {
        "__builtin__.set",
        "chumpy.ch.Ch",
        "numpy.core.multiarray._reconstruct",
        "numpy.dtype",
        "numpy.ndarray",
    }


def assert_reads_small(file: Path, arrays) -> None:
    """Compare all entries but shapedirs, which is the same again and nine tenths of a file."""
    entries = flame_file._load_entries(file)
    for key in list(flame_file._SHAPES)[:-1]:
        np.testing.assert_array_equal(flame_file._entry(file, entries, key), arrays[key])


@pytest.fixture(scope="module")
def small(arrays):
    return {key: array for key, array in arrays.items() if key != "shapedirs"}


@pytest.mark.parametrize("protocol", [0, 1, 4])
@pytest.mark.parametrize("rows", [False, True])
def test_copies_in_other_protocols_are_read(file: Path, small, protocol, rows):
    make.write_flame(file, small, chumpy=True, protocol=protocol, rows=rows)
    assert_reads_small(file, small)


@pytest.mark.parametrize("protocol", [2, 3])
def test_copies_written_by_python_3_are_read(file: Path, small, protocol):
    # Python 3 writes bytes as _codecs.encode('..', 'latin1') in protocol 2. The other byte order
    # and the order of Fortran are kept by pickles too; J_regressor may be dense in copies.
    copy = small | {
        "v_template": small["v_template"].astype(">f8"),
        "posedirs": np.asfortranarray(small["posedirs"]),
    }
    file.write_bytes(pickle.dumps(copy, protocol=protocol))
    assert_reads_small(file, small)


def test_aliases_are_accepted(file: Path, small):
    renamed = dict(small)
    for key, alias in (("v_template", "template_v"), ("posedirs", "blendshapes")):
        renamed[alias] = renamed.pop(key)
    renamed["joint_regressor"] = renamed.pop("J_regressor")
    assert_reads_small(make.write_flame(file, renamed), small)


@pytest.mark.parametrize(
    ("stem", "name", "licence"),
    [
        ("generic_model", "FLAME 2020", "Max Planck"),
        ("flame2023", "FLAME 2023", "Max Planck"),
        ("flame2023_Open", "FLAME 2023 Open", "CC-BY-4.0"),
        ("mine", "FLAME", "Max Planck"),
    ],
)
def test_names_and_licences_follow_the_published_names(stem, name, licence):
    found = flame_file._name_and_licence(Path(f"{stem}.pkl"))
    assert found[0] == name
    assert licence in found[1]


# --- The equations -----------------------------------------------------------------------------


def rodrigues(vector: np.ndarray) -> np.ndarray:
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def flame_in_numpy(arrays, shape, expression, rotations) -> np.ndarray:
    """Li et al. (2017), eq. 1-5, one joint and one vertex weight at a time."""
    basis = arrays["shapedirs"]
    shaped = arrays["v_template"] + basis[..., :300] @ shape
    joints = arrays["J_regressor"] @ shaped
    feature = (rotations[1:] - np.eye(3)).reshape(-1)
    posed = shaped + basis[..., 300:] @ expression + arrays["posedirs"] @ feature
    transforms: list[np.ndarray] = []
    for joint, parent in enumerate([-1, 0, 1, 1, 1]):
        local = np.eye(4)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
        transforms.append(local if parent < 0 else transforms[parent] @ local)
    vertices = np.zeros_like(posed)
    for joint, transform in enumerate(transforms):
        moved = (posed - joints[joint]) @ transform[:3, :3].T + transform[:3, 3]
        vertices += arrays["weights"][:, joint, None] * moved
    return vertices


def test_the_head_follows_flames_equations(written: Path, arrays):
    model = HeadModel(read_flame(written), dtype=torch.float64)
    random = np.random.default_rng(1)
    shape, expression = random.normal(size=(2, 300)), random.normal(size=(2, 100))
    neck, jaw = random.normal(scale=0.4, size=(2, 2, 3))
    eyes = random.normal(scale=0.4, size=(2, 2, 3))
    inputs = (torch.from_numpy(a) for a in (shape, expression, neck, jaw, eyes))
    found = model(*inputs, frame="root").numpy()
    for k in range(2):
        turns = [rodrigues(v) for v in (neck[k], jaw[k], *eyes[k])]
        wanted = flame_in_numpy(arrays, shape[k], expression[k], np.stack([np.eye(3), *turns]))
        np.testing.assert_allclose(found[k], wanted, rtol=0, atol=1e-9)


# --- Damaged files -----------------------------------------------------------------------------


@pytest.mark.parametrize("key", list(flame_file._SHAPES))
def test_a_missing_key_is_named(file: Path, arrays, key):
    # Only what comes before the missing key has to be there.
    before = list(flame_file._SHAPES)[: list(flame_file._SHAPES).index(key)]
    make.write_flame(file, {name: arrays[name] for name in before})
    with pytest.raises(AssetError, match=f"the key '{key}' is missing"):
        read_flame(file)


@pytest.mark.parametrize(
    ("key", "change", "complaint"),
    [
        ("v_template", lambda a: a[:-1], r"shape \(5022, 3\) where \(5023, 3\)"),
        ("v_template", lambda a: a.astype(np.int32), "wrong type int32"),
        ("v_template", lambda a: np.where(a > a.max() - 1e-12, np.nan, a), "NaN or infinite"),
        ("f", lambda a: a[:5000], r"shape \(5000, 3\) where \(9976, 3\)"),
        ("f", lambda a: a.astype(np.float64), "wrong type float64"),
        ("shapedirs", lambda a: a[..., :150], r"shape \(5023, 3, 150\) where \(5023, 3, 400\)"),
        ("J_regressor", lambda a: a[:4], r"shape \(4, 5023\) where \(5, 5023\)"),
        ("kintree_table", lambda a: a[:, :4], r"shape \(2, 4\) where \(2, 5\)"),
        ("weights", lambda a: a.T, r"shape \(5, 5023\) where \(5023, 5\)"),
    ],
)
def test_a_wrong_entry_is_named(file: Path, arrays, key, change, complaint):
    # The large arrays come last, so they need not be there where an earlier one is wrong.
    before = list(flame_file._SHAPES)[: list(flame_file._SHAPES).index(key)]
    make.write_flame(file, {name: arrays[name] for name in before} | {key: change(arrays[key])})
    with pytest.raises(AssetError, match=f"key '{key}'.*{complaint}.*download it again"):
        read_flame(file)


@pytest.mark.parametrize(
    ("key", "change", "complaint"),
    [
        ("f", lambda a: a + np.uint32(5023), "f points at vertices that do not exist"),
        ("kintree_table", lambda a: a[:, [0, 2, 1, 3, 4]], r"the parents \[-1, 1, 0, 1, 1\]"),
    ],
)
def test_entries_that_cannot_be_meant_are_refused(file: Path, arrays, key, change, complaint):
    make.write_flame(file, dict(arrays) | {key: change(arrays[key])})
    with pytest.raises(AssetError, match=complaint):
        read_flame(file)


def test_truncated_files_are_refused(file: Path, arrays):
    small = {key: arrays[key] for key in ("v_template", "J_regressor")}
    raw = make.write_flame(file, small, chumpy=True).read_bytes()
    for length in (0, 1, 2, 3, 10, 100, len(raw) // 2, len(raw) - 1):
        file.write_bytes(raw[:length])
        with pytest.raises(AssetError, match="read safely"):
            read_flame(file)


@pytest.mark.parametrize("raw", [b"\0" * 100, b"PK\3\4", b"v 0 0 0\n", b"\x80\x02.", b"\x80\x63."])
def test_other_files_are_refused(file: Path, raw):
    file.write_bytes(raw)
    with pytest.raises(AssetError, match="read safely"):
        read_flame(file)


def test_what_is_no_dictionary_is_refused(file: Path):
    file.write_bytes(pickle.dumps([1, 2], protocol=2))
    with pytest.raises(AssetError, match="does not hold a dictionary of names"):
        read_flame(file)


def test_missing_files_and_folders_are_refused(tmp_path: Path):
    for path in (tmp_path / "absent.pkl", tmp_path):
        with pytest.raises(AssetError, match="cannot be read"):
            read_flame(path)


def test_huge_files_are_refused_unread(file: Path):
    with file.open("wb") as stream:
        stream.truncate((1 << 30) + 1)  # sparse: takes no room
    with pytest.raises(AssetError, match="1073741825 bytes"):
        read_flame(file)


def sparse(arrays, **changes) -> dict:
    """The parts of the sparse regressor of a file that holds nothing else, some changed."""
    with make._stand_ins() as (_, by_column, _):
        matrix = by_column(arrays["J_regressor"])
        vars(matrix).update({k: f(getattr(matrix, k)) for k, f in changes.items()})
        return make.dump_like_python2({"J_regressor": matrix}, 2)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"indices": lambda a: a + 5}, "out of range"),
        ({"indices": lambda a: a - 5}, "out of range"),
        ({"indices": lambda a: a[:-1]}, "do not fit its values"),
        ({"indptr": lambda a: a[:-1]}, "do not fit its values"),
        ({"indptr": lambda a: a[::-1]}, "do not fit its values"),
        ({"data": lambda a: a[:-1]}, "do not fit its values"),
        ({"_shape": lambda a: (5, 1 << 40)}, "where"),
    ],
)
def test_a_sparse_matrix_that_contradicts_itself_is_refused(
    tmp_path: Path, arrays, monkeypatch, changes, complaint
):
    monkeypatch.setattr(flame_file, "_SHAPES", {"J_regressor": (5, 5023)})
    file = tmp_path / "flame.pkl"
    file.write_bytes(sparse(arrays, **changes))
    with pytest.raises(AssetError, match=complaint):
        read_flame(file)


# --- MediaPipe's landmarks ---------------------------------------------------------------------


def embedding(**changes) -> dict[str, np.ndarray]:
    random = np.random.default_rng(2)
    return {
        "landmark_indices": random.permutation(478)[:105],
        "lmk_face_idx": random.integers(0, 9976, 105).astype(np.uint32),
        "lmk_b_coords": random.dirichlet(np.ones(3), 105),
    } | changes


def test_a_landmark_embedding_is_read_in_ascending_order(written: Path, tmp_path: Path):
    points = embedding()
    np.savez(tmp_path / "lmk.npz", **points)
    data = read_flame(written, landmark_embedding=tmp_path / "lmk.npz")
    (found,) = data.embeddings.values()
    assert found.layout == "mediapipe478"
    assert (np.diff(found.indices) > 0).all()
    for k, point in enumerate(points["landmark_indices"]):
        place = found.indices.tolist().index(point)
        assert found.face_index[place] == points["lmk_face_idx"][k]
        np.testing.assert_array_equal(found.barycentric[place], points["lmk_b_coords"][k])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"lmk_face_idx": np.zeros(104, np.uint32)}, "shapes"),
        ({"landmark_indices": np.zeros(105, np.int64)}, "shapes"),
        ({"landmark_indices": np.arange(400, 505)}, "not in 0..477"),
        ({"landmark_indices": np.arange(105.0)}, "other types"),
        ({"lmk_face_idx": np.full(105, 9976)}, "not on FLAME's surface"),
        ({"lmk_b_coords": np.full((105, 3), 0.5)}, "not on FLAME's surface"),
        ({"lmk_b_coords": np.array([None])}, "holds objects"),
    ],
)
def test_a_wrong_landmark_embedding_is_refused(tmp_path: Path, changes, complaint):
    path = tmp_path / "lmk.npz"
    np.savez(path, **embedding(**changes))
    with pytest.raises(AssetError, match=complaint):
        flame_file._read_mediapipe_embedding(path)


def test_other_files_are_no_landmark_embedding(tmp_path: Path):
    path = tmp_path / "lmk.npz"
    for raw in (None, b"", b"PK\3\4", pickle.dumps({})):
        if raw is not None:
            path.write_bytes(raw)
        with pytest.raises(AssetError, match="is no landmark embedding"):
            flame_file._read_mediapipe_embedding(path)
    np.save(tmp_path / "lmk.npy", np.zeros(3))
    with pytest.raises(AssetError, match="is no landmark embedding"):
        flame_file._read_mediapipe_embedding(tmp_path / "lmk.npy")


def _lids(folder: Path) -> tuple[Path, Path]:
    paths = folder / "l_eyelid.npy", folder / "r_eyelid.npy"
    for k, path in enumerate(paths):
        offsets = np.zeros((5023, 3))
        offsets[10 * k : 10 * k + 5, 1] = -0.008
        np.save(path, offsets)
    return paths


def test_eyelids_are_two_more_expressions(written, tmp_path: Path) -> None:
    data = read_flame(written, eyelids=_lids(tmp_path))
    assert data.expression_basis.shape == (5023, 3, 102)
    assert data.expression_names[-2:] == ("eyelidLeft", "eyelidRight")
    model = HeadModel(data)
    codes = {
        "shape": torch.zeros(1, 300), "expression": torch.zeros(1, 50), "jaw": torch.zeros(1, 3),
        "head": torch.tensor([[0.0, 1.2, 0.0]]), "eyelids": torch.tensor([[1.0, 0.5]]),
    }  # fmt: skip
    weights = with_eyelids(model, codes)
    assert weights[0, -2:].tolist() == [1.0, 0.5]
    assert float(weights[0, :-2].abs().max()) == 0
    # Without the shapes there is nothing to close.
    plain = HeadModel(read_flame(written))
    assert with_eyelids(plain, codes).shape == (1, 100)


def test_published_eyelids_are_pushed_in_the_worlds_axes(written, tmp_path: Path) -> None:
    """SMIRK's quirk: the same as ours before a camera, and off by a turn beside it."""
    model = HeadModel(read_flame(written, eyelids=_lids(tmp_path)))
    codes = {
        "shape": torch.zeros(1, 300), "expression": torch.zeros(1, 50), "jaw": torch.zeros(1, 3),
        "head": torch.zeros(1, 3), "eyelids": torch.tensor([[1.0, 0.0]]),
    }  # fmt: skip
    shut = flame_vertices(model, codes)
    still = flame_vertices(model, codes | {"eyelids": torch.zeros(1, 2)})
    assert torch.allclose(shut, flame_vertices(model, codes, as_published=True), atol=1e-6)
    turned = codes | {"head": torch.tensor([[0.0, 0.0, 1.0]])}
    ours, theirs = (flame_vertices(model, turned, as_published=q) for q in (False, True))
    before = flame_vertices(model, turned | {"eyelids": torch.zeros(1, 2)})
    assert torch.allclose((theirs - before)[0, :5], (shut - still)[0, :5], atol=1e-6)
    assert float((ours - theirs)[0, :5].norm(dim=-1).min()) > 0.005
    assert torch.allclose((ours - before).norm(dim=-1), (shut - still).norm(dim=-1), atol=1e-6)


def test_damaged_eyelids_are_refused(written, tmp_path: Path) -> None:
    left, right = _lids(tmp_path)
    right.write_bytes(b"\x93NUMPY nothing")
    with pytest.raises(AssetError, match="r_eyelid"):
        read_flame(written, eyelids=(left, right))
    np.save(right, np.zeros((10, 3)))
    with pytest.raises(AssetError, match="no eyelid of FLAME"):
        read_flame(written, eyelids=(left, right))
    np.save(right, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(AssetError, match="cannot be read"):
        read_flame(written, eyelids=(left, right))
