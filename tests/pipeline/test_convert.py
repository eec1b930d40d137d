"""Parameter files of other programs; the head is the open one in FLAME's place."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

import face3d
from face3d.core.errors import AssetError, InputError
from face3d.core.rotations import matrix_from_axis_angle
from face3d.export import read_glb, read_params
from face3d.model.head import HeadModel
from face3d.pipeline.convert import head_params
from face3d.regress.checkpoint import read_checkpoint
from face3d.regress.tracked import axis_angle_from_matrix, read_tracked

T = 5


@pytest.fixture(scope="module")
def model() -> HeadModel:
    return face3d.load_head("open")


def vhap(path: Path, **changed: np.ndarray) -> Path:
    rng = np.random.default_rng(0)
    values = {
        "rotation": rng.normal(0, 0.3, (T, 3)), "translation": rng.normal(0, 0.2, (T, 3)),
        "neck_pose": rng.normal(0, 0.2, (T, 3)), "jaw_pose": rng.normal(0, 0.1, (T, 3)),
        "eyes_pose": rng.normal(0, 0.1, (T, 6)), "shape": rng.normal(0, 1, 100),
        "expr": rng.uniform(0, 0.5, (T, 50)), "timestep_id": np.arange(T),
        "n_processed_frames": np.array(T), "static_offset": np.zeros((1, 5500, 3)),
    }  # fmt: skip
    np.savez(path, **(values | changed))
    return path


def test_a_tracked_take_stands_where_flame_puts_it(tmp_path: Path, model: HeadModel) -> None:
    """FLAME turns the head about its root joint, then adds the translation."""
    tracked = read_tracked(vhap(tmp_path / "tracked_flame_params_30.npz"))
    params = head_params(model, tracked)
    placed = model.mesh(params, frame="world").vertices
    at_root = model(
        params.shape, params.expression, params.neck, params.jaw, params.eyes, frame="root"
    )
    joint = model.joints(params.shape)[:, :1]
    expected = (at_root - joint) @ tracked.rotation.mT + joint + tracked.translation[:, None]
    assert (placed - expected).abs().max() < 1e-5


def test_a_glb_plays_the_take(tmp_path: Path, model: HeadModel) -> None:
    source = vhap(tmp_path / "tracked_flame_params_30.npz")
    out = face3d.convert(source, tmp_path / "take.glb", head="open", fps=10.0)
    character, animation = read_glb(out)
    assert animation is not None
    assert np.allclose(animation.times_s, np.arange(T) / 10)
    params = head_params(model, read_tracked(source))
    assert animation.morph_weights is not None
    assert np.allclose(animation.morph_weights, params.expression, atol=1e-6)
    # What a player does: morphs, joints from the root on, then the rig's place.
    assert animation.joint_rotations is not None
    assert animation.world_from_head is not None
    k = 3
    turns = torch.as_tensor(animation.joint_rotations[k]).float()
    joints = torch.as_tensor(character.joint_places).float()
    skin = model.skin_from_rest(matrix_from_axis_angle(turns), joints, "root")
    assert character.morph_deltas is not None
    rest = character.vertices + np.tensordot(
        animation.morph_weights[k], character.morph_deltas, axes=1
    )
    rest = torch.as_tensor(rest).float()
    weights = torch.as_tensor(character.skinning_weights).float()
    blended = torch.einsum("vj,jab->vab", weights, skin)
    posed = (blended[:, :3, :3] @ rest[..., None])[..., 0] + blended[:, :3, 3]
    rig = torch.as_tensor(animation.world_from_head[k]).float()
    posed = posed @ rig[:3, :3].T + rig[:3, 3]
    true = model.mesh(params, frame="world").vertices[k]
    assert (posed - true).norm(dim=-1).median() < 2e-4


def test_parameters_and_a_mesh_can_be_written_too(tmp_path: Path) -> None:
    source = vhap(tmp_path / "t.npz")
    saved = read_params(face3d.convert(source, tmp_path / "p.npz", head="open"))
    assert saved.params.expression.shape == (T, 52)
    assert np.allclose(saved.arrays["times_s"], np.arange(T) / 25)
    assert face3d.convert(source, tmp_path / "p.obj", head="open").stat().st_size > 100_000


def frame_file(path: Path, turn: torch.Tensor) -> None:
    six = torch.eye(3)[:2].reshape(1, 6)
    right = matrix_from_axis_angle(torch.tensor([0.0, 0.2, 0.0]))[:2].reshape(1, 6)
    flame = {
        "exp": torch.full((1, 40), 0.1), "shape": torch.ones(1, 100), "jaw": six,
        "eyes": torch.cat([right, six], dim=1), "eyelids": torch.tensor([[0.3, 0.6]]),
        "tex": torch.zeros(1, 140), "sh": torch.zeros(1, 9, 3),
    }  # fmt: skip
    camera = {"R": turn[None], "t": torch.tensor([[0.0, 0.1, 1.5]]), "K": torch.eye(3)[None]}
    # The tracker keeps numpy's arrays.
    flame = {name: value.numpy() for name, value in flame.items()}
    camera = {name: value.numpy() for name, value in camera.items()}
    state = {"flame": flame, "opencv": camera, "frame_id": "1", "global_step": np.int64(3)}
    torch.save(state, path)


def test_pixel3dmms_frames_are_a_take(tmp_path: Path, model: HeadModel) -> None:
    turn = matrix_from_axis_angle(torch.tensor([0.1, 0.4, 0.0]))
    neck = matrix_from_axis_angle(torch.tensor([0.0, 0.2, 0.0]))
    six = np.eye(3, dtype=np.float32)[:2].reshape(1, 6)
    flame = {
        "exp": np.full((1, 40), 0.1, np.float32), "shape": np.ones((1, 100), np.float32),
        "jaw": six, "eyes": np.concatenate([six, six], 1), "eyelids": np.zeros((1, 2), np.float32),
        "neck": neck[:2].reshape(1, 6).numpy(), "R": turn[:2].reshape(1, 6).numpy(),
        "t": np.array([[0.0, 0.1, 0.2]], np.float32),
    }  # fmt: skip
    camera = {"R_base_0": np.eye(3)[None], "t_base_0": np.zeros((1, 3)), "fl": np.ones((1, 1))}
    torch.save({"flame": flame, "camera": camera}, tmp_path / "00000.frame")
    tracked = read_tracked(tmp_path / "00000.frame")
    assert tracked.source == "Pixel3DMM"
    assert torch.allclose(tracked.neck[0], torch.tensor([0.0, 0.2, 0.0]), atol=1e-6)
    params = head_params(model, tracked)
    placed = model.mesh(params, frame="world").vertices[0]
    own = model(
        params.shape, params.expression, params.neck, params.jaw, params.eyes, frame="root"
    )[0]
    assert torch.allclose(placed, own @ turn.T + torch.tensor([0.0, 0.1, 0.2]), atol=1e-5)


def test_smirks_outputs_are_a_take(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "pose_params": rng.normal(0, 0.1, (4, 3)), "cam": np.ones((4, 3)),
        "shape_params": rng.normal(0, 1, (4, 100)), "expression_params": rng.random((4, 50)),
        "eyelid_params": rng.random((4, 2)), "jaw_params": rng.normal(0, 0.1, (4, 3)),
    }  # fmt: skip
    np.savez(tmp_path / "smirk.npz", **arrays)
    tracked = read_tracked(tmp_path / "smirk.npz")
    assert tracked.source == "SMIRK"
    assert np.allclose(tracked.shape, arrays["shape_params"].mean(0), atol=1e-6)
    assert np.allclose(tracked.eyelids, arrays["eyelid_params"], atol=1e-6)
    assert face3d.convert(tmp_path / "smirk.npz", tmp_path / "take.glb", head="open").exists()


class Calls:
    """What a pickle calls, with what; and what it then does to the result."""

    def __init__(self, function: object, *arguments: object, state: object = None) -> None:
        self.function, self.arguments, self.state = function, arguments, state

    def __reduce__(self) -> tuple[object, ...]:
        if self.state is None:
            return self.function, self.arguments
        return self.function, self.arguments, self.state


def test_arrays_in_checkpoints_run_nothing(tmp_path: Path) -> None:
    make = np.zeros(0).__reduce__()[0]
    number = np.float32(0).__reduce__()[0]
    small = np.dtype("f4")
    hostile = {
        "code": (np.array([Calls(print, "run")], dtype=object), "would run code"),
        "objects": (np.array([{1: 2}], dtype=object), "no readable checkpoint"),
        "texts": (np.array(["a"]), "no readable checkpoint"),
        # Pointers of the file's choice.
        "buffer": (Calls(np.ndarray, (1,), small, b"AAAAAAA"), "no readable checkpoint"),
        "huge": (Calls(make, np.ndarray, (1 << 33,), b"b"), "no readable checkpoint"),
        "wide": (Calls(number, np.dtype("V50000000")), "no readable checkpoint"),
        "short": (
            Calls(make, np.ndarray, (0,), b"b", state=(1, (1 << 40,), small, False, b"AAAA")),
            "no readable checkpoint",
        ),
        "negative": (
            Calls(make, np.ndarray, (0,), b"b", state=(1, (-1, -1), small, False, b"AAAA")),
            "no readable checkpoint",
        ),
    }
    for name, (value, why) in hostile.items():
        torch.save({"flame": {"exp": value}}, tmp_path / f"{name}.frame")
        with pytest.raises(AssetError, match=why):
            read_tracked(tmp_path / f"{name}.frame")
    ring: dict[str, object] = {}
    ring["flame"] = ring
    torch.save(ring, tmp_path / "ring.frame")
    with pytest.raises(AssetError, match="no readable checkpoint"):
        read_tracked(tmp_path / "ring.frame")


@pytest.mark.parametrize("code", ["f4", ">f8", "i8", "u1", "?"])
def test_arrays_of_numbers_are_what_they_were(tmp_path: Path, code: str) -> None:
    values = np.asfortranarray(np.arange(12).reshape(3, 4).astype(code))
    torch.save({"a": values, "b": [np.float64(2.5), values[:0]]}, tmp_path / "x.pt")
    found = read_checkpoint(tmp_path / "x.pt")
    assert np.array_equal(found["a"], values)
    assert found["b"][0] == 2.5
    assert found["b"][1].shape == (0, 4)


def test_metrical_trackers_frames_are_a_take(tmp_path: Path, model: HeadModel) -> None:
    turn = matrix_from_axis_angle(torch.tensor([3.0, 0.2, 0.1]))
    for k in range(3):
        frame_file(tmp_path / f"{k:05d}.frame", turn)
    tracked = read_tracked(tmp_path)
    assert tracked.expression.shape == (3, 40)
    assert torch.allclose(tracked.eyes[0, 1], torch.tensor([0, 0.2, 0]), atol=1e-6)  # right
    assert torch.allclose(tracked.eyes[0, 0], torch.zeros(3), atol=1e-6)
    params = head_params(model, tracked)
    placed = model.mesh(params, frame="world").vertices[0]
    rest = model.mesh(params, frame="head").vertices[0]
    assert torch.allclose(placed, rest @ turn.T + torch.tensor([0.0, 0.1, 1.5]), atol=1e-5)
    face3d.convert(tmp_path, tmp_path / "take.npz", head="open")
    eyelids = read_params(tmp_path / "take.npz").arrays["eyelids"]
    assert np.allclose(eyelids, [[0.3, 0.6]] * 3)


def test_deca_emoca_and_mica_write_one_head_a_picture(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    code = {"shape": rng.normal(size=(1, 100)), "exp": rng.normal(size=(1, 50)) * 0.1,
            "pose": np.array([[0.1, 0, 0, 0.2, 0, 0]])}  # fmt: skip
    savemat(tmp_path / "a.mat", code)
    deca = read_tracked(tmp_path / "a.mat")
    assert torch.allclose(deca.jaw, torch.tensor([[0.2, 0, 0]]))
    assert torch.allclose(
        axis_angle_from_matrix(deca.rotation), torch.tensor([[0.1, 0, 0]]), atol=1e-6
    )
    for k in range(2):
        folder = tmp_path / "emoca" / f"{k:06d}_00"
        folder.mkdir(parents=True)
        for name, value in code.items():
            np.save(folder / f"{name}.npy", value[0] * (k + 1))
    emoca = read_tracked(tmp_path / "emoca")
    assert torch.allclose(emoca.shape, 1.5 * torch.as_tensor(code["shape"][0]).float())
    assert len(emoca.expression) == 2
    np.save(tmp_path / "identity.npy", rng.normal(size=(1, 100)))
    mica = read_tracked(tmp_path / "identity.npy")
    assert mica.shape.shape == (100,)
    face3d.convert(tmp_path / "identity.npy", tmp_path / "mica.glb", head="open")


def test_bad_files_are_named(tmp_path: Path) -> None:
    def refused(path: Path, kind: type[Exception], said: str, **options: object) -> None:
        with pytest.raises(kind, match=said):
            face3d.convert(path, tmp_path / "out.glb", **{"head": "open", **options})
        assert not (tmp_path / "out.glb").exists()

    refused(tmp_path / "none.npz", InputError, "does not exist")
    (tmp_path / "a.txt").write_text("x")
    refused(tmp_path / "a.txt", InputError, "no parameter file")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", InputError, "holds no .frame")
    bad = vhap(tmp_path / "bad.npz", jaw_pose=np.full((T, 3), np.nan))
    refused(bad, AssetError, "jaw_pose")
    refused(vhap(tmp_path / "b2.npz", expr=np.zeros((T, 70))), InputError, "takes 52")
    small = vhap(tmp_path / "b3.npz", static_offset=np.zeros((1, 5143, 3)))
    refused(small, InputError, "5143 vertices")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    refused(tmp_path / "other.npz", AssetError, "has no 'expr'")
    (tmp_path / "cut.npz").write_bytes(vhap(tmp_path / "t.npz").read_bytes()[:500])
    refused(tmp_path / "cut.npz", AssetError, "damaged")
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    refused(tmp_path / "o.npy", AssetError, "objects")
    torch.save({"x": torch.zeros(2)}, tmp_path / "x.frame")
    refused(tmp_path / "x.frame", AssetError, "no .frame file")
    (tmp_path / "m.mat").write_bytes(b"MATLAB 5.0 nonsense")
    refused(tmp_path / "m.mat", AssetError, "MATLAB")
    refused(vhap(tmp_path / "ok.npz"), InputError, "frame rate", fps=0.0)
    with pytest.raises(InputError, match="ends in"):
        face3d.convert(tmp_path / "ok.npz", tmp_path / "a.fbx", head="open")


def test_damaged_files_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "huge.npy").write_bytes(
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}"
        + b" " * 40 + b"\n"
    )  # fmt: skip
    texts = dict.fromkeys(("expr", "shape", "rotation"), np.array([["a"]]))
    np.savez(tmp_path / "texts.npz", **texts)
    offsets = vhap(tmp_path / "offsets.npz")
    with np.load(offsets) as file:
        arrays = dict(file) | {"static_offset": np.zeros(7)}
    np.savez(offsets, **arrays)
    six = torch.eye(3)[:2].reshape(1, 6)
    flame = {"exp": torch.zeros(1, 4), "shape": torch.zeros(1, 4), "jaw": six,
             "eyes": torch.cat([six, six], 1), "eyelids": torch.zeros(1, 2)}  # fmt: skip
    torch.save({"flame": flame, "opencv": {"t": torch.zeros(3)}}, tmp_path / "noturn.frame")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(AssetError):
            read_tracked(path)
    camera = {"R": torch.eye(3), "t": torch.zeros(3)}
    grown = {"exp": torch.zeros(1, 4, requires_grad=True)}
    torch.save({"flame": flame | grown, "opencv": camera}, tmp_path / "grad.frame")
    assert read_tracked(tmp_path / "grad.frame").expression.shape == (1, 4)
    take = tmp_path / "take"
    take.mkdir()
    for k in (4, 5):
        other = {"shape": torch.zeros(1, k)}
        torch.save({"flame": flame | other, "opencv": camera}, take / f"{k}.frame")
    with pytest.raises(AssetError, match="length"):
        read_tracked(take)
