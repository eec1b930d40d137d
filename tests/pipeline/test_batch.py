"""A regressor on folders and videos."""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import face3d
from face3d.cli import main
from face3d.core.errors import AssetError, InputError
from face3d.core.types import Detection, Frame
from face3d.export import read_params
from face3d.export.glb_read import read_glb
from face3d.media import video_writer
from face3d.pipeline.batch import regress_pictures
from face3d.pipeline.guess import guess_faces
from face3d.pipeline.regressed import is_regressed, read_regressed, regressed_params
from face3d.pipeline.regressors import Regressor

SHAPE = np.random.default_rng(0).uniform(-1, 1, (478, 2)) * [20, 26]
SHAPE[33], SHAPE[263] = [-12, -8], [12, -8]


class Bright:
    """Finds a face around the brightest spot, and none in dark pictures."""

    looked = 0
    stop_at = -1

    def detect(self, frame: Frame, *, max_faces: int) -> Detection:
        if self.looked == self.stop_at:
            raise KeyboardInterrupt
        self.looked += 1
        light = frame.rgb.mean(-1)
        n = int(light.max() > 200)
        row, column = np.unravel_index(light.argmax(), light.shape)
        points = np.zeros((n, 478, 3))
        points[:, :, :2] = SHAPE + np.array([column + 0.5, row + 0.5])
        return Detection(
            box_xyxy=np.zeros((n, 4)), landmarks=points, layout="mediapipe478",
            score=np.ones(n), visibility=np.ones((n, 478)),
        )  # fmt: skip


def _picture(x: int, y: int) -> np.ndarray:
    rgb = np.random.default_rng(x).integers(40, 90, (120, 160, 3)).astype(np.uint8)
    rgb[y - 3 : y + 4, x - 3 : x + 4] = 180
    rgb[y, x] = 255
    return rgb


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Pictures of several sizes, a dark one, a broken one in the middle, and a film."""
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(_picture(60, 60)).save(folder / "a.png")
    Image.fromarray(_picture(80, 50)[:, :130]).save(folder / "b.png")
    (folder / "c.jpg").write_bytes(b"\xff\xd8\xff nothing")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "d.png")
    Image.fromarray(_picture(70, 70)).save(folder / "e.png")
    with video_writer(folder / "film.mp4", width=160, height=120, fps=Fraction(20)) as film:
        for k in range(9):
            film.add(_picture(40 + 4 * k, 60))
    return folder


@pytest.fixture(scope="module")
def own() -> Regressor:
    return face3d.load_regressor("own")


def test_every_picture_has_a_row_and_the_rest_is_named(
    images: Path, tmp_path: Path, own: Regressor
) -> None:
    said: list[tuple[int, int, int]] = []
    report = regress_pictures(
        images, tmp_path / "out.npz", own, batch=4, detector=Bright(), landmarks=True,
        on_progress=lambda *a: said.append(a),
    )  # fmt: skip
    assert report.faces == 12
    assert [line.split(":")[0] for line in report.skipped] == ["c.jpg", "d.png"]
    assert said[-1] == (6, 6, 12)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images", "out.npz"]
    assert is_regressed(report.path)
    with np.load(report.path) as file:
        arrays = dict(file)
    assert arrays["sources"].tolist() == ["a.png", "b.png", "c.jpg", "d.png", "e.png", "film.mp4"]
    assert arrays["source"].tolist() == [0, 1, 4] + [5] * 9
    assert arrays["frame"].tolist() == [0] * 3 + list(range(9))
    assert arrays["time_s"][-1] == pytest.approx(0.4)
    # The same as one by one.
    frame = Frame(rgb=_picture(70, 70))
    guess = guess_faces(own.net, frame, Bright().detect(frame, max_faces=1), 240.0)
    np.testing.assert_allclose(arrays["shape"][2], guess.params.shape[0], atol=1e-4)
    np.testing.assert_allclose(
        arrays["world_from_head"][2], guess.params.world_from_head[0], atol=1e-4
    )
    np.testing.assert_allclose(arrays["landmarks_px"][2], guess.landmarks_px[0], atol=1e-2)


@pytest.mark.parametrize("at", [2, 5, 11])
def test_a_stopped_run_is_gone_on_with(
    images: Path, tmp_path: Path, own: Regressor, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr("face3d.pipeline.batch.PER_PART", 2)
    whole = regress_pictures(images, tmp_path / "whole.npz", own, batch=2, detector=Bright())
    stops = Bright()
    stops.stop_at = at
    with pytest.raises(KeyboardInterrupt):
        regress_pictures(images, tmp_path / "parts.npz", own, batch=2, detector=stops)
    assert not (tmp_path / "parts.npz").exists()
    again = Bright()
    parts = regress_pictures(images, tmp_path / "parts.npz", own, batch=2, detector=again)
    assert again.looked < 13 or at == 2
    assert parts.skipped == whole.skipped
    with np.load(whole.path) as a, np.load(parts.path) as b:
        assert set(a) == set(b)
        for name in a:
            if a[name].dtype.kind == "f":
                np.testing.assert_allclose(a[name], b[name], atol=1e-5)
            else:
                assert np.array_equal(a[name], b[name])


def test_published_networks_write_their_codes(images: Path, tmp_path: Path) -> None:
    from face3d.regress.smirk import SmirkEncoder

    torch.manual_seed(0)
    smirk = Regressor("smirk", SmirkEncoder().eval())
    regress_pictures(images, tmp_path / "out.npz", smirk, batch=3, detector=Bright())
    found = read_regressed(tmp_path / "out.npz")
    assert found.system == "smirk"
    assert found.arrays["shape"].shape == (12, 300)
    assert found.arrays["eyelids"].shape == (12, 2)
    assert found.arrays["photo_from_crop"].shape == (12, 2, 3)
    assert found.times_s is None, "of several files"


def test_a_film_becomes_a_take(images: Path, tmp_path: Path, own: Regressor) -> None:
    out = tmp_path / "film.npz"
    regress_pictures(images / "film.mp4", out, own, every=2, detector=Bright())
    found = read_regressed(out)
    assert np.allclose(found.times_s, np.arange(5) / 10)
    params = regressed_params(face3d.load_head("open"), found)
    assert torch.equal(params.shape[0], params.shape[-1])
    assert (params.world_from_head[:, 2, 3] < 0).all(), "before a camera that looks along -z"
    glb = face3d.convert(out, tmp_path / "take.glb")
    take = read_glb(glb)
    assert take is not None
    face3d.convert(out, tmp_path / "take.npz")
    saved = read_params(tmp_path / "take.npz")
    assert np.allclose(np.diff(saved.arrays["times_s"]), 0.1)
    assert saved.head == "open"


def test_bad_input_is_refused(images: Path, tmp_path: Path, own: Regressor) -> None:
    with pytest.raises(InputError, match=r"ends in \.npz"):
        regress_pictures(images, tmp_path / "out.json", own, detector=Bright())
    with pytest.raises(InputError, match="at least 1"):
        regress_pictures(images, tmp_path / "out.npz", own, batch=0, detector=Bright())
    with pytest.raises(InputError, match="no folder"):
        regress_pictures(tmp_path / "none", tmp_path / "out.npz", own, detector=Bright())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no photos"):
        regress_pictures(tmp_path / "empty", tmp_path / "out.npz", own, detector=Bright())
    with pytest.raises(InputError, match="no picture in which"):
        regress_pictures(images / "d.png", tmp_path / "out.npz", own, detector=Bright())
    assert not list(tmp_path.glob("*out*")) + list(tmp_path.glob(".*"))
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no CUDA"):
            regress_pictures(images, tmp_path / "out.npz", own, device="cuda", detector=Bright())
    assert not is_regressed(tmp_path / "none.npz")
    np.savez(tmp_path / "bad.npz", system="own", sources=["a"], source=[0, 0], frame=[1])
    with pytest.raises(AssetError, match="damaged"):
        read_regressed(tmp_path / "bad.npz")


def test_the_exit_code_says_that_pictures_were_skipped(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("face3d.pipeline.batch.load_detector", Bright)

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["face3d", *arguments])
        try:
            main()
        except SystemExit as error:
            return int(error.code or 0)
        return 0

    out = tmp_path / "out.npz"
    assert run("regress", str(images), "-o", str(out)) == 3
    said = capsys.readouterr()
    assert "12 faces" in said.out
    assert "skipped c.jpg" in said.err
    assert "skipped d.png: no face found" in said.err
    assert run("regress", str(images / "a.png"), "-o", str(out)) == 0
    assert run("convert", str(out), "-o", str(tmp_path / "one.glb")) == 0
    assert run("regress", str(tmp_path / "nothing"), "-o", str(out)) == 2


def test_a_face_that_was_hidden_comes_back_in_time(tmp_path: Path, own: Regressor) -> None:
    with video_writer(tmp_path / "f.mp4", width=160, height=120, fps=Fraction(10)) as film:
        for k in range(8):
            film.add(_picture(60, 60) if k not in (3, 4) else np.zeros((120, 160, 3), np.uint8))
    report = regress_pictures(tmp_path / "f.mp4", tmp_path / "f.npz", own, detector=Bright())
    assert len(report.skipped) == 2
    saved = read_params(face3d.convert(report.path, tmp_path / "take.npz"))
    assert np.allclose(saved.arrays["times_s"], [0, 0.1, 0.2, 0.5, 0.6, 0.7])


def test_frames_that_do_not_follow_each_other_are_not_seen_together(
    images: Path, tmp_path: Path
) -> None:
    """By SPECTRE, which looks at a video's frames in order."""
    seen: list[int] = []

    class Counts(torch.nn.Module):
        def forward(self, frames: torch.Tensor) -> dict[str, torch.Tensor]:
            seen.append(len(frames))
            n = len(frames)
            return {"shape": torch.zeros(n, 100), "exp": torch.zeros(n, 50),
                    "pose": torch.zeros(n, 6), "cam": torch.ones(n, 3)}  # fmt: skip

    regress_pictures(
        images, tmp_path / "out.npz", Regressor("spectre", Counts()), batch=2, detector=Bright()
    )
    assert seen == [1, 1, 1, 9]


def test_other_options_do_not_go_on_with_a_stopped_run(
    images: Path, tmp_path: Path, own: Regressor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("face3d.pipeline.batch.PER_PART", 2)
    stops = Bright()
    stops.stop_at = 9
    with pytest.raises(KeyboardInterrupt):
        regress_pictures(images, tmp_path / "o.npz", own, batch=2, detector=stops, landmarks=True)
    again = Bright()
    regress_pictures(images, tmp_path / "o.npz", own, batch=2, detector=again)
    assert again.looked == 13
    with np.load(tmp_path / "o.npz") as file:
        assert "landmarks_px" not in file
