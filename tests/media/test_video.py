import subprocess
import sys
from fractions import Fraction

import cv2
import numpy as np
import pytest

from face3d.core import InputError
from face3d.media import has_h264, video, video_writer

BARS = np.array([[210, 60, 40], [40, 190, 90], [60, 80, 220]], dtype=np.uint8)


def picture(number: int) -> np.ndarray:
    """Three bars, and a white line that sinks by four pixels in each picture."""
    rgb = np.repeat(np.repeat(BARS[None], 32, axis=1), 64, axis=0)
    rgb[4 * number : 4 * number + 4] = 255
    return rgb


@pytest.fixture(params=["opencv", "pyav"])
def encoder(request, monkeypatch) -> str:
    if request.param == "pyav" and not has_h264():
        pytest.skip("av (the extra 'video') is not installed")
    monkeypatch.setattr(video, "has_h264", lambda: request.param == "pyav")
    return request.param


def decoded(path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    pictures = []
    while True:
        more, bgr = capture.read()
        if not more:
            return pictures
        pictures.append(bgr[..., ::-1])


def test_a_film_plays_back_as_it_was_drawn(encoder, tmp_path):
    path = tmp_path / "out" / "bars.mp4"
    with video_writer(path, width=96, height=64, fps=Fraction(25)) as film:
        for number in range(12):
            film.add(picture(number))
    assert path.read_bytes()[4:8] == b"ftyp"
    pictures = decoded(path)
    assert len(pictures) == 12
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == pytest.approx(25)
    for number, rgb in enumerate(pictures):
        assert rgb[4 * number + 1 : 4 * number + 3].min() > 190
        # OpenCV decodes by BT.601 whatever the file says, which shifts H.264's BT.709 a little.
        off = np.abs(rgb[60, 16::32].astype(int) - BARS.astype(int)).max()
        assert off < (8 if encoder == "opencv" else 30)
    assert list(path.parent.iterdir()) == [path]


def test_pyav_says_which_colours_it_means(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "bars.mp4"
    with video_writer(path, width=96, height=64, fps=Fraction(30000, 1001)) as film:
        for number in range(5):
            film.add(picture(number))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == Fraction(30000, 1001)
        rgb = next(container.decode(stream)).to_ndarray(format="rgb24")
    assert np.abs(rgb[60, 16::32].astype(int) - BARS.astype(int)).max() < 8


def test_what_fails_leaves_nothing(encoder, tmp_path):
    for pictures in (0, 3):

        def stopped(count: int = pictures) -> None:
            with video_writer(tmp_path / "a.mp4", width=96, height=64, fps=Fraction(25)) as film:
                for number in range(count):
                    film.add(picture(number))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stopped()
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("width", "height", "fps", "says"),
    [(95, 64, 25, "even"), (0, 64, 25, "even"), (96, 64, 0, "positive")],
)
def test_bad_sizes_and_rates(tmp_path, width, height, fps, says):
    with (
        pytest.raises(InputError, match=says),
        video_writer(tmp_path / "a.mp4", width=width, height=height, fps=Fraction(fps)),
    ):
        pass


def test_pictures_of_another_size_are_refused(encoder, tmp_path):
    with (
        pytest.raises(InputError, match="px"),
        video_writer(tmp_path / "a.mp4", width=64, height=64, fps=Fraction(25)) as film,
    ):
        film.add(picture(0))


def test_a_full_disk_is_said(encoder, tmp_path):
    """In a process of its own, which may write 100 kB at most."""
    code = f"""
import resource, signal, sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from face3d.core import InputError
from face3d.media import video
video.has_h264 = lambda: {encoder == "pyav"}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
noise = np.random.default_rng(0).integers(0, 255, (30, 256, 256, 3), dtype=np.uint8)
try:
    with video.video_writer(Path("a.mp4"), width=256, height=256, fps=Fraction(25)) as film:
        for picture in noise:
            film.add(picture)
except InputError:
    sys.exit(7)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 7, done.stderr.decode()[-500:]
    assert list(tmp_path.iterdir()) == []


def test_rates_with_endless_decimals(encoder, tmp_path):
    path = tmp_path / "a.mp4"
    with video_writer(path, width=96, height=64, fps=Fraction("23.976023976023")) as film:
        film.add(picture(0))
    assert len(decoded(path)) == 1
