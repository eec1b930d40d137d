"""Moving pictures out: one MP4 file, whole or not at all."""

import importlib.util
from collections.abc import Generator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from face3d.core import InputError, atomic_path

MOST_DENOMINATOR = 65535
"""Of a frame rate: what containers can hold."""

H264_QUALITY = "16"
"""Constant rate factor: 18 is commonly taken for visually lossless, less is better."""


@runtime_checkable
class _Encoder(Protocol):
    """What both libraries are brought to."""

    def add(self, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """Encode one picture."""

    def close(self) -> None:
        """Finish the file."""


class VideoWriter:
    """Takes pictures one by one; see ``video_writer``."""

    def __init__(self, encoder: _Encoder, width: int, height: int) -> None:
        self._encoder, self._size = encoder, (height, width)

    def add(self, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        """Append a picture.

        Raises:
            InputError: Its size is not that of the video.
        """
        if rgb.shape[:2] != self._size:
            raise InputError(f"A picture has {rgb.shape[:2]} px, the video {self._size}.")
        self._encoder.add(np.ascontiguousarray(rgb))


@contextmanager
def video_writer(path: Path, *, width: int, height: int, fps: Fraction) -> Generator[VideoWriter]:
    """Write an MP4 file: it appears when the body ends well.

    With PyAV (the extra ``video``) it is H.264, which plays everywhere, browsers included. The
    default install has no encoder for that whose licence is permissive: there it is MPEG-4 part 2
    through OpenCV, which players and editors open and browsers do not.

    Args:
        path: Ends in .mp4.
        width: Even, px.
        height: Even, px.
        fps: Pictures per second.

    Raises:
        InputError: The size is odd or not positive, the rate is not positive, or the file cannot
            be written.
    """
    if width < 2 or height < 2 or width % 2 or height % 2:
        raise InputError(f"The video is {width} by {height} px; both sides must be even.")
    if fps <= 0:
        raise InputError(f"The frame rate is {fps}; give a positive one.")
    fps = fps.limit_denominator(MOST_DENOMINATOR)
    kind = _Av if has_h264() else _OpenCv
    with atomic_path(path) as temporary:
        encoder = kind(temporary, width, height, fps)
        try:
            yield VideoWriter(encoder, width, height)
        except BaseException:
            with suppress(Exception):  # the file is thrown away
                encoder.close()
            raise
        encoder.close()


def has_h264() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


class _OpenCv:
    """MPEG-4 part 2 by the OpenCV that MediaPipe brings."""

    def __init__(self, path: Path, width: int, height: int, fps: Fraction) -> None:
        import cv2

        code = cv2.VideoWriter.fourcc(*"mp4v")
        self._path, self._count = path, 0
        self._writer = cv2.VideoWriter(str(path), code, float(fps), (width, height))
        if not self._writer.isOpened():
            raise InputError(
                f"OpenCV cannot write {width} by {height} px at {float(fps):g} pictures a second; "
                "choose other values, or pip install 'face3d[video]'."
            )

    def add(self, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        self._writer.write(np.ascontiguousarray(rgb[..., ::-1]))
        self._count += 1

    def close(self) -> None:
        """Finish; OpenCV itself never says that the disk was full."""
        import cv2

        self._writer.release()
        written = cv2.VideoCapture(str(self._path))
        if int(written.get(cv2.CAP_PROP_FRAME_COUNT)) != self._count:
            raise InputError("The film could not be written whole; make room on the disk.")


class _Av:
    """H.264 by PyAV."""

    def __init__(self, path: Path, width: int, height: int, fps: Fraction) -> None:
        import av

        options = {"movflags": "faststart"}
        self._container: Any = av.open(str(path), "w", format="mp4", options=options)
        self._stream = self._container.add_stream("libx264", rate=fps)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": H264_QUALITY, "preset": "medium"}
        # Encoded by BT.709, which players take for granted unless told otherwise.
        self._stream.codec_context.color_range = 1
        self._stream.codec_context.colorspace = 1
        self._stream.codec_context.color_primaries = 1
        self._stream.codec_context.color_trc = 1
        self._av = av

    def add(self, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
        frame = self._av.VideoFrame.from_ndarray(rgb, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def close(self) -> None:
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()
