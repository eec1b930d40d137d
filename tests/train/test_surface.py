"""Training of the network that moves landmarks."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import face3d
from face3d.core.errors import InputError
from face3d.core.types import Detection, Frame
from face3d.fit.corrective import correctable
from face3d.model.head import HeadModel
from face3d.regress.flat_face import FlatFace, face_frames, flat_places
from face3d.regress.surface_net import read_surface_net
from face3d.train.surface_batches import (
    DETECTED,
    FlatFaces,
    HeldFlatFaces,
    detect_in_set,
    flat_batch,
    found_faces,
)
from face3d.train.synthetic import read_shards
from face3d.train.synthetic.scene import landmark_points

HEAD = Path(face3d.__file__).parent.parent / "flame_assets" / "open_head.npz"
OFF = np.array([1.5, -0.5])


class Leaning:
    """Finds every other face, always off by the same way."""

    def __init__(self, truth: np.ndarray) -> None:
        self.truth, self.looked = truth, 0

    def detect(self, frame: Frame, *, max_faces: int) -> Detection:
        assert max_faces == 1
        k, self.looked = self.looked, self.looked + 1
        found = self.truth[k : k + 1] + OFF if k % 2 == 0 else self.truth[:0]
        n = len(found)
        return Detection(
            box_xyxy=np.zeros((n, 4)),
            landmarks=np.concatenate([found, np.zeros((n, 478, 1))], axis=-1),
            layout="mediapipe478",
            score=np.ones(n),
            visibility=np.ones((n, 478)),
        )


@pytest.fixture(scope="module")
def wide() -> HeadModel:
    return HeadModel(correctable(face3d.load_head("open").data))


@pytest.fixture(scope="module")
def flat(wide: HeadModel) -> FlatFace:
    return FlatFace(flat_places(landmark_points(wide, wide.template).numpy()))


@pytest.fixture
def found_set(small_set: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "faces"
    shutil.copytree(small_set, folder)
    shard = next(iter(read_shards(folder)))
    detect_in_set(folder, Leaning(shard.labels["landmarks"]))
    return folder


def test_a_detector_looks_at_each_picture_once(found_set: Path) -> None:
    part = found_set / "shard_00000"
    found = np.load(part / DETECTED)
    assert np.isfinite(found[::2]).all()
    assert np.isnan(found[1::2]).all()
    detector = Leaning(found)
    detect_in_set(found_set, detector)
    assert detector.looked == 0


def test_what_is_wanted_undoes_the_detectors_error(found_set: Path, flat: FlatFace) -> None:
    faces = found_faces(found_set / "shard_00000")
    assert faces is not None
    batch = flat_batch(flat, [(faces, faces.rows[:4])], None)
    for k, row in enumerate(faces.rows[:4]):
        frame = face_frames(faces.detected[row][None])
        back = batch.wanted[k, :, :2].numpy() @ np.linalg.inv(frame.from_picture[0]).T
        assert np.abs(back + OFF).max() < 1e-2
    other = flat_batch(flat, [(faces, faces.rows[:4])], np.random.default_rng(0))
    assert not torch.equal(other.wanted, batch.wanted)
    assert not torch.equal(other.pictures, batch.pictures)


def test_batches_come_in_an_order_of_their_seed(found_set: Path, flat: FlatFace) -> None:
    a, b, c = (next(iter(FlatFaces([found_set], flat, batch=8, seed=seed))) for seed in (1, 1, 2))
    assert torch.equal(a.pictures, b.pictures)
    assert not torch.equal(a.pictures, c.pictures)
    held = HeldFlatFaces(found_set, flat, batch=10)
    assert [len(held[k].wanted) for k in range(len(held))] == [10, 6]


def test_damage_is_named(found_set: Path, flat: FlatFace) -> None:
    path = found_set / "shard_00000" / DETECTED
    np.save(path, np.zeros((3, 478, 2), np.float32))
    with pytest.raises(InputError, match="other pictures"):
        found_faces(path.parent)
    path.write_bytes(b"no")
    with pytest.raises(InputError, match="damaged"):
        found_faces(path.parent)
    path.unlink()
    with pytest.raises(InputError, match="no face"):
        next(iter(FlatFaces([found_set], flat, batch=8, seed=1)))
    with pytest.raises(InputError, match="no face"):
        HeldFlatFaces(found_set, flat)


@pytest.mark.slow
def test_training_learns_a_detectors_lean(found_set: Path, tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    from face3d.train.surface import export_surface, train_surface

    def train(steps: int) -> Path:
        return train_surface(
            [found_set], found_set, tmp_path / "run", HEAD, steps=steps, batch=8, every=20
        )

    last = train(60)
    with pytest.raises(InputError, match="--steps 60"):
        train(80)
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [20, 40, 60]
    first, end = float(rows[0]["held_offsets"]), float(rows[-1]["held_offsets"])
    assert end < 0.7 * first
    net = read_surface_net(export_surface(last, tmp_path / "net.npz"))
    assert float(net.places.abs().max()) > 0.8
    with pytest.raises(InputError, match="no checkpoint"):
        export_surface(tmp_path / "net.npz", tmp_path / "again.npz")
