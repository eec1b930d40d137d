"""Faces cut out of photos and videos."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from face3d.core.errors import InputError
from face3d.core.types import Detection, Frame
from face3d.media import files_in, prefetched, video_frames, video_writer
from face3d.train.photo_batches import HeldPhotos, PhotoCrops, clips_of, make_photo_batch, split
from face3d.train.photo_set import PhotoFaces, read_photo_set, write_photo_set

FACE = np.random.default_rng(0).uniform(-1, 1, (478, 2)) * [18, 24]
FACE[:4] = [[-18, -24], [18, 24], [-18, 24], [18, -24]]
FACE[33], FACE[263] = [-12, -8], [12, -8]


class Bright:
    """Finds a face around the brightest spot, and none in dark pictures."""

    def __init__(self) -> None:
        self.looked = 0

    def detect(self, frame: Frame, *, max_faces: int) -> Detection:
        assert max_faces == 1
        self.looked += 1
        light = frame.rgb.mean(-1)
        n = int(light.max() > 200)
        row, column = np.unravel_index(light.argmax(), light.shape)
        points = np.zeros((n, 478, 3))
        points[:, :, :2] = FACE + np.array([column + 0.5, row + 0.5])
        return Detection(
            box_xyxy=np.zeros((n, 4)), landmarks=points, layout="mediapipe478",
            score=np.ones(n), visibility=np.ones((n, 478)),
        )  # fmt: skip


def _picture(x: int, y: int) -> np.ndarray:
    rgb = np.full((120, 160, 3), 60, np.uint8)
    rgb[y - 3 : y + 4, x - 3 : x + 4] = 180
    rgb[y, x] = 255
    return rgb


def _save(path: Path, rgb: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two photos of Ada, one of Bo, a film, one picture without a face and one that is broken."""
    folder = tmp_path / "images"
    _save(folder / "ada" / "1.png", _picture(60, 60))
    _save(folder / "ada" / "2.png", _picture(80, 50))
    _save(folder / "bo" / "1.png", _picture(70, 70))
    _save(folder / "bo" / "dark.png", np.zeros((64, 64, 3), np.uint8))
    (folder / "bo" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    with video_writer(folder / "film.mp4", width=160, height=120, fps=Fraction(25)) as film:
        for k in range(10):
            film.add(_picture(40 + 4 * k, 60))
    return folder


def test_largest_faces_are_cut_out_and_the_rest_is_named(images: Path, tmp_path: Path) -> None:
    said: list[tuple[int, int]] = []
    skipped = write_photo_set(
        images, tmp_path / "set", "smirk", Bright(), on_progress=lambda *a: said.append(a)
    )
    assert len(skipped) == 2
    assert skipped[0].startswith("bo/broken.jpg: ")
    assert skipped[1] == "bo/dark.png: no face found"
    assert said[-1] == (6, 6)
    faces = read_photo_set(tmp_path / "set")
    assert faces.rgb.shape == (13, 224, 224, 3)
    assert faces.person.tolist()[:3] == [0, 0, 1]
    assert len(set(faces.person.tolist())) == 3
    assert faces.frame.tolist()[-10:] == list(range(10))
    # The crop shows the spot in the middle of the face, where its landmarks say.
    for rgb, points in zip(faces.rgb[:3], faces.landmarks[:3], strict=True):
        row, column = np.unravel_index(rgb.mean(-1).argmax(), (224, 224))
        middle = points[:4].mean(0)
        assert np.abs((2 * np.array([column, row]) + 1) / 224 - 1 - middle).max() < 0.05
        assert np.abs(middle).max() < 0.05


def test_the_own_regressors_crops_are_its_own(images: Path, tmp_path: Path) -> None:
    write_photo_set(images, tmp_path / "set", "own", Bright())
    faces = read_photo_set(tmp_path / "set")
    assert faces.rgb.shape[1:] == (128, 128, 3)
    assert float(np.ptp(faces.landmarks[0], axis=0).max()) == pytest.approx(2 / 1.5, rel=0.02)


@pytest.mark.parametrize("at", [1, 4, 9])
def test_a_stopped_preparation_is_gone_on_with(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr("face3d.train.photo_set.PER_FILE", 2)
    whole = tmp_path / "whole"
    wanted = write_photo_set(images, whole, "smirk", Bright())

    class Stops(Bright):
        def detect(self, frame: Frame, *, max_faces: int) -> Detection:
            if self.looked == at:
                raise KeyboardInterrupt
            return super().detect(frame, max_faces=max_faces)

    parts = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        write_photo_set(images, parts, "smirk", Stops())
    again = Bright()
    assert write_photo_set(images, parts, "smirk", again) == wanted
    assert again.looked <= 16 - at // 2 * 2
    for a, b in zip(
        vars(read_photo_set(whole)).values(), vars(read_photo_set(parts)).values(), strict=True
    ):
        assert np.array_equal(a, b)
    idle = Bright()
    write_photo_set(images, parts, "smirk", idle)
    assert idle.looked == 0


def test_sets_of_other_pictures_are_refused(images: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_photo_set(images, folder, "smirk", Bright())
    with pytest.raises(InputError, match="other pictures"):
        write_photo_set(images, folder, "deca", Bright())
    with pytest.raises(InputError, match="no set of ours"):
        write_photo_set(images, images, "smirk", Bright())
    (folder / "set.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        write_photo_set(images, folder, "smirk", Bright())
    (folder / "faces_00000.npz").write_bytes(b"PK nothing")
    with pytest.raises(InputError, match="damaged"):
        read_photo_set(folder)
    with pytest.raises(InputError, match="holds no set"):
        read_photo_set(tmp_path)


def test_folders_without_faces_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        files_in(tmp_path / "none")
    with pytest.raises(InputError, match="no photos"):
        files_in(tmp_path)
    _save(tmp_path / "dark" / "1.png", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(InputError, match="no picture in which"):
        write_photo_set(tmp_path / "dark", tmp_path / "set", "smirk", Bright())


def _faces(sources: list[int], persons: list[int], size: int = 16) -> PhotoFaces:
    count = len(sources)
    rng = np.random.default_rng(0)
    return PhotoFaces(
        rgb=rng.integers(0, 255, (count, size, size, 3), dtype=np.uint8),
        landmarks=rng.uniform(-1, 1, (count, 478, 2)).astype(np.float32),
        source=np.array(sources), person=np.array(persons), frame=np.arange(count),
    )  # fmt: skip


def test_whole_files_are_held_out() -> None:
    faces = _faces([k // 3 for k in range(60)], [0] * 60)
    learned, held = split(faces)
    assert not set(learned.source) & set(held.source)
    assert len(learned.rgb) + len(held.rgb) == 60
    assert 3 <= len(held.rgb) <= 9
    learned, held = split(_faces([0] * 20, [0] * 20))
    assert held.frame.tolist() == [18, 19]
    learned, held = split(_faces([0, 1], [0, 1]))
    assert len(learned.rgb) == len(held.rgb) == 1
    with pytest.raises(InputError, match="at least two"):
        split(_faces([0], [0]))


def test_pairs_are_of_one_person_and_clips_of_one_film() -> None:
    faces = _faces([k // 10 for k in range(40)], [k // 20 for k in range(40)])
    person = {
        tuple(rgb.ravel()[:8]): int(p) for rgb, p in zip(faces.rgb, faces.person, strict=True)
    }
    crops = PhotoCrops(faces, batch=8, order="pairs", seed=3)
    rng = np.random.default_rng(0)
    for _ in range(10):
        rows = crops._draw(rng)
        assert np.array_equal(faces.person[rows[::2]], faces.person[rows[1::2]])
        assert (rows[::2] != rows[1::2]).all()
    clips = PhotoCrops(faces, batch=8, order="clips", seed=3)
    for _ in range(20):
        rows = clips._draw(rng)
        assert np.array_equal(np.diff(rows), np.ones(len(rows) - 1))
        assert len(set(faces.source[rows])) == 1
    held = HeldPhotos(faces, batch=8, order="clips")
    assert sum(len(held[k].crops) for k in range(len(held))) == 40
    assert {len(held[k].crops) for k in range(len(held))} == {8, 2}
    paired = HeldPhotos(faces, batch=8, order="pairs")
    for k in range(len(paired)):
        named = [person[tuple(c.numpy().ravel()[:8])] for c in paired[k].crops]
        assert named[::2] == named[1::2]


def test_landmarks_move_with_what_is_cut_out() -> None:
    faces = _faces([0, 1], [0, 1], size=64)
    faces.rgb[:] = 0
    faces.rgb[:, 40:44, 20:24] = 255
    faces.landmarks[:, 0] = [2 * 22 / 64 - 1, 2 * 42 / 64 - 1]
    rng = np.random.default_rng(1)
    for _ in range(10):
        batch = make_photo_batch(faces, np.array([0, 1]), rng, same=True)
        assert torch.equal(batch.landmarks[0, 0], batch.landmarks[1, 0])
        light = batch.crops[0].float().mean(-1)
        y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        centre = torch.stack([(light * x).sum(), (light * y).sum()]) / light.sum() + 0.5
        assert torch.allclose(2 * centre / 64 - 1, batch.landmarks[0, 0], atol=0.02)


def test_frames_have_numbers_and_times(images: Path, tmp_path: Path) -> None:
    frames = list(video_frames(images / "film.mp4"))
    assert [f.index for f in frames] == list(range(10))
    assert frames[5].time_s == pytest.approx(0.2)
    assert frames[0].rgb.shape == (120, 160, 3)
    assert [f.index for f in video_frames(images / "film.mp4", every=4)] == [0, 4, 8]
    with pytest.raises(InputError, match="no file"):
        list(video_frames(tmp_path / "none.mp4"))
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match="no video"):
        list(video_frames(tmp_path / "text.mp4"))
    with pytest.raises(InputError, match="at least 1"):
        list(video_frames(images / "film.mp4", every=0))


def test_prefetched_items_come_in_order_and_errors_in_their_place() -> None:
    made: list[int] = []

    def items(stop: int):
        for k in range(10):
            if k == stop:
                raise InputError("broken")
            made.append(k)
            yield k

    assert list(prefetched(items(10), 3)) == list(range(10))
    broken = prefetched(items(4), 3)
    assert [next(broken) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(InputError, match="broken"):
        next(broken)
    made.clear()
    some = prefetched(items(10), 2)
    assert next(some) == 0
    some.close()
    assert len(made) <= 4


def test_processes_that_train_together_draw_other_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    crops = PhotoCrops(_faces(list(range(30)), [0] * 30), batch=8, seed=3)
    alone = next(iter(crops))
    assert torch.equal(alone.crops, next(iter(crops)).crops)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    assert not torch.equal(alone.crops, next(iter(crops)).crops)


def test_clips_have_no_gaps_and_two_frames_at_least() -> None:
    faces = _faces([0] * 6 + [1] * 5 + [2], [0] * 12)
    faces.frame[:] = [0, 2, 4, 10, 12, 14, 0, 2, 4, 6, 9, 0]
    assert [c.tolist() for c in clips_of(faces)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8, 9]]
    crops = PhotoCrops(faces, batch=8, order="clips", seed=0)
    rng = np.random.default_rng(0)
    assert all(len(crops._draw(rng)) > 1 for _ in range(50))
    with pytest.raises(InputError, match="two frames"):
        PhotoCrops(_faces([0, 1, 2], [0, 0, 0]), batch=8, order="clips")


def test_files_of_the_same_name_are_other_files(images: Path, tmp_path: Path) -> None:
    write_photo_set(images / "ada" / "1.png", tmp_path / "set", "smirk", Bright())
    with pytest.raises(InputError, match="other pictures"):
        write_photo_set(images / "bo" / "1.png", tmp_path / "set", "smirk", Bright())
    with pytest.raises(InputError, match="at least 1"):
        write_photo_set(images, tmp_path / "new", "smirk", Bright(), every=0)
    assert not (tmp_path / "new").exists()
