import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from face3d.core import (
    AssetError,
    Detection,
    DetectionError,
    Frame,
    InputError,
    MissingDependencyError,
)
from face3d.core.landmarks import CHIN, EYE_OUTER_LEFT, EYE_OUTER_RIGHT, LEFT_IRIS, RIGHT_IRIS
from face3d.detect import choose_faces, load_detector
from face3d.detect.crops import Patch, Square, crop, landmarks_from_crop, square_from_landmarks
from face3d.detect.ladder import find_faces
from face3d.detect.mirror import mirrored_indices
from face3d.detect.quiet import quiet_stderr
from face3d.detect.refine import Proposal
from face3d.media import read_image

SHARED = Path(__file__).parents[3] / "shared"
PHOTOS = SHARED / "real" / "photos"
TASK = SHARED / "models" / "face_landmarker.task"
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason="../shared/real/photos is absent")
needs_task = pytest.mark.skipif(not TASK.is_file(), reason="../shared/models is absent")


@pytest.fixture(scope="module")
def detector():
    pytest.importorskip("mediapipe")
    return load_detector()


@pytest.fixture(scope="module")
def tasks_detector():
    pytest.importorskip("mediapipe")
    return load_detector("tasks", model=TASK)


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture(scope="module")
def astronaut_face(detector, astronaut) -> Detection:
    return detector.detect(Frame(rgb=astronaut), max_faces=1)


def rms(difference: np.ndarray) -> float:
    return float(np.sqrt((difference[..., :2] ** 2).sum(-1).mean()))


def resized(rgb: np.ndarray, factor: float) -> np.ndarray:
    size = (round(rgb.shape[1] * factor), round(rgb.shape[0] * factor))
    return np.array(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))


def test_record_of_one_face(astronaut_face):
    face = astronaut_face
    assert face.layout == "mediapipe478"
    assert face.landmarks.shape == (1, 478, 3)
    xy = face.landmarks[0, :, :2]
    np.testing.assert_allclose(face.box_xyxy[0], [*xy.min(0), *xy.max(0)])
    assert (face.visibility == 1).all()
    assert 0.5 <= face.score[0] <= 1
    # Her left eye is to the right in the picture, her chin below both, her nose tip nearest.
    left, right, chin, nose = face.landmarks[0][[EYE_OUTER_LEFT, EYE_OUTER_RIGHT, CHIN, 1]]
    assert left[0] > right[0] + 40
    assert chin[1] > max(left[1], right[1]) + 40
    assert nose[2] < min(left[2], right[2], chin[2]) - 5


def test_irises_sit_on_the_pupils(astronaut, astronaut_face):
    # Pupils are the darkest spots of the eyes: found in the picture without any network.
    gray = astronaut.mean(-1)
    for iris in (LEFT_IRIS, RIGHT_IRIS):
        centre = astronaut_face.landmarks[0, iris.start, :2]
        x, y = np.round(centre - 0.5).astype(int)
        window = gray[y - 3 : y + 4, x - 5 : x + 6]
        weights = np.clip(np.percentile(window, 35) - window, 0, None)
        rows, columns = np.mgrid[y - 3 : y + 4, x - 5 : x + 6]
        dark = [(columns * weights).sum(), (rows * weights).sum()] / weights.sum() + 0.5
        assert np.abs(dark - centre).max() < 1.5


@needs_task
def test_back_ends_agree(tasks_detector, astronaut, astronaut_face):
    other = tasks_detector.detect(Frame(rgb=astronaut), max_faces=3)
    assert other.landmarks.shape == (1, 478, 3)
    difference = other.landmarks - astronaut_face.landmarks
    assert rms(difference) < 1.5  # px, of a face of 110 px
    assert np.abs(difference[..., :2].mean(1)).max() < 0.8
    assert np.abs(difference[..., 2]).max() < 8


def test_agrees_with_plain_face_mesh(detector, astronaut, astronaut_face):
    import mediapipe

    with quiet_stderr():
        mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True)
        points = mesh.process(astronaut).multi_face_landmarks[0].landmark
    plain = np.array([(p.x, p.y, p.z) for p in points]) * 512
    assert rms(plain - astronaut_face.landmarks[0]) < 1.5


def test_landmarks_move_with_the_picture(detector, astronaut, astronaut_face):
    margins = ((31, 5), (17, 40), (0, 0))
    shifted = detector.detect(Frame(rgb=np.pad(astronaut, margins, mode="edge")), max_faces=1)
    assert rms(shifted.landmarks - [17, 31, 0] - astronaut_face.landmarks) < 0.8


def test_landmarks_turn_with_the_picture(detector, astronaut, astronaut_face):
    expected = astronaut_face.landmarks[0, :, :2]
    for quarter_turns in (1, 2, 3):
        turned = np.ascontiguousarray(np.rot90(astronaut, quarter_turns))
        found = detector.detect(Frame(rgb=turned), max_faces=1).landmarks[0, :, :2]
        for _ in range(quarter_turns):  # (x, y) of a picture turned counterclockwise
            found = np.stack([512 - found[:, 1], found[:, 0]], -1)
        assert rms(found - expected) < 1.0


def test_mirrored_picture_gives_mirrored_landmarks(detector, astronaut, astronaut_face):
    mirrored = detector.detect(Frame(rgb=np.ascontiguousarray(astronaut[:, ::-1])), max_faces=1)
    back = mirrored.landmarks[0][mirrored_indices()] * [-1, 1, 1] + [512, 0, 0]
    assert rms(back - astronaut_face.landmarks[0]) < 0.8
    # Half of the views are mirrored, so little of the network's lean to a side remains.
    assert abs((back - astronaut_face.landmarks[0])[:, 0].mean()) < 0.5


def test_mirrored_indices_pair_the_points(astronaut_face):
    indices = mirrored_indices()
    assert (indices[indices] == np.arange(478)).all()
    assert (indices == np.arange(478)).sum() == 28
    assert set(indices[list(LEFT_IRIS)]) == set(RIGHT_IRIS)
    assert indices[EYE_OUTER_LEFT] == EYE_OUTER_RIGHT


@pytest.mark.parametrize("factor", [0.3, 0.5, 3.0, 8.0, 12.0])
def test_faces_of_32_px_and_of_1300(detector, astronaut, astronaut_face, factor):
    found = detector.detect(Frame(rgb=resized(astronaut, factor)), max_faces=1)
    tolerance = 0.03 if factor < 1 else 0.01  # of the face's 109 px
    assert rms(found.landmarks / factor - astronaut_face.landmarks) < 109 * tolerance


def test_small_face_in_a_large_picture(detector, astronaut):
    rgb = np.full((1000, 1500, 3), 90, np.uint8)
    rgb[700:905, 1100:1305] = resized(astronaut, 0.4)
    found = detector.detect(Frame(rgb=rgb), max_faces=1)
    expected = detector.detect(Frame(rgb=astronaut), max_faces=1).landmarks * 0.4
    assert rms(found.landmarks - [1100, 700, 0] - expected) < 1.5


def test_two_faces_largest_first(detector, astronaut):
    rgb = np.full((512, 800, 3), 200, np.uint8)
    rgb[100:356, 10:266] = resized(astronaut, 0.5)
    rgb[:, 288:] = astronaut
    found = detector.detect(Frame(rgb=rgb), max_faces=5)
    assert found.score.shape == (2,)
    assert found.box_xyxy[0, 0] > 288 > found.box_xyxy[1, 2]
    only = detector.detect(Frame(rgb=rgb), max_faces=1)
    np.testing.assert_allclose(only.box_xyxy[0], found.box_xyxy[0])


def test_face_cut_by_the_border(detector, astronaut):
    cut = np.ascontiguousarray(astronaut[:, 215:])  # right of her nose
    found = detector.detect(Frame(rgb=cut), max_faces=1)
    assert found.score.shape == (1,)
    outside = found.landmarks[0, :, 0] < 0
    assert outside.mean() > 0.2
    assert (found.visibility[0] == ~outside).all()


@pytest.mark.parametrize("shape", [(16, 16), (16, 4000), (64, 300)])
@pytest.mark.parametrize("back_end", ["detector", pytest.param("tasks_detector", marks=needs_task)])
def test_nothing_in_flat_and_noisy_pictures(request, back_end, shape):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for rgb in (noise, noise * 0, noise * 0 + 255):
        found = request.getfixturevalue(back_end).detect(Frame(rgb=rgb), max_faces=2)
        assert found.landmarks.shape == (0, 478, 3)
        assert found.box_xyxy.shape == (0, 4)
        assert found.visibility.shape == (0, 478)


@needs_photos
@pytest.mark.parametrize("name", sorted(p.name for p in PHOTOS.glob("noface_*")))
@pytest.mark.parametrize("back_end", ["detector", pytest.param("tasks_detector", marks=needs_task)])
def test_no_face(request, back_end, name):
    detector = request.getfixturevalue(back_end)
    assert len(detector.detect(read_image(PHOTOS / name), max_faces=5).score) == 0


@needs_photos
def test_every_face_is_found_once(detector):
    either = ("cc0_camera", "wm_eyes_only", "noface_", "derived_grid12")
    paths = [path for path in sorted(PHOTOS.iterdir()) if not path.name.startswith(either)]
    counts = {p.name: len(detector.detect(read_image(p), max_faces=6).score) for p in paths}
    assert counts == dict.fromkeys(counts, 1)


@needs_photos
@pytest.mark.parametrize("back_end", ["detector", pytest.param("tasks_detector", marks=needs_task)])
def test_twelve_faces(request, back_end):
    frame = read_image(PHOTOS / "derived_grid12.jpg")
    found = request.getfixturevalue(back_end).detect(frame, max_faces=20)
    centres = (found.box_xyxy[:, :2] + found.box_xyxy[:, 2:]) / 2
    cells = {(int(x // 225), int(y // 275)) for x, y in centres}
    assert len(found.score) == len(cells) == 12
    area = np.prod(found.box_xyxy[:, 2:] - found.box_xyxy[:, :2], axis=-1)
    assert (np.diff(area) <= 0).all()


@needs_photos
@pytest.mark.parametrize("name", ["derived_exif6_chu.jpg", "derived_exif3_matsui.jpg"])
def test_exif_turned_copies_give_the_same_face(detector, tmp_path, name):
    frame = read_image(PHOTOS / name)
    expected = detector.detect(frame, max_faces=1)
    for orientation, turns in ((1, 0), (3, 2), (6, 1), (8, -1)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.rot90(frame.rgb, turns)).save(tmp_path / "turned.png", exif=exif)
        found = detector.detect(read_image(tmp_path / "turned.png"), max_faces=1)
        np.testing.assert_array_equal(found.landmarks, expected.landmarks)


def detection_of(count: int) -> Detection:
    return Detection(
        box_xyxy=np.arange(4.0 * count).reshape(count, 4),
        landmarks=np.arange(478 * 3.0 * count).reshape(count, 478, 3),
        layout="mediapipe478",
        score=np.linspace(1, 0.5, count),
        visibility=np.ones((count, 478)),
    )


def test_choose_faces():
    three = detection_of(3)
    assert choose_faces(three, "all") is three
    for which, index in (("largest", 0), (0, 0), (2, 2)):
        chosen = choose_faces(three, which)
        assert chosen.landmarks.shape == (1, 478, 3)
        np.testing.assert_array_equal(chosen.box_xyxy[0], three.box_xyxy[index])
        np.testing.assert_array_equal(chosen.landmarks[0], three.landmarks[index])
        assert chosen.score[0] == three.score[index]
        assert chosen.visibility.shape == (1, 478)
    for which in (3, -1):
        with pytest.raises(DetectionError, match="choose 0 to 2"):
            choose_faces(three, which)
    for which in ("largest", "all", 0):
        with pytest.raises(DetectionError, match=r"No face was found in cat\.jpg"):
            choose_faces(detection_of(0), which, source="cat.jpg")


def test_errors_say_what_to_do(detector, astronaut, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="at least one"):
        detector.detect(Frame(rgb=astronaut), max_faces=0)
    with pytest.raises(InputError, match="use 'tasks'"):
        load_detector("mediapipe", model=TASK)
    with pytest.raises(InputError, match="needs the path"):
        load_detector("tasks")
    with pytest.raises(AssetError, match="download"):
        load_detector("tasks", model=tmp_path / "missing.task")
    (tmp_path / "bad.task").write_bytes(b"not a bundle")
    with pytest.raises(AssetError, match="not a Face Landmarker bundle"):
        load_detector("tasks", model=tmp_path / "bad.task")
    monkeypatch.setitem(sys.modules, "mediapipe.python.solution_base", None)
    with pytest.raises(MissingDependencyError, match="mediapipe"):
        load_detector()


def test_import_is_light_and_loading_is_silent():
    code = (
        "import sys, face3d.detect; assert 'mediapipe' not in sys.modules; "
        "face3d.detect.load_detector(); sys.stderr.write('end')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "end"
    assert done.stdout == ""


def test_quiet_stderr_keeps_what_matters(capfd):
    def write():
        os.write(2, b"W0000 00:00:1.2 3 a.cc:1] chatter\nINFO: more\nError: keep me\n")

    with quiet_stderr():
        write()
    assert capfd.readouterr().err == "Error: keep me\n"

    def fail():
        with quiet_stderr():
            write()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert capfd.readouterr().err == "Error: keep me\n"


@pytest.mark.parametrize("angle_rad", [0.0, 0.4, -2.0, np.pi])
@pytest.mark.parametrize("side", [40.0, 100.0, 700.0])
def test_crop_shows_what_its_coordinates_say(angle_rad, side):
    # A linear ramp survives interpolation, averaging and rotation.
    y, x = np.mgrid[0:1000, 0:1000] + 0.5
    rgb = np.stack([x / 4, y / 4, 0 * x], -1).astype(np.uint8)
    square = Square(x=480.0, y=530.0, side=side, angle_rad=angle_rad)
    patch = Patch(rgb, square, size_px=50)
    shown = crop(patch.pixels, patch.square_in_patch(square), size_px=50).astype(float)
    rows, columns = np.mgrid[0:50, 0:50] + 0.5
    points = np.stack([columns, rows, 0 * rows], -1).reshape(-1, 3)
    expected = landmarks_from_crop(square, 50, points)[:, :2].reshape(50, 50, 2) / 4
    away_from_border = ((expected > 5) & (expected < 245)).all(-1)
    error = (shown[:, :, :2] - expected)[away_from_border]
    # The ramp is rounded down when it is made and when Pillow interpolates: two steps at most.
    # A crop that is off by half of its pixels would show errors of both signs.
    assert error.min() >= -2.01
    assert error.max() <= 0.01


def test_patch_repeats_the_border():
    rgb = np.full((40, 60, 3), 77, np.uint8)
    square = Square(x=-10.0, y=38.0, side=90.0, angle_rad=0.3)
    far = Square(x=500.0, y=-900.0, side=30.0)
    for place in (square, far):
        patch = Patch(rgb, place, size_px=64)
        assert (crop(patch.pixels, patch.square_in_patch(place), size_px=64) == 77).all()


@pytest.mark.parametrize("side", [60.0, 200.0])  # the second is reduced
def test_patch_mirrors_squares_and_brings_landmarks_back(side):
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 255, (400, 500, 3), np.uint8)
    square = Square(x=240.0, y=210.0, side=side, angle_rad=0.4)
    patch = Patch(rgb, square, size_px=64)
    mirrored = patch.square_in_patch(square, mirrored=True)
    plain = crop(patch.pixels, patch.square_in_patch(square), size_px=64)
    np.testing.assert_array_equal(crop(patch.mirrored_pixels, mirrored, size_px=64)[:, ::-1], plain)
    placed = patch.square_in_patch(square)
    centre = patch.landmarks_in_picture(np.array([[placed.x, placed.y, placed.side]]))
    np.testing.assert_allclose(centre, [[square.x, square.y, square.side]])


class FakeModel:
    """Sees a face of fixed layout in whatever square it is given, with a chosen disagreement."""

    crop_px = 64
    crop_margin = 1.5
    reaches = ("near",)

    def __init__(self, proposals, disagreement=0.0):
        rng = np.random.default_rng(0)
        self.layout = rng.random((478, 3)) * 64 / 1.5 + 64 / 6
        self.layout[EYE_OUTER_RIGHT], self.layout[EYE_OUTER_LEFT] = [20, 25, 0], [44, 25, 0]
        self.proposals, self.disagreement, self.rng = proposals, disagreement, rng
        self.asked = 0

    def propose(self, rgb, reach):
        return self.proposals if rgb.shape[0] == 300 else []

    def mesh(self, pixels, square):
        self.asked += 1
        noise = self.rng.normal(size=(478, 3)) * self.disagreement * 64 / 1.5 / np.sqrt(2)
        return landmarks_from_crop(square, 64, self.layout + noise)


def proposal(x: float, y: float, side: float, score: float = 0.9) -> Proposal:
    return Proposal(square=Square(x=float(x), y=float(y), side=float(side)), score=score)


def test_views_that_disagree_are_no_face(monkeypatch):
    # One view only, so that the fake may answer the same for every crop.
    views = ((0.0, 0.0, 0.0, 1.0, False),) * 4
    monkeypatch.setattr("face3d.detect.refine._VIEWS", views)
    frame = Frame(rgb=np.zeros((300, 300, 3), np.uint8))
    places = [proposal(100, 100, 90), proposal(102, 99, 85, 0.8), proposal(200, 210, 60)]
    found = find_faces(FakeModel(places), frame, max_faces=9)
    assert found.score == pytest.approx([1, 1], abs=0.02)
    centres = (found.box_xyxy[:, :2] + found.box_xyxy[:, 2:]) / 2
    np.testing.assert_allclose(centres, [[100, 100], [200, 210]], atol=2)
    assert len(find_faces(FakeModel(places, 0.01), frame, max_faces=9).score) == 2
    assert len(find_faces(FakeModel(places, 0.04), frame, max_faces=9).score) == 0
    # Smaller than 12 px is never a face, and one that lies outside the picture neither.
    for place in (proposal(100, 100, 12), proposal(-90, 100, 90)):
        assert len(find_faces(FakeModel([place]), frame, max_faces=9).score) == 0


def test_square_from_landmarks_follows_the_face():
    landmarks = FakeModel([]).layout
    level = square_from_landmarks(landmarks)
    assert level.angle_rad == 0
    assert level.side == pytest.approx(1.5 * np.ptp(landmarks[:, :2], axis=0).max())
    turn = Square(x=300.0, y=200.0, side=128.0, angle_rad=2.5)
    moved = square_from_landmarks(landmarks_from_crop(turn, 64, landmarks))
    assert moved.angle_rad == pytest.approx(2.5)
    assert moved.side == pytest.approx(2 * level.side)
